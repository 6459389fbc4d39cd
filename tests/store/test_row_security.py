"""PostgreSQL's row security: who acts is told to each transaction, and every way to the rows is bound by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, delete, event, exists, func, insert, literal_column, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.orm import Session, aliased, joinedload

from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.errors import ConfigurationError, StoreUnavailable
from flask_archie_keys.store.protection import protections
from flask_archie_keys.store.row_security import Who, row_security
from flask_archie_keys.store.row_security_ddl import Policies

from ..support.postgres import PostgresServer
from ..support.row_security import PAST, acting, new_database, role, told
from ..support.secured_shop import ALL, GRANTS, KEEPER, REGION, TABLES, Shop, open_shop, shop, sql

__all__ = ["open_shop", "shop"]
EVERYTHING = Grant("orders", **ALL)
REFUSED = "violates row-level security policy"


def raw(session: Session) -> Any:
    """A cursor of psycopg's own, which neither SQLAlchemy nor the session guard sees."""
    return session.connection().connection.cursor()


def ids(rows: Any) -> list[int]:
    return sorted(row[0] for row in rows)


# -- reading


def by_orm(session: Session, shop: Shop) -> Any:
    return session.execute(select(shop.Order.id))


def by_entities(session: Session, shop: Shop) -> Any:
    return [(order.id,) for order in session.scalars(select(shop.Order).options(joinedload(shop.Order.customer)))]


def by_core(session: Session, shop: Shop) -> Any:
    return session.connection().execute(select(shop.Order.__table__.c.id), execution_options=PAST)


def by_text(session: Session, shop: Shop) -> Any:
    return sql(session, "SELECT id FROM orders")


def by_driver(session: Session, shop: Shop) -> Any:
    return session.connection().exec_driver_sql("SELECT id FROM orders", execution_options=PAST)


def by_raw_cursor(session: Session, shop: Shop) -> Any:
    return raw(session).execute("SELECT id FROM orders").fetchall()


def by_server_side_cursor(session: Session, shop: Shop) -> Any:
    with session.connection().connection.cursor("named") as cursor:
        return cursor.execute("SELECT id FROM orders").fetchall()


def by_copy(session: Session, shop: Shop) -> Any:
    with raw(session).copy("COPY orders (id) TO STDOUT") as copy:
        return [(int(row[0]),) for row in copy.rows()]


def by_cte(session: Session, shop: Shop) -> Any:
    found = select(shop.Order.__table__.c.id).cte()
    return session.execute(select(found.c.id), execution_options=PAST)


def by_union(session: Session, shop: Shop) -> Any:
    column = shop.Order.__table__.c.id
    return session.execute(select(column).where(column < 3).union(select(column)), execution_options=PAST)


def by_exists(session: Session, shop: Shop) -> Any:
    there = exists().where(shop.Order.__table__.c.id == literal_column("n"))
    numbers = select(literal_column("n")).select_from(func.generate_series(1, 4).alias("n"))
    return session.execute(numbers.where(there), execution_options=PAST)


def by_alias(session: Session, shop: Shop) -> Any:
    other = aliased(shop.Order)
    return session.execute(select(other.id).join(shop.Order, other.id == shop.Order.id))


def by_aggregate(session: Session, shop: Shop) -> Any:
    return [(id,) for id in sql(session, "SELECT array_agg(id) FROM orders").scalar()]


def by_window(session: Session, shop: Shop) -> Any:
    return sql(session, "SELECT id, count(*) OVER () AS n FROM orders ORDER BY n")


def by_lock(session: Session, shop: Shop) -> Any:
    return sql(session, "SELECT id FROM orders FOR UPDATE")


def by_only(session: Session, shop: Shop) -> Any:
    return sql(session, "TABLE orders")


def by_view(session: Session, shop: Shop) -> Any:
    """Of the owner's: row security is forced on it."""
    return sql(session, "SELECT id FROM seen")


READING = [value for name, value in list(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("read", READING)
def test_reading(shop: Shop, read: Callable[[Session, Shop], Any]) -> None:
    shop.world.fill("CREATE OR REPLACE VIEW seen AS SELECT id FROM orders", "GRANT SELECT ON seen TO archie_app")
    with Session(shop.engine) as session:
        assert ids(read(session, shop)) == [1, 4]
    shop.world.become(*KEEPER, region="us")
    with Session(shop.engine) as session:
        assert ids(read(session, shop)) == [2, 3]


def test_what_refers_to_the_rows_is_filtered_too(shop: Shop) -> None:
    with Session(shop.engine) as session:
        assert sql(session, "SELECT count(*) FROM orders").scalar() == 2
        assert ids(sql(session, "SELECT c.id FROM customers c")) == [1]
        assert ids(sql(session, "SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id")) == [1]
        assert ids(sql(session, "SELECT s.id FROM specials s")) == [4]
        assert ids(raw(session).execute("SELECT id FROM specials").fetchall()) == [4]
        assert session.get(shop.Special, 4).extra == "y"
        assert session.get(shop.Order, 2) is None
        assert ids(sql(session, "SELECT id FROM notes")) == [1], "a table that nothing was said about is left alone"


def test_a_dotted_path_goes_by_the_rows_that_may_be_read(shop: Shop) -> None:
    by_customer = GRANTS[1]
    shop.world.become(by_customer, Grant("customers", read=True), region="eu")
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 3]
    shop.world.become(by_customer, region="eu")
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [], "no customer may be read"
    shop.world.become(by_customer, GRANTS[0], region="eu")
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4], "the union of what remains"


def test_a_grant_without_a_filter_is_all_rows(shop: Shop) -> None:
    shop.world.become(EVERYTHING, region="eu")
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 2, 3, 4]
        assert ids(sql(session, "SELECT id FROM specials")) == [3, 4]
        assert ids(sql(session, "SELECT id FROM customers")) == []


# -- where nothing is told


def test_a_connection_that_nothing_was_told_sees_and_changes_nothing(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        for table in TABLES:
            assert connection.execute(text(f"SELECT * FROM {table}"), execution_options=PAST).all() == []
        for statement in ("UPDATE orders SET region = 'x'", "DELETE FROM orders", "DELETE FROM specials"):
            assert connection.execute(text(statement), execution_options=PAST).rowcount == 0
        with pytest.raises(ProgrammingError, match=REFUSED):
            connection.execute(text("INSERT INTO orders VALUES (9, 'order', 'eu')"), execution_options=PAST)
    url = shop.engine.url
    with psycopg.connect(host=url.query["host"], user=url.username, dbname=url.database) as connection:
        assert connection.execute("SELECT * FROM orders").fetchall() == []


RUBBISH = """
{}|null|1|"*"|["*"]|[{"*": true}]|{"*": 1}|{"*": "true"}|{"*": {}}|{"*": [true]}|{"a": {"*": true}}|{"orders:read": 1}
{"orders:read": {"%s": true}}|{"orders:read": {"%s": []}}|{"orders:read": ["%s"]}|{"orders:read": {"%s": {}}}
{"orders:read": {"%s": {"context.x": []}}}|{"orders:read": {"%s": {"context.x": [null]}}}|{"orders:read": {"%s": null}}
{"orders:read": {"other": {}}}
"""


@pytest.mark.parametrize("value", ["", *RUBBISH.strip().replace("\n", "|").split("|")])
def test_a_setting_made_by_hand_to_something_else_opens_nothing(shop: Shop, value: str) -> None:
    of_orders = next(each for each in Policies(protections(), [role(*GRANTS)]).all() if each.resource == "orders")
    (id,) = [id for id, filter in of_orders.filters.items() if "NOT" in filter]
    with shop.engine.connect() as connection:
        connection.execute(text("SELECT set_config('archie.grants', :v, false)"), {"v": value.replace("%s", id)})
        assert connection.execute(text("SELECT id FROM orders"), execution_options=PAST).all() == []
        connection.invalidate()


@pytest.mark.parametrize("value", ["x", "{", "[1", "\U0001f600"])
def test_a_setting_that_is_no_json_is_an_error(shop: Shop, value: str) -> None:
    with shop.engine.connect() as connection:
        connection.execute(text("SELECT set_config('archie.grants', :v, true)"), {"v": value})
        with pytest.raises(DBAPIError, match="invalid input syntax for type json"):
            connection.execute(text("SELECT id FROM orders"), execution_options=PAST)


def test_where_nobody_acts_only_what_was_protected_with_allow_is_there(shop: Shop) -> None:
    shop.world.nobody()
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM rates")) == [1]
        assert ids(sql(session, "SELECT id FROM orders")) == []
        session.add(shop.Rate())
        session.flush()
        assert sql(session, "DELETE FROM rates").rowcount == 2
    shop.world.become(*KEEPER, region="eu")
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM rates")) == [], "who acts needs a grant"


def test_outside_of_applications_nobody_acts_on_an_engine_that_is_known(shop: Shop) -> None:
    with Session(shop.engine) as session:
        session.connection()
    shop.world.who = None  # as in a thread without a context
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM rates")) == [1]
        assert ids(sql(session, "SELECT id FROM orders")) == []


# -- changing


def rowcount(session: Session, statement: Any) -> int:
    return int(session.connection().execute(statement, execution_options=PAST).rowcount)


def test_changes_of_hidden_rows_find_none(shop: Shop) -> None:
    order, customer = shop.Order.__table__, shop.Customer.__table__
    with Session(shop.engine) as session:
        assert rowcount(session, update(order).values(kind="order")) == 2
        assert rowcount(session, update(order).where(order.c.id == 2).values(kind="x")) == 0
        assert rowcount(session, delete(order).where(order.c.id.in_([2, 3]))) == 0
        from_customers = update(order).where(order.c.customer_id == customer.c.id).values(kind="mine")
        assert rowcount(session, from_customers) == 1
        assert raw(session).execute("DELETE FROM orders USING customers WHERE customers.id = customer_id").rowcount == 1
        assert raw(session).execute("UPDATE specials SET extra = 'z'").rowcount == 1
        assert raw(session).execute("DELETE FROM specials").rowcount == 1
        session.commit()
    assert shop.orders() == [(2, "us"), (3, "us"), (4, "eu")]
    assert shop.world.all("SELECT * FROM specials") == [(3, "x")]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO orders VALUES (9, 'order', 'us', NULL)",
        "INSERT INTO orders VALUES (9, 'order', NULL, NULL)",
        "INSERT INTO orders SELECT 9, 'order', 'us', NULL FROM orders",
        "UPDATE orders SET region = 'us'",
        "UPDATE orders SET region = NULL WHERE id = 1",
        "INSERT INTO orders VALUES (1, 'order', 'eu') ON CONFLICT (id) DO UPDATE SET region = 'us'",
        "INSERT INTO orders VALUES (2, 'order', 'eu') ON CONFLICT (id) DO UPDATE SET region = 'eu'",
        "MERGE INTO orders USING (SELECT 8 AS id) s ON s.id = orders.id "
        "WHEN NOT MATCHED THEN INSERT VALUES (8, 'order', 'us')",
        "WITH gone AS (DELETE FROM orders WHERE id = 1 RETURNING id) INSERT INTO orders SELECT 9, 'x', 'us' FROM gone",
        "INSERT INTO specials VALUES (2, 'x')",
        "UPDATE specials SET id = 3",
    ],
)
def test_rows_cannot_be_made_outside_or_moved_there(shop: Shop, statement: str) -> None:
    before = shop.orders()
    with Session(shop.engine) as session, pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
        raw(session).execute(statement)
    assert shop.orders() == before


def test_rows_inside_can_be_made_and_changed(shop: Shop) -> None:
    with Session(shop.engine) as session:
        session.add_all([shop.Order(region="eu"), shop.Special(region="eu", extra="n")])
        session.flush()
        rowcount(session, insert(shop.Order.__table__).values(id=20, kind="order", region="eu"))
        again = upsert(shop.Order.__table__).values(id=20, kind="order", region="eu")
        rowcount(session, again.on_conflict_do_update(index_elements=["id"], set_={"kind": "again"}))
        session.get(shop.Order, 1).customer_id = None
        session.delete(session.get(shop.Special, 4))
        session.commit()
    assert [id for id, _ in shop.orders()] == [1, 2, 3, 11, 12, 20]
    assert shop.world.all("SELECT kind FROM orders WHERE id = 20") == [("again",)]


def test_copy_from_is_refused(shop: Shop) -> None:
    with Session(shop.engine) as session, pytest.raises(psycopg.errors.FeatureNotSupported, match="COPY FROM"):
        raw(session).execute("COPY orders FROM STDIN")


@pytest.mark.parametrize("action", ["read", "write", "update", "delete"])
def test_each_action_is_apart(shop: Shop, action: str) -> None:
    read = action == "read"
    shop.world.become(Grant("orders", **{"read": True, action: True}, filter=REGION), region="eu")
    with Session(shop.engine) as session:
        assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
        assert raw(session).execute("UPDATE orders SET kind = 'x'").rowcount == (2 if action == "update" else 0)
        assert raw(session).execute("DELETE FROM orders WHERE id = 1").rowcount == (1 if action == "delete" else 0)
        if action == "write":
            raw(session).execute("INSERT INTO orders VALUES (9, 'order', 'eu')")
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match=REFUSED):
                raw(session).execute("INSERT INTO orders VALUES (9, 'order', 'eu')")
    if not read:
        shop.world.become(Grant("orders", **{action: True}, filter=REGION), region="eu")
        with Session(shop.engine) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == []


# -- transactions


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """What SQLAlchemy sends meanwhile."""
    found: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def test_a_transaction_is_told_once(shop: Shop) -> None:
    with Session(shop.engine) as session:
        session.connection()
    with statements(shop.engine) as sent, Session(shop.engine) as session:
        for _ in range(3):
            sql(session, "SELECT id FROM orders")
        session.commit()
        session.connection()
    assert [s.startswith("SELECT set_config('archie.grants'") for s in sent] == [True, False, False, False, True]


def test_nothing_is_sent_where_nothing_is_to_be_told(shop: Shop) -> None:
    with Session(shop.engine) as session:
        session.connection()
    shop.world.become(region="eu")
    with statements(shop.engine) as sent, Session(shop.engine) as session:
        sql(session, "SELECT 1")
    assert sent == ["SELECT 1"]


@pytest.mark.parametrize("end", ["commit", "rollback", "close", "error"])
def test_a_pooled_connection_carries_nothing_on(shop: Shop, end: str) -> None:
    engine = create_engine(shop.engine.url, pool_size=1, max_overflow=0)
    try:
        with Session(engine) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
            if end == "error":
                with pytest.raises(DBAPIError):
                    sql(session, "SELECT 1 / 0")
                session.rollback()
            else:
                getattr(session, end)()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT id FROM orders"), execution_options=PAST).all() == []
            assert told(connection) in ("", None)
        with Session(engine) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
    finally:
        engine.dispose()


def test_one_session_over_several_transactions(shop: Shop) -> None:
    with Session(shop.engine) as session:
        for end in (session.commit, session.rollback, session.commit):
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
            end()
        shop.world.become(*KEEPER, region="us")
        assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [2, 3]


def test_who_acts_may_change_within_a_transaction(shop: Shop) -> None:
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        shop.world.become(*KEEPER, region="us")
        assert ids(sql(session, "SELECT id FROM orders")) == [2, 3]
        shop.world.nobody()
        assert ids(by_core(session, shop)) == []
        shop.world.become(EVERYTHING)
        assert ids(by_driver(session, shop)) == [1, 2, 3, 4]
        shop.world.become(*KEEPER, region="eu")
        row_security.refresh(session)
        assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
        session.add(shop.Order(region="eu"))
        shop.world.become(*KEEPER, region="us")
        with pytest.raises(ProgrammingError, match=REFUSED):
            session.flush()


def test_a_rollback_to_a_savepoint_takes_back_what_was_told_since(shop: Shop) -> None:
    with Session(shop.engine) as session, shop.world.lifted():
        assert len(ids(sql(session, "SELECT id FROM orders"))) == 4
        nested = session.begin_nested()
        assert len(ids(sql(session, "SELECT id FROM orders"))) == 4
        shop.world.become(*KEEPER, region="eu")
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        nested.rollback()
        assert '"*"' in (told(session.connection()) or ""), "as PostgreSQL has it"
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]


@pytest.mark.parametrize("undo", ["ROLLBACK TO here", "  rollback to savepoint here", "SELECT 1; ROLLBACK TO here"])
def test_a_savepoint_that_is_made_by_hand(shop: Shop, undo: str) -> None:
    shop.world.become(EVERYTHING)
    with Session(shop.engine) as session:
        session.connection().exec_driver_sql("SAVEPOINT here")
        shop.world.become(*KEEPER, region="eu")
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        session.connection().exec_driver_sql(undo)
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]


def test_nothing_is_read_between_a_rollback_and_the_next_telling(shop: Shop) -> None:
    shop.world.become(EVERYTHING)
    with Session(shop.engine) as session:
        session.connection().exec_driver_sql("SAVEPOINT here")
        shop.world.become(*KEEPER, region="eu")
        both = session.connection().exec_driver_sql("SELECT id, 'rollback' FROM orders", execution_options=PAST)
        assert ids(both) == [1, 4], "a statement that has the word in it is told before"


def test_a_savepoint_goes_on_with_what_was_told(shop: Shop) -> None:
    with statements(shop.engine) as sent, Session(shop.engine) as session:
        sql(session, "SELECT id FROM orders")
        with session.begin_nested():
            assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
    assert len([s for s in sent if "set_config" in s]) == 1


def test_a_rollback_in_a_failed_transaction_is_let_through(shop: Shop) -> None:
    with Session(shop.engine) as session:
        nested = session.begin_nested()
        with pytest.raises(DBAPIError):
            sql(session, "SELECT 1 / 0")
        shop.world.become(*KEEPER, region="us")
        nested.rollback()
        assert ids(sql(session, "SELECT id FROM orders")) == [2, 3]


# -- unrestricted


def test_an_unrestricted_block(shop: Shop) -> None:
    with Session(shop.engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        with shop.world.lifted():
            assert ids(sql(session, "SELECT id FROM orders")) == [1, 2, 3, 4]
            assert ids(sql(session, "SELECT id FROM specials")) == [3, 4]
            assert rowcount(session, update(shop.Order.__table__).values(kind="order")) == 4
        assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [], "nothing until the next statement"
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]


def test_an_unrestricted_block_that_leaves_a_failed_transaction(shop: Shop) -> None:
    with Session(shop.engine) as session:
        with shop.world.lifted():
            session.connection().exec_driver_sql("SAVEPOINT here")
            with pytest.raises(DBAPIError):
                sql(session, "SELECT 1 / 0")
        session.connection().exec_driver_sql("ROLLBACK TO here")
        assert '"*"' in (told(session.connection()) or "")
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]


def test_leaving_one_block_leaves_another_session_alone(shop: Shop) -> None:
    with Session(shop.engine) as session, Session(shop.engine) as ended:
        with shop.world.lifted():
            closed = ended.connection()
            ended.close()
        assert closed.closed
        with shop.world.lifted():
            assert len(ids(sql(session, "SELECT id FROM orders"))) == 4
            with shop.world.lifted():
                pass
            assert len(ids(raw(session).execute("SELECT id FROM orders").fetchall())) == 4


# -- connections of the host's own, threads, other engines


@pytest.mark.parametrize("mode", ["conditional_savepoint", "rollback_only", "create_savepoint", "control_fully"])
def test_sessions_on_one_connection(shop: Shop, mode: Any) -> None:
    with shop.engine.connect() as connection, connection.begin():
        with Session(connection, join_transaction_mode=mode) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
            if mode != "control_fully":
                session.commit()
        if mode == "control_fully":
            return
        shop.world.become()
        with Session(connection, join_transaction_mode=mode) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == []
        shop.world.become(*KEEPER, region="us")
        with Session(connection, join_transaction_mode=mode) as session:
            assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [2, 3]


def test_a_connection_that_a_session_has_used_is_told_anew_in_its_next_transaction(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        for _ in range(2):
            with Session(connection) as session:
                assert ids(raw(session).execute("SELECT id FROM orders").fetchall()) == [1, 4]
            connection.rollback()
            assert connection.execute(text("SELECT id FROM orders"), execution_options=PAST).all() == []
            connection.rollback()


def test_leaving_a_block_begins_no_transaction(shop: Shop) -> None:
    with shop.engine.connect() as connection:
        with shop.world.lifted():
            with Session(connection) as session:
                session.connection()
            connection.rollback()
        assert not connection.in_transaction()


def test_what_is_granted_is_found_out_once_in_a_transaction(shop: Shop) -> None:
    assert shop.world.who is not None
    found, grants = [], shop.world.who.grants
    shop.world.who = Who(object(), lambda: found.append(1) or grants())
    with Session(shop.engine) as session:
        for _ in range(3):
            assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
    assert found == [1]


def test_threads_are_told_apart(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    acts: ContextVar[Who | None] = ContextVar("acts", default=None)
    monkeypatch.setattr(row_security, "current", acts.get)
    seen: dict[str, list[list[int]]] = {"eu": [], "us": [], "none": []}

    def work(region: str) -> None:
        for _ in range(12):
            acts.set(acting(() if region == "none" else KEEPER, {"context.region": region}))
            with Session(shop.engine) as session:
                seen[region].append(ids(raw(session).execute("SELECT id FROM orders").fetchall()))

    threads = [threading.Thread(target=work, args=(region,)) for region in seen for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {"eu": [1, 4], "us": [2, 3], "none": []}
    assert seen == {region: [found] * 36 for region, found in expected.items()}


def test_an_engine_made_of_another_is_told_as_well(shop: Shop) -> None:
    engine = shop.engine.execution_options(isolation_level="REPEATABLE READ")
    with Session(engine) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == [1, 4]
        shop.world.become(*KEEPER, region="us")
        assert ids(sql(session, "SELECT id FROM orders")) == [2, 3]


def test_without_transactions_nothing_is_there(shop: Shop) -> None:
    with Session(shop.engine.execution_options(isolation_level="AUTOCOMMIT")) as session:
        assert ids(sql(session, "SELECT id FROM orders")) == []


def test_an_engine_without_protected_tables_is_left_alone(shop: Shop, postgres_server: PostgresServer) -> None:
    other = create_engine(new_database(postgres_server))
    try:
        with statements(other) as sent, Session(binds={shop.Order: shop.engine, shop.Customer: shop.engine}) as session:
            session.bind_table(shop.Rate.__table__, shop.engine)
            session.connection(bind_arguments={"bind": other}).execute(text("SELECT 1"))
            assert ids(session.execute(select(shop.Order.id))) == [1, 4]
        assert sent == ["SELECT 1"]
    finally:
        other.dispose()


def test_another_database_is_refused(shop: Shop) -> None:
    engine = create_engine("sqlite://")
    with Session(engine) as session, pytest.raises(ConfigurationError, match="needs PostgreSQL; this is sqlite"):
        session.connection()
    engine.dispose()


def test_what_cannot_be_found_out_is_not_let_through(shop: Shop) -> None:
    def fails() -> Any:
        raise StoreUnavailable("the roles cannot be read")

    shop.world.who = Who(object(), fails)
    with Session(shop.engine) as session:
        with pytest.raises(StoreUnavailable):
            session.connection()
        with pytest.raises(StoreUnavailable):
            sql(session, "SELECT id FROM orders")
        assert raw(session).execute("SELECT id FROM orders").fetchall() == []
