"""Inserting what another transaction may be inserting, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert
from sqlalchemy.dialects.postgresql import insert as insert_postgresql
from sqlalchemy.dialects.sqlite import insert as insert_sqlite
from sqlalchemy.exc import IntegrityError

_INSERT: dict[str, Callable[[Any], Any]] = {"postgresql": insert_postgresql, "sqlite": insert_sqlite}


def insert_unless_there(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row; False if one with its key is there, or comes to be there while this waits for who inserts it."""
    if connection.dialect.name in _INSERT:
        statement = _INSERT[connection.dialect.name](table).on_conflict_do_nothing()
        counted = statement.execution_options(preserve_rowcount=True)  # of an INSERT, it is not kept otherwise
        return connection.execute(counted, dict(row)).rowcount == 1
    try:
        with connection.begin_nested():
            connection.execute(insert(table), dict(row))
    except IntegrityError:
        return False
    return True
