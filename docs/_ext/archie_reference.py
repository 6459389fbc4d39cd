"""Makes the reference parts of the pages from the package itself, so that they cannot fall behind it.

========================  ====================================================================
``archie-settings``       every setting, or the members of the one that is named: ``audit``
``archie-commands``       every command of ``flask keys`` with its ``--help``
``archie-errors``         every error that has an HTTP status, with its problem type
``archie-signals``        every signal
``archie-fields``         the names of a record's fields
``archie-doctor``         what ``flask keys doctor`` looks at
``archie-changes``        ``CHANGES.md``
``archie-leaks``          every way to hidden rows that the tests of the guard try
``archie-graphql``        the ``operations``, ``types`` or ``limits`` of GraphQL
========================  ====================================================================
"""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import sqlalchemy
from docutils import nodes
from docutils.statemachine import StringList
from graphql import GraphQLField, print_type
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import flask_archie_keys
from flask_archie_keys import ServiceError
from flask_archie_keys.config import AuditConfig, Config, settings
from flask_archie_keys.faces.cli import keys_command
from flask_archie_keys.faces.cli.doctor import describe
from flask_archie_keys.faces.graphql import execution

CHANGES = Path(__file__).parents[2] / "CHANGES.md"
SQLALCHEMY = tuple(map(int, sqlalchemy.__version__.split(".")[:2]))
LEFT_OVER = "left over"  # the group that ends the page
HELP_WIDTH = 78  # the width of --help on a terminal of 80 columns


class Generated(SphinxDirective):
    """A directive that is replaced by reST."""

    def rest(self) -> Iterator[str]:
        """The lines."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Parse the lines in place; they may hold sections."""
        source = self.get_source_info()[0]
        return self.parse_text_to_nodes(StringList(list(self.rest()), source=source), allow_section_headings=True)


def indented(text: str) -> Iterator[str]:
    """The lines of ``text`` as the body of a directive."""
    yield ""
    for line in text.splitlines():
        yield f"   {line}".rstrip()
    yield ""


class Settings(Generated):
    """Settings, as ``confval`` entries that ``:confval:`` can point to."""

    optional_arguments = 1

    def rest(self) -> Iterator[str]:
        of = AuditConfig if self.arguments == ["audit"] else Config
        for setting in settings(of):
            name = setting.name if of is Config else f'ARCHIE_KEYS_AUDIT["{setting.name}"]'
            yield f".. confval:: {name}"
            yield f"   :default: ``{shown(setting.default)}``"
            text = setting.help
            if setting.shared:
                text += "\n\nOne value for the whole application."
            yield from indented(text)


def shown(default: Any) -> str:
    """A default, as one would write it in a configuration."""
    if isinstance(default, timedelta):
        for unit in ("days", "hours", "minutes", "seconds"):
            size = timedelta(**{unit: 1})
            if default >= size and default % size == timedelta(0):
                return f"timedelta({unit}={default // size})"
        return "timedelta(0)"
    if isinstance(default, (AuditConfig, Mapping)):
        return "{}"
    if isinstance(default, tuple) and not default:
        return "[]"
    return repr(default)


def commands(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    """``flask keys create`` and its help, for every command below ``command``."""
    if not isinstance(command, click.Group):
        with click.Context(command, info_name=name, terminal_width=HELP_WIDTH) as context:
            yield name, command.get_help(context)
        return
    for word, below in sorted(command.commands.items()):
        yield from commands(below, f"{name} {word}")


class Commands(Generated):
    """A section for each command."""

    def rest(self) -> Iterator[str]:
        for name, help in commands(keys_command, "flask keys"):
            yield f".. _cli-{'-'.join(name.split()[2:])}:"
            yield ""
            yield name
            yield "~" * len(name)
            yield ""
            yield ".. code-block:: text"
            yield from indented(help)


def errors() -> Iterator[type[ServiceError]]:
    """The public errors that have a status, by status."""
    public = [getattr(flask_archie_keys, name) for name in flask_archie_keys.__all__]
    found = [thing for thing in public if isinstance(thing, type) and issubclass(thing, ServiceError)]
    return iter(sorted((e for e in found if e is not ServiceError), key=lambda e: (e.status, e.type)))


class Errors(Generated):
    """A table of status, type and error."""

    def rest(self) -> Iterator[str]:
        yield ".. list-table::"
        yield "   :header-rows: 1"
        yield "   :widths: 10 40 50"
        yield ""
        for row in [("Status", "Type", "Error"), *map(error_row, errors())]:
            yield f"   * - {row[0]}"
            yield from (f"     - {cell}" for cell in row[1:])
        yield ""


def error_row(error: type[ServiceError]) -> tuple[str, str, str]:
    """The cells of one error."""
    return str(error.status), f"``{error.type}``", f":exc:`~flask_archie_keys.{error.__name__}`"


class Signals(Generated):
    """An entry for each signal, with the docstring that stands under it."""

    def rest(self) -> Iterator[str]:
        for (_, name), doc in ModuleAnalyzer.for_module("flask_archie_keys.signals").find_attr_docs().items():
            yield f".. py:data:: flask_archie_keys.{name}"
            yield "   :type: blinker.Signal"
            yield from indented("\n".join(doc))


class Fields(Generated):
    """The names of a record's fields."""

    required_arguments = 1

    def rest(self) -> Iterator[str]:
        record = operator.attrgetter(self.arguments[0])(flask_archie_keys)
        yield f"Fields: {', '.join(f'``{field.name}``' for field in dataclasses.fields(record))}."


class Doctor(Generated):
    """What each check asks."""

    def rest(self) -> Iterator[str]:
        for name, question in describe():
            yield f"* ``{name}``: {question}"


class Changes(Generated):
    """``CHANGES.md``: its title left out, ``## headings``, lists and `code`."""

    def rest(self) -> Iterator[str]:
        self.env.note_dependency(CHANGES)
        for line in CHANGES.read_text(encoding="utf-8").splitlines()[1:]:
            text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line.removeprefix("## "))
            yield text
            if line.startswith("## "):
                yield "-" * len(text)


class Leaks(Generated):
    """A table for each group of ways to hidden rows, with what comes of them."""

    def rest(self) -> Iterator[str]:
        if SQLALCHEMY < (2, 1):
            yield "The tables are made where SQLAlchemy 2.1 is installed, which the guard needs."
            return
        groups: dict[str, list[tuple[str, str, str]]] = {}
        for group, *line in leak_table():
            groups.setdefault(group, []).append((line[0], line[1], line[2]))
        for group, lines in sorted(groups.items(), key=lambda item: item[0] == LEFT_OVER):
            yield from leaks_of(group, lines)


def leak_table() -> Iterator[tuple[str, str, str, str]]:
    """The lines of the tests: group, what is tried, what comes of it, what the error says or what helps."""
    try:
        from tests.store.guard.cases import table
    except ModuleNotFoundError as missing:
        raise ExtensionError(f"the leak table is made of the tests: pip install -e '.[test]' ({missing})") from missing
    return table()


def leaks_of(group: str, lines: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """One group, as a section with a table."""
    title = escaped(group[0].upper() + group[1:])
    yield from (title, "-" * len(title), "", ".. list-table::", "   :header-rows: 1", "   :widths: 50 14 36", "")
    for tried, outcome, said in [("Way", "Outcome", "Says, or helps"), *lines]:
        yield f"   * - {escaped(tried)}"
        yield f"     - {escaped(outcome)}"
        yield f"     - {escaped(said)}"
    yield ""


class GraphQL(Generated):
    """The reference of GraphQL, from its schema and the limits of its documents."""

    required_arguments = 1

    def rest(self) -> Iterator[str]:
        self.env.note_dependency(execution.SDL)
        return {"operations": graphql_operations, "types": graphql_types, "limits": graphql_limits}[self.arguments[0]]()


def graphql_operations() -> Iterator[str]:
    """A section for each query and change."""
    schema = execution.schema()
    for root in (schema.query_type, schema.mutation_type):
        for name, field in root.fields.items():
            yield from (f".. _graphql-{name.lower()}:", "", name, "~" * len(name), "", literal(field.description), "")
            yield from graphql_block(signature(name, field))
            for argument, given in field.args.items():
                if given.description:
                    yield f"* ``{argument}``: {literal(given.description)}"
            yield ""


def signature(name: str, field: GraphQLField) -> str:
    """A field as the schema has it, with an argument a line where there are many."""
    defaults = {node.name.value: node.default_value for node in field.ast_node.arguments or ()}
    given = [f"{argument}: {each.type}{default(defaults[argument])}" for argument, each in field.args.items()]
    line = f"{name}({', '.join(given)}): {field.type}" if given else f"{name}: {field.type}"
    if len(line) <= HELP_WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"  {argument}" for argument in given), f"): {field.type}"])


def default(node: Any) -> str:
    """The default of an argument."""
    return "" if node is None else f" = {str(node.value).lower()}"


def graphql_types() -> Iterator[str]:
    """Each type, as the schema has it."""
    schema = execution.schema()
    for name, kind in schema.type_map.items():
        if not name.startswith("__") and kind.ast_node is not None and name not in ("Query", "Mutation"):
            yield from graphql_block(print_type(kind))


def graphql_block(text: str) -> Iterator[str]:
    """Part of a schema, which has no colours: those are for what is asked."""
    yield ".. code-block:: text"
    yield from indented(text)


def graphql_limits() -> Iterator[str]:
    """Each limit with what it is for."""
    limits = execution.limits
    for (_, name), doc in ModuleAnalyzer.for_module(limits.__name__).find_attr_docs().items():
        if name.endswith("_MAX"):
            yield f"* {getattr(limits, name):,}: {' '.join(doc).strip()}".replace(",", " ", 1)


def literal(text: str) -> str:
    """A text of the schema: `names` are literals, as in Markdown."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", " ".join(text.split()))


def escaped(text: str) -> str:
    """A text without a meaning to reST."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    for directive in (Settings, Commands, Errors, Signals, Fields, Doctor, Changes, Leaks, GraphQL):
        app.add_directive(f"archie-{directive.__name__.lower()}", directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
