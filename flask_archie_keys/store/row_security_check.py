"""Whether PostgreSQL's row security binds the application: its role, its tables, their policies."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from ..domain.permissions import ACTIONS
from .guarding.rows import OURS
from .protection import KEY, Protection
from .row_security_ddl import COMMANDS, Policies, known_in, policy_name
from .row_security_sql import table_name

MEND = "flask keys row-security --apply, as the owner of the tables"
_PAGES = 8  # that the canary looks at, of each table
_ROLES = text(
    "SELECT DISTINCT r.rolname, r.rolsuper FROM pg_roles AS r JOIN (VALUES (current_user), (session_user)) AS u(name) "
    "ON pg_has_role(u.name, r.oid, 'MEMBER') WHERE r.rolsuper OR r.rolbypassrls ORDER BY r.rolsuper DESC, r.rolname"
)
_TABLES = text(
    "SELECT n.name, c.oid, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner) AS owner, "
    "pg_has_role(current_user, c.relowner, 'MEMBER') OR pg_has_role(session_user, c.relowner, 'MEMBER') AS is_owner, "
    "has_table_privilege(c.oid, 'TRUNCATE') AS truncates, has_any_column_privilege(c.oid, 'SELECT') AS reads, "
    "greatest(pg_relation_size(c.oid), (SELECT sum(pg_relation_size(relid)) FROM pg_partition_tree(c.oid))) "
    "/ current_setting('block_size')::bigint AS pages "
    "FROM unnest(CAST(:names AS text[])) AS n(name) LEFT JOIN pg_class AS c ON c.oid = to_regclass(n.name)"
)
_POLICIES = text(
    "SELECT p.polrelid, p.polname, CASE CAST(p.polcmd AS text) WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' "
    "WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command, p.polpermissive, "
    "p.polqual IS NOT NULL AS uses, p.polwithcheck IS NOT NULL AS checks, "
    "obj_description(p.oid, 'pg_policy') AS comment, p.polroles = '{0}' AS is_public, "
    "EXISTS (SELECT FROM unnest(p.polroles) AS r(oid) WHERE r.oid = 0 OR pg_has_role(r.oid, 'MEMBER')) AS applies "
    "FROM pg_policy AS p WHERE p.polrelid = ANY (CAST(:oids AS oid[])) ORDER BY 2"
)


class Problem(NamedTuple):
    """What keeps row security from holding.

    :ivar mend: what to do about it.
    :ivar stale: nothing is open: only what was made is not what would be made now.
    """

    found: str
    mend: str = MEND
    stale: bool = False

    def __str__(self) -> str:
        return f"{self.found}: {self.mend}"


def told_together(problems: Iterable[Problem]) -> str:
    """All problems in one line, those with the same mend together."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        found.setdefault(problem.mend, []).append(problem.found)
    return "; ".join(f"{', '.join(same)}: {mend}" for mend, same in found.items())


class Seen(NamedTuple):
    """What a look at the database has found.

    :ivar missing: the tables that are not there.
    """

    problems: list[Problem]
    missing: list[str]


def look(connection: Connection, protections: Collection[Protection]) -> Seen:
    """See whether row security binds this connection's role. The transaction must not have been told anything."""
    names = list(dict.fromkeys(table_name(table) for each in protections for table in sorted(each.tables, key=str)))
    rows = {row.name: row for row in _run(connection, _TABLES, names=names)} if names else {}
    there = {name: rows[name] for name in names if rows[name].oid is not None}
    problems = list(_of_role(connection)) if there else []
    is_plain = not problems  # a superuser owns everything, and more
    policies: dict[int, list[Any]] = {}
    for policy in _run(connection, _POLICIES, oids=[row.oid for row in there.values()]):
        policies.setdefault(policy.polrelid, []).append(policy)
    for name, row in there.items():
        of_table = list(_of_table(name, row, policies.get(row.oid, []), is_plain))
        if not of_table and is_plain and row.reads:
            of_table = list(_canary(connection, name, row.pages))
        problems += of_table
    return Seen(problems, [name for name in names if name not in there])


def drift(connection: Connection, policies: Policies) -> list[Problem]:
    """How the policies in the database differ from those that would be made now."""
    wanted = list(policies.all())
    names = sorted({table_name(policy.table) for policy in wanted})
    tables = {row.name: row.oid for row in _run(connection, _TABLES, names=names)}
    oids = [oid for oid in tables.values() if oid is not None]
    present = {(row.polrelid, row.polname): row for row in _run(connection, _POLICIES, oids=oids)}
    found: list[Problem] = []
    for policy in wanted:
        row = present.get((tables[table_name(policy.table)], policy.name))
        known = None if row is None else known_in(row.comment)
        if row is None or row.comment == policy.comment:
            continue
        lacking = [text for id, text in policy.filters.items() if known is None or id not in known[1]]
        name = f"the policy {policy.name} of {policy.table}"
        found += [
            Problem(f"{name} does not know the filter {filter!r}, which lets no row through") for filter in lacking
        ]
        if not lacking:
            found.append(Problem(f"{name} is not as it would be made now", stale=True))
    return found


def _run(connection: Connection, statement: Any, **parameters: Any) -> Any:
    return connection.execute(statement, parameters, execution_options={KEY: OURS})


def _of_role(connection: Connection) -> Iterator[Problem]:
    mend = "connect as a role of the application's own that is NOSUPERUSER and NOBYPASSRLS and no member of such a role"
    for name, is_super in _run(connection, _ROLES):
        what = "a superuser" if is_super else "a role with BYPASSRLS"
        yield Problem(f"the application connects as {name}, or a member of it, which is {what}", mend)
        if is_super:
            return  # who is a member of every role


def _of_table(name: str, row: Any, policies: list[Any], is_plain: bool) -> Iterator[Problem]:
    if row.is_owner and is_plain:
        mend = "connect as another role; GRANT it SELECT, INSERT, UPDATE and DELETE"
        yield Problem(f"the application connects as {row.owner}, or a member of it, which owns {name}", mend)
    elif row.truncates and is_plain:
        mend = f"REVOKE TRUNCATE ON {name} FROM the role"
        yield Problem(f"the application may TRUNCATE {name}, which row security does not see", mend)
    if not row.relrowsecurity:
        yield Problem(f"row security is not enabled on {name}")
    if not row.relforcerowsecurity:
        yield Problem(f"row security is not forced on {name}")
    ours = {policy.polname: policy for policy in policies}
    for action in ACTIONS:
        policy = ours.pop(policy_name(action), None)
        if policy is None or not _is_sound(policy, *COMMANDS[action]):
            yield Problem(f"{name} has no policy {policy_name(action)} as it was made")
    for policy in ours.values():
        if policy.polpermissive and policy.applies:
            mend = "drop it, or make it AS RESTRICTIVE"
            yield Problem(f"the policy {policy.polname} of {name} lets further rows through", mend)


def _is_sound(policy: Any, command: str, clauses: tuple[str, ...]) -> bool:
    return (
        (policy.command, policy.polpermissive, policy.is_public) == (command, True, True)
        and policy.uses is ("USING" in clauses)
        and policy.checks is ("WITH CHECK" in clauses)
        and known_in(policy.comment) is not None
    )


def _canary(connection: Connection, name: str, pages: int) -> Iterator[Problem]:
    """Where nothing is set there must be no row; a sample of pages, as a policy reads a whole table to find none."""
    percent = min(100.0, 100.0 * _PAGES / max(int(pages), 1))
    try:
        with connection.begin_nested():
            sample = f"{name.replace(':', chr(92) + ':')} TABLESAMPLE SYSTEM ({percent:.10f})"
            row = _run(connection, text(f"SELECT 1 FROM {sample} LIMIT 1")).first()
    except DBAPIError as error:
        yield Problem(f"{name} cannot be read: {error.orig}", "mend what it says")
        return
    if row is not None:
        yield Problem(f"rows of {name} are there for a connection that nothing was told")
