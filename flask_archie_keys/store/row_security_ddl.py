"""The DDL that puts protected tables under PostgreSQL's row security."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Column, Engine, Table, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Mapper
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList

from ..domain.filters import FilterError, parse
from ..domain.permissions import ACTIONS, Action, Role, scope_of
from ..errors import ConfigurationError
from .guarding.rows import OURS
from .protection import KEY, Protection, protection_of
from .row_security_sql import SETTING, Template, condition, is_whole, literal, quoted, table_name, template

#: The command of a policy, and the names of its clauses, by action.
COMMANDS: Mapping[Action, tuple[str, tuple[str, ...]]] = {
    "read": ("SELECT", ("USING",)),
    "write": ("INSERT", ("WITH CHECK",)),
    "update": ("UPDATE", ("USING", "WITH CHECK")),
    "delete": ("DELETE", ("USING",)),
}
_MARK = "flask_archie_keys"
_BASE = "archie_base"


class Lacking(NamedTuple):
    """A filter that fits no column of the model: it lets no row through, and no policy has it."""

    resource: str
    filter: str
    why: str


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of one table.

    :ivar resource: whose rules it enforces.
    :ivar filters: the filters that it knows, by id.
    """

    table: Table
    resource: str
    action: Action
    condition: str
    filters: Mapping[str, str]

    @property
    def name(self) -> str:
        """Its name; each table has one for each action."""
        return policy_name(self.action)

    @property
    def comment(self) -> str:
        """What its comment holds: a hash of its text, and the ids of its filters."""
        return " ".join([_MARK, hashlib.sha256(self.create.encode()).hexdigest()[:16], *self.filters])

    @property
    def create(self) -> str:
        """The statement that makes it."""
        command, clauses = COMMANDS[self.action]
        bodies = "\n".join(f"  {clause} (\n    {self.condition}\n  )" for clause in clauses)
        return f"CREATE POLICY {self.name} ON {table_name(self.table)} FOR {command}\n{bodies}"


def policy_name(action: Action) -> str:
    """The name of the policy for an action."""
    return f"archie_keys_{action}"


def known_in(comment: str | None) -> tuple[str, frozenset[str]] | None:
    """The hash and the ids of filters in the comment of a policy; ``None`` if it is no comment of ours."""
    words = (comment or "").split(" ")
    return (words[1], frozenset(words[2:])) if words[0] == _MARK and len(words) > 1 else None


class Policies:
    """The policies of protected tables for the filters that some roles have.

    :param protections: the protected classes of one database.
    :param roles: all roles of all environments that use it.
    :ivar lacking: the filters that no policy has, since they do not fit the columns.
    :raises ConfigurationError: if filters refer to each other in a circle, or an inheritance is not by equal keys.
    """

    def __init__(self, protections: Sequence[Protection], roles: Iterable[Role]) -> None:
        self.protections = protections
        self.lacking: list[Lacking] = []
        granted = sorted({(g.resource, a, g.filter) for r in roles for g in r.grants if g.filter for a in g.actions})
        self._templates: dict[tuple[Protection, Action], dict[str, Template]] = {}
        for protection in protections:
            for action in ACTIONS:
                texts = [text for resource, of, text in granted if (resource, of) == (protection.resource, action)]
                self._templates[protection, action] = dict(self._fitting(protection, texts))
        for protection in protections:
            for action in ACTIONS:
                self._refuse_circles(protection, action, (protection.resource,))

    def _fitting(self, protection: Protection, texts: Iterable[str]) -> Iterator[tuple[str, Template]]:
        for text in texts:
            try:
                canonical = str(parse(text))
                found = template(protection.model, protection.resource, canonical)
            except FilterError as error:
                lacking = Lacking(protection.resource, text, str(error))
                if lacking not in self.lacking:
                    self.lacking.append(lacking)
            else:
                yield found.id, found

    def _refuse_circles(self, protection: Protection, action: Action, way: tuple[str, ...]) -> None:
        """PostgreSQL refuses every use of tables whose policies refer to each other in a circle."""
        for found in self._templates.get((protection, action), {}).values():
            for other in {protection_of(table) for table in found.tables} - {None}:
                assert other is not None  # noqa: S101 - for the type checker
                if other.resource in way:
                    circle = " -> ".join((*way, other.resource))
                    raise ConfigurationError(
                        f"the filters of {circle} refer to each other in a circle, which PostgreSQL's row security "
                        f"cannot do; one of them is {scope_of(protection.resource, action)}: {found.filter}"
                    )
                self._refuse_circles(other, "read", (*way, other.resource))

    def all(self) -> Iterator[Policy]:
        """The policies, by table and action."""
        for protection in self.protections:
            tables = {protection.table: protection.mapper}
            for mapper in protection.mapper.self_and_descendants:
                if isinstance(mapper.local_table, Table):
                    tables.setdefault(mapper.local_table, mapper)
            for table, mapper in tables.items():
                for action in ACTIONS:
                    yield self._policy(protection, table, mapper, action)

    def _policy(self, protection: Protection, table: Table, mapper: Mapper[Any], action: Action) -> Policy:
        own = table is protection.table
        prefix = quoted(table.name) if own else _BASE
        templates = dict(sorted(self._templates[protection, action].items()))
        parts = [is_whole(protection.resource, action)]
        parts += [condition(each, action, prefix) for each in templates.values()]
        text = "\n    OR ".join(parts)
        if not own:
            text = _of_base(protection, mapper, text)
        return Policy(
            table, protection.resource, action, text, {id: str(each.filter) for id, each in templates.items()}
        )


def _of_base(protection: Protection, mapper: Mapper[Any], text: str) -> str:
    """The condition for a table of a derived class: its row of the base is there, and fulfils the base's."""
    sources, joins = list[str](), list[str]()
    prefixes = {mapper.local_table: quoted(str(mapper.local_table.name))}  # type: ignore[attr-defined]
    while mapper is not protection.mapper:
        parent = mapper.inherits
        assert parent is not None  # noqa: S101 - the protected class is its base
        if parent.local_table not in prefixes:
            alias = _BASE if parent.local_table is protection.table else f"archie_{len(sources) + 1}"
            prefixes[parent.local_table] = alias
            sources.append(f"{table_name(parent.local_table)} AS {alias}")  # type: ignore[arg-type]
        joins += [
            f"{prefixes[one.table]}.{quoted(one.name)} = {prefixes[two.table]}.{quoted(two.name)}"
            for one, two in _pairs(mapper)
        ]
        mapper = parent
    where = "\n      AND ".join([*joins, f"({text})"])
    return f"EXISTS (SELECT 1 FROM {', '.join(sources)} WHERE {where})"


def _pairs(mapper: Mapper[Any]) -> Iterator[tuple[Column[Any], Column[Any]]]:
    """The columns that tie the table of a class to that of its base."""
    join = mapper.inherit_condition
    if join is None:  # both are one table
        return
    parts = join.clauses if isinstance(join, BooleanClauseList) and join.operator is operators.and_ else [join]
    for part in parts:
        sides = (part.left, part.right) if isinstance(part, BinaryExpression) and part.operator is operators.eq else ()
        if not sides or not all(isinstance(side, Column) for side in sides):
            raise ConfigurationError(
                f"{mapper.class_.__name__} is joined to its base by more than equal keys, which row security cannot do"
            )
        yield sides  # type: ignore[misc]


def statements(policies: Policies) -> Iterator[str]:
    """What makes the policies, and is the same for the same models and filters. Run it in one transaction."""
    seen: dict[str, None] = {}
    for policy in policies.all():
        table = table_name(policy.table)
        if table not in seen:
            seen[table] = None
            yield f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"
            yield f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY"
        yield f"DROP POLICY IF EXISTS {policy.name} ON {table}"
        yield policy.create
        yield f"COMMENT ON POLICY {policy.name} ON {table} IS {literal(policy.comment)}"


def script(policies: Policies) -> str:
    """The statements for psql, or a migration, with the filters in comments."""
    made = [*policies.all()]
    filters = {id: (policy.resource, text) for policy in made for id, text in policy.filters.items()}
    lines = [
        "-- Row security of what flask_archie_keys protects, by the setting " + SETTING,
        "-- of each transaction. Run it as the owner of the tables, with psql and",
        "-- ON_ERROR_STOP, or as a migration without BEGIN and COMMIT.",
    ]
    lines += [f"-- filter {id} of {resource}: {ascii(text)[1:-1]}" for id, (resource, text) in sorted(filters.items())]
    return "\n".join([*lines, "BEGIN;", *[f"{statement};" for statement in statements(policies)], "COMMIT;"])


def apply(policies: Policies, engine: Engine | None, url: str | None) -> None:
    """Execute the statements in one transaction.

    :param engine: the application's, whose driver is used for a URL that names none.
    :param url: instead of the engine's: with the role that owns the tables.
    :raises ConfigurationError: if there is neither, or the database refuses.
    """
    if url is not None:
        engine = _owners(url, engine)
    if engine is None:
        raise ConfigurationError("the application's engine is not known; name the database with --url")
    try:
        with engine.begin() as connection:
            for statement in statements(policies):
                options = {KEY: OURS, "no_parameters": True}
                connection.exec_driver_sql(statement, execution_options=options)
    except DBAPIError as error:
        raise ConfigurationError(f"the database refuses: {str(error.orig).strip()}") from error
    finally:
        if url is not None:
            engine.dispose()


def _owners(url: str, engine: Engine | None) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql" and engine is not None:
            parsed = parsed.set(drivername=engine.url.drivername)
        found = create_engine(parsed, poolclass=NullPool)
    except (ArgumentError, ImportError) as error:  # which does not hold the password
        raise ConfigurationError(f"--url: not a database URL that SQLAlchemy can use: {type(error).__name__}") from None
    if found.dialect.name != "postgresql":
        raise ConfigurationError(f"row security is PostgreSQL's, and the database of --url is {found.dialect.name}")
    return found
