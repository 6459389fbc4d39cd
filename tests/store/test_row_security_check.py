"""The self-test of row security: whatever keeps it from binding the application is found, and refuses to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.exc import DBAPIError, InvalidRequestError, PendingRollbackError
from sqlalchemy.orm import Session

from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.errors import ConfigurationError
from flask_archie_keys.store.protection import protections, registry
from flask_archie_keys.store.row_security import row_security
from flask_archie_keys.store.row_security_check import drift, look
from flask_archie_keys.store.row_security_ddl import Policies, apply

from ..support.row_security import APP, OWNER, as_role, role
from ..support.secured_shop import GRANTS, Shop, open_shop, shop, sql

__all__ = ["open_shop", "shop"]


def administer(shop: Shop, *statements: str) -> None:
    """As a superuser."""
    url = shop.engine.url
    with psycopg.connect(host=url.query["host"], user="postgres", dbname=url.database) as connection:
        for statement in statements:
            connection.execute(statement)


@contextmanager
def changed(shop: Shop, *statements: str) -> Iterator[None]:
    """While something is otherwise than it was made."""
    administer(shop, *statements)
    try:
        yield
    finally:
        administer(
            shop,
            "DROP POLICY IF EXISTS own ON orders",
            "REVOKE ALL ON orders FROM other",
            f"ALTER ROLE {APP} RESET ALL",
            f"REVOKE TRUNCATE ON orders FROM {APP}",
            f"GRANT SELECT ON customers TO {APP}",
        )
        shop.world.secure(*GRANTS)
        row_security._passed.clear()
        shop.engine.dispose()


@pytest.fixture(autouse=True)
def anew(shop: Shop) -> None:
    row_security._passed.clear()


@pytest.fixture(autouse=True, scope="module")
def roles(open_shop: Shop) -> None:
    for name, options in {"bypass": "BYPASSRLS", "member": f"IN ROLE {OWNER}", "other": ""}.items():
        administer(
            open_shop, f"DO $$ BEGIN CREATE ROLE {name} LOGIN {options}; EXCEPTION WHEN duplicate_object THEN END $$"
        )
    administer(open_shop, "GRANT bypass TO other")


def problems(shop: Shop, user: str = APP) -> list[str]:
    engine = create_engine(as_role(shop.world.url, user))
    try:
        with engine.connect() as connection:
            return [str(problem) for problem in look(connection, protections()).problems]
    finally:
        engine.dispose()


def test_all_is_well(shop: Shop) -> None:
    assert problems(shop) == []


@pytest.mark.parametrize(
    ("user", "found"),
    [
        ("postgres", "connects as postgres, or a member of it, which is a superuser: connect as a role"),
        ("bypass", "connects as bypass, or a member of it, which is a role with BYPASSRLS"),
        ("other", "connects as bypass, or a member of it, which is a role with BYPASSRLS"),
        (OWNER, f"connects as {OWNER}, or a member of it, which owns orders: connect as another role; GRANT it"),
        ("member", f"connects as {OWNER}, or a member of it, which owns specials"),
    ],
)
def test_the_role(shop: Shop, user: str, found: str) -> None:
    assert any(found in problem for problem in problems(shop, user)), problems(shop, user)


def test_a_superuser_who_has_set_another_role(shop: Shop) -> None:
    engine = create_engine(shop.world.url)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SET ROLE {APP}")
        assert "postgres" in look(connection, protections()).problems[0].found
        connection.invalidate()
    engine.dispose()


LACKS_READ = "orders has no policy archie_keys_read as it was made"
TO_ALL = "CREATE POLICY own ON orders FOR SELECT"


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        (
            "ALTER TABLE orders DISABLE ROW LEVEL SECURITY",
            "not enabled on orders: flask keys row-security",
        ),
        ("ALTER TABLE specials NO FORCE ROW LEVEL SECURITY", "row security is not forced on specials"),
        ("DROP POLICY archie_keys_read ON orders", LACKS_READ),
        ("DROP POLICY archie_keys_write ON orders", "orders has no policy archie_keys_write as it was made"),
        ("DROP POLICY archie_keys_update ON specials", "specials has no policy archie_keys_update as it was made"),
        ("DROP POLICY archie_keys_delete ON customers", "customers has no policy archie_keys_delete as it was made"),
        (
            "COMMENT ON POLICY archie_keys_read ON orders IS NULL",
            LACKS_READ,
        ),
        ("ALTER POLICY archie_keys_read ON orders TO other", LACKS_READ),
        (
            "DROP POLICY archie_keys_read ON orders; CREATE POLICY archie_keys_read ON orders USING (false); "
            "COMMENT ON POLICY archie_keys_read ON orders IS 'flask_archie_keys x'",
            LACKS_READ,
        ),
        ("ALTER POLICY archie_keys_read ON orders USING (true)", "rows of orders are there for a connection"),
        (TO_ALL + " USING (false)", "the policy own of orders lets further rows through: drop it, or make it AS REST"),
        (TO_ALL + f" TO {APP} USING (false)", "the policy own of orders lets further rows through"),
        (f"GRANT TRUNCATE ON orders TO {APP}", "may TRUNCATE orders, which row security does not see: REVOKE TRUNCATE"),
        (f"""ALTER ROLE {APP} SET archie.grants = '{{"*": true}}'""", "rows of orders are there for a connection"),
        (f"REVOKE SELECT ON customers FROM {APP}", "orders cannot be read: permission denied for table customers"),
    ],
)
def test_the_tables(shop: Shop, statement: str, found: str) -> None:
    with changed(shop, statement):
        assert any(found in problem for problem in problems(shop)), problems(shop)
        with Session(shop.engine) as session, pytest.raises(ConfigurationError, match="row security does not hold"):
            sql(session, "SELECT id FROM orders")
    assert problems(shop) == []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE POLICY own ON orders AS RESTRICTIVE FOR SELECT USING (id > 0)",
        "CREATE POLICY own ON orders FOR SELECT TO other USING (true)",
        "GRANT TRUNCATE ON orders TO other",
    ],
)
def test_what_does_no_harm(shop: Shop, statement: str) -> None:
    with changed(shop, statement):
        assert problems(shop) == []


def test_it_is_done_once_for_an_engine_and_for_what_is_protected(shop: Shop) -> None:
    sent: list[str] = []
    event.listen(shop.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))

    def looks() -> bool:
        sent.clear()
        with Session(shop.engine) as session:
            sql(session, "SELECT id FROM orders")
        return any("pg_policy" in statement for statement in sent)

    rates = inspect(shop.Rate)
    registry.mappers.discard(rates)
    assert [looks(), looks()] == [True, False]
    registry.changed()
    assert looks() is False, "some table or other was made"
    registry.mappers.add(rates)
    registry.changed()
    assert [looks(), looks()] == [True, False]


def test_a_table_that_is_made_later_is_looked_at(shop: Shop) -> None:
    administer(shop, "ALTER TABLE rates RENAME TO later")
    try:
        with Session(shop.engine) as session:
            sql(session, "SELECT id FROM orders")
        administer(shop, "ALTER TABLE later RENAME TO rates", "ALTER TABLE rates DISABLE ROW LEVEL SECURITY")
        with Session(shop.engine) as session, pytest.raises(ConfigurationError, match="not enabled on rates"):
            sql(session, "SELECT id FROM orders")
    finally:
        administer(shop, "ALTER TABLE IF EXISTS later RENAME TO rates")
        shop.world.secure(*GRANTS)


def test_who_goes_on_all_the_same_cannot(shop: Shop) -> None:
    with changed(shop, "ALTER TABLE orders DISABLE ROW LEVEL SECURITY"), Session(shop.engine) as session:
        with pytest.raises(ConfigurationError):
            session.connection()
        with pytest.raises((InvalidRequestError, PendingRollbackError, DBAPIError)):
            session.connection().connection.cursor().execute("SELECT id FROM orders")
        session.rollback()
        with pytest.raises(ConfigurationError):
            session.connection()


def test_the_canary_looks_at_a_few_pages_of_a_large_table(shop: Shop) -> None:
    shop.world.fill("INSERT INTO orders SELECT n, repeat('x', 1000) FROM generate_series(100, 1500) AS n")
    sent: list[str] = []
    with shop.engine.connect() as connection:
        event.listen(connection, "before_cursor_execute", lambda *args: sent.append(args[2]))
        assert look(connection, protections()).problems == []
    samples = {s.split()[3]: float(s.partition("(")[2].partition(")")[0]) for s in sent if "TABLESAMPLE" in s}
    assert samples["rates"] == 100 and 0 < samples["orders"] < 10
    with changed(shop, "ALTER POLICY archie_keys_read ON orders USING (true)"):
        assert any("rows of orders are there" in problem for problem in problems(shop))


# -- drift


def drifted(shop: Shop, *grants: Grant) -> list[Any]:
    with shop.engine.connect() as connection:
        return drift(connection, Policies(protections(), [role(*grants)]))


def test_filters_that_the_policies_do_not_know(shop: Shop) -> None:
    assert drifted(shop, *GRANTS) == []
    added = Grant("orders", read=True, update=True, filter="region = 'xx'")
    found = drifted(shop, *GRANTS, added)
    name = "the policy archie_keys_{} of {} does not know the filter \"region = 'xx'\", which lets no row through"
    assert [problem.found for problem in found] == [
        name.format(action, table) for table in ("orders", "specials") for action in ("read", "update")
    ]
    assert not any(problem.stale for problem in found)
    shop.world.become(added)
    shop.world.fill("UPDATE orders SET region = 'xx'")
    with Session(shop.engine) as session:
        assert sql(session, "SELECT id FROM orders").all() == [], "closed until they are made anew"
    shop.world.secure(*GRANTS, added)
    try:
        assert drifted(shop, *GRANTS, added) == []
        with Session(shop.engine) as session:
            assert len(sql(session, "SELECT id FROM orders").all()) == 4
        found = drifted(shop, *GRANTS)
        assert {problem.found for problem in found} == {
            f"the policy archie_keys_{action} of {table} is not as it would be made now"
            for table in ("orders", "specials")
            for action in ("read", "update")
        }
        assert all(problem.stale for problem in found)
    finally:
        shop.world.secure(*GRANTS)


def test_a_policy_that_is_not_there_is_no_drift(shop: Shop) -> None:
    with changed(shop, "DROP POLICY archie_keys_read ON orders"):
        assert drifted(shop, *GRANTS) == []


def test_a_policy_without_our_comment_knows_no_filter(shop: Shop) -> None:
    with changed(shop, "COMMENT ON POLICY archie_keys_read ON orders IS 'mine'"):
        found = drifted(shop, *GRANTS)
        assert len(found) == 3 and all("does not know the filter" in problem.found for problem in found)


# -- making the policies


def test_they_are_made_in_one_transaction(shop: Shop) -> None:
    """The last table fails, so nothing is changed on the first one."""
    administer(shop, "ALTER TABLE specials OWNER TO postgres")
    before = shop.world.all("SELECT oid FROM pg_policy ORDER BY oid")
    try:
        with pytest.raises(ConfigurationError, match="the database refuses: must be owner of table specials"):
            shop.world.secure()
        assert shop.world.all("SELECT oid FROM pg_policy ORDER BY oid") == before
    finally:
        administer(shop, f"ALTER TABLE specials OWNER TO {OWNER}")


def test_they_are_made_anew_as_often_as_one_likes(shop: Shop) -> None:
    before = shop.world.all("SELECT polname, polrelid FROM pg_policy ORDER BY 1, 2")
    shop.world.secure(*GRANTS)
    assert shop.world.all("SELECT polname, polrelid FROM pg_policy ORDER BY 1, 2") == before
    assert len(before) == 16


def test_by_the_url_of_the_owner(shop: Shop) -> None:
    policies = Policies(protections(), [role(*GRANTS)])
    apply(policies, shop.engine, as_role(shop.world.url, OWNER).replace("+psycopg", ""))
    for url, refused in {
        as_role(shop.world.url, APP): "the database refuses: must be owner of table customers",
        "sqlite://": "the database of --url is sqlite",
        "nothing": "not a database URL",
        "postgresql+nothing://": "not a database URL",
        as_role(shop.world.url, "nobody_of_that_name"): "the database refuses",
    }.items():
        with pytest.raises(ConfigurationError, match=refused):
            apply(policies, shop.engine, url)
    with pytest.raises(ConfigurationError, match="name the database with --url"):
        apply(policies, None, None)


def test_row_security_that_is_off_for_a_connection_is_an_error(shop: Shop) -> None:
    """PostgreSQL's own ``row_security = off`` lets nothing past: it refuses."""
    with Session(shop.engine) as session:
        cursor = session.connection().connection.cursor()
        cursor.execute("SET LOCAL row_security = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="would be affected by row-level security"):
            cursor.execute("SELECT id FROM orders")
