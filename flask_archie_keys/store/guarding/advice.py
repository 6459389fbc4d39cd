"""What to do instead, for each way that cannot be guarded."""

from __future__ import annotations

from sqlalchemy import Table

from ..protection import child_advice

CORE = (
    "the table {table} is protected, and no row filter reaches it here: select its mapped class through a session, "
    "with select_from(), join() or exists() where only an expression names it, or pass the statement through "
    'keys.scope(statement, "read")'
)
ENTITY = "{model} is read from something that its row filter does not reach: select the class itself"
TEXT = (
    "a text of SQL names the table {table}, where no row filter can be added: select its mapped class through a "
    "session, or use keys.scope()"
)
FROM_STATEMENT = "from_statement() with a text makes {model} objects of rows that no filter was on: use select()"
ANOTHER_TABLE = (
    "a table object that is not the mapped one is named {table}, which is protected: use the mapped class, or "
    "keys.unprotected(<this table>) if it is another table"
)
NESTED_WRITE = "the protected table {table} is written within another statement: write through the session's objects"
NESTED_REFERENCE = (
    "rows of {table} refer to protected ones and are written within another statement: use one of their own"
)
INSERT = "INSERT statements on the protected table {table} are not guarded: use session.add()"
UPDATE = (
    "this UPDATE of the protected table {table} has no row filter: load the objects and change them, use "
    'session.execute(update(<the mapped class>)), or keys.scope(statement, "update")'
)
DELETE = (
    "this DELETE from the protected table {table} has no row filter: session.delete() the objects, use "
    'session.execute(delete(<the mapped class>)), or keys.scope(statement, "delete")'
)
BY_KEY = "bulk UPDATE by primary key is not guarded: load the objects and change them"
ASSIGNS = (
    "this UPDATE assigns {columns} of the protected table {table}, on which row filters depend: load the objects and "
    "change them"
)
DERIVED = "a statement cannot change {table} by itself, whose row filter is on {base}: load the objects and change them"
LINK = "rows of {table} link protected rows: change the relationship of the mapped objects"
EXPRESSION = "{column} refers to the protected table {target}: give it a plain value, not an SQL expression"
NO_MARK = (
    "this statement on the protected table {tables} did not come through a session's execute(): use "
    "session.execute(), or keys.scope()"
)
STALE = "this statement was changed after its row filters were added: use it through session.execute()"
OTHER_PRINCIPAL = (
    "this statement was scoped for another principal: use session.execute() or keys.scope() where it is executed"
)
NOBODY = (
    "the protected table {tables} is used where nobody acts: authenticate the request, use keys.act_as(principal) or "
    'keys.unrestricted("why"), or protect the class with unscoped="allow"; another table of that name, in another '
    "database or metadata, is declared free by keys.unprotected(<that table>)"
)
OTHER_SESSION = (
    "this session holds objects that were loaded for another principal, or for none: use a session of its own, or "
    "commit or roll back and session.expunge_all() first"
)
DETACHED = (
    "a detached {model} cannot be added to the session, for its row was not checked: use session.merge(obj), with "
    "load=True"
)


def child(table: Table) -> str:
    """What to do about a table without a rule of its own."""
    return child_advice(table)
