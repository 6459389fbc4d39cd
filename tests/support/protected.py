"""Keeps the protected models of one application from meeting the tables of others that are named alike."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from flask_archie_keys.store.protection import registry

_hidden: list[object] = []


def hide(package: str) -> None:
    """Leave out the models of a package, as if they were of another process."""
    mappers = [m for m in registry.mappers if m.class_.__module__.split(".")[0] == package]
    metadata = {id(m.local_table.metadata) for m in mappers}  # type: ignore[union-attr]
    _hidden.extend(mappers)
    registry.mappers = weakref.WeakSet(m for m in registry.mappers if m not in mappers)
    registry.metadata = tuple(ref for ref in registry.metadata if id(ref()) not in metadata)
    registry.changed()


@contextmanager
def shown() -> Iterator[None]:
    """What was hidden is there, and it alone."""
    before = registry.mappers, registry.metadata
    mappers = list(_hidden)
    registry.mappers = weakref.WeakSet(mappers)  # type: ignore[arg-type]
    tables = {m.local_table.metadata for m in mappers}  # type: ignore[attr-defined]
    registry.metadata = tuple(weakref.ref(metadata) for metadata in tables)
    registry.changed()
    try:
        yield
    finally:
        registry.mappers, registry.metadata = before
        registry.changed()


@contextmanager
def alone() -> Iterator[None]:
    """Nothing is protected but what the block itself protects."""
    before = registry.mappers, registry.metadata
    registry.mappers, registry.metadata = weakref.WeakSet(), ()
    registry.changed()
    try:
        yield
    finally:
        registry.mappers, registry.metadata = before
        registry.changed()
