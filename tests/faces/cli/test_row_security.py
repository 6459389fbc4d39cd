"""Row security in an application: its transactions are told who acts, and ``flask keys row-security`` makes it hold."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy_lite import SQLAlchemy as Lite
from sqlalchemy import ForeignKey, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from flask_archie_keys import ArchieKeys, ConfigurationError, Principal, current_principal, require_api_key
from flask_archie_keys.domain.permissions import Grant
from flask_archie_keys.store.row_security import row_security

from ...conftest import PEPPER
from ...support.postgres import PostgresServer
from ...support.row_security import APP, OWNER, PAST, as_role, grant, isolated, new_database

REGION = {"resource": "orders", "read": True, "filter": "region = $context.region"}
BY_USER = {"resource": "orders", "read": True, "filter": "user_id = $userId"}
ROLES = {
    "keeper": {"grants": [REGION, {"resource": "orders", "write": True, "update": True}]},
    "buyer": {"grants": [BY_USER]},
}


class Store:
    """A host application on PostgreSQL, whose tables another role owns."""

    def __init__(self, server: PostgresServer, folder: Path, **config: Any) -> None:
        self.server = server
        self.url = new_database(server)
        self.owners = as_role(self.url, OWNER)
        self.app = Flask("store", instance_path=str(folder / "instance"))
        self.app.config |= {
            "SQLALCHEMY_DATABASE_URI": as_role(self.url, APP),
            "ARCHIE_KEYS_PEPPERS": [PEPPER],
            "ARCHIE_KEYS_ROLES": ROLES,
            "ARCHIE_KEYS_AUDIT": {"background": False},
            "ARCHIE_KEYS_ROW_SECURITY": True,
            **config,
        }
        self.db = SQLAlchemy(model_class=type("StoreBase", (DeclarativeBase,), {}))
        db = self.db

        class User(db.Model):  # type: ignore[name-defined, misc]
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)

        class Order(db.Model):  # type: ignore[name-defined, misc]
            __tablename__ = "orders"
            id: Mapped[int] = mapped_column(primary_key=True)
            region: Mapped[str]
            user_id: Mapped[int | None] = mapped_column(ForeignKey(User.id))
            up_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id"))
            up: Mapped[Any] = relationship("Order", remote_side="Order.id")

        self.User, self.Order = User, Order
        db.init_app(self.app)
        self.keys = ArchieKeys(self.app, db)
        self.keys.protect(Order, resource="orders")
        self.client = self.app.test_client()
        self.app.add_url_rule("/orders", "orders", require_api_key(lambda: self.read()))
        self.app.add_url_rule("/open", "open", lambda: self.read())
        owner = create_engine(self.owners)
        self.db.metadata.create_all(owner)
        grant(owner)
        with owner.begin() as connection:
            connection.exec_driver_sql("INSERT INTO users VALUES (7)")
            orders = "INSERT INTO orders VALUES (1, 'eu', 7), (2, 'us', NULL), (3, 'eu', NULL)"
            connection.exec_driver_sql(orders, execution_options=PAST)
        owner.dispose()

    def read(self) -> dict[str, Any]:
        """What a raw cursor sees, which no session guard does."""
        with self.db.session.connection().connection.cursor() as cursor:
            return {"seen": sorted(row[0] for row in cursor.execute("SELECT id FROM orders").fetchall())}

    def secret(self, region: str = "eu", roles: tuple[str, ...] = ("keeper",), **kwargs: Any) -> str:
        with self.app.app_context():
            made = self.keys.service.create(name="k", roles=roles, context={"region": region}, **kwargs)
            return str(made.secret)

    def get(self, secret: str | None = None, path: str = "/orders") -> Any:
        headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
        return self.client.get(path, headers=headers)

    def run(self, *arguments: str, **env: str) -> Result:
        return self.app.test_cli_runner().invoke(args=["keys", "row-security", *arguments], env=env)

    def apply(self) -> None:
        done = self.run("--apply", "--url", self.owners)
        assert done.exit_code == 0, done.output

    def close(self) -> None:
        self.keys.close(self.app)
        with self.app.app_context():
            for engine in self.db.engines.values():
                engine.dispose()


@pytest.fixture
def make_store(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Any]:
    made: list[Store] = []
    with isolated():

        def make(**config: Any) -> Store:
            made.append(Store(postgres_server, tmp_path, **config))
            return made[-1]

        yield make
        for store in made:
            store.close()


@pytest.fixture
def store(make_store: Any) -> Store:
    return make_store()


@pytest.fixture
def secured(store: Store) -> Store:
    store.apply()
    return store


# -- requests


def test_each_key_sees_its_rows_with_any_cursor(secured: Store) -> None:
    eu, us = secured.secret("eu"), secured.secret("us")
    for _ in range(2):
        assert secured.get(eu).json == {"seen": [1, 3]}
        assert secured.get(us).json == {"seen": [2]}
        assert secured.get(path="/open").json == {"seen": []}
        assert secured.get(secured.secret(roles=())).json == {"seen": []}


def test_the_session_guard_and_the_policies_agree(secured: Store) -> None:
    @secured.app.get("/all")
    @require_api_key
    def by_orm() -> dict[str, Any]:
        found = secured.db.session.scalars(select(secured.Order).order_by(secured.Order.id))
        return {"seen": [order.id for order in found]}

    @secured.app.get("/make")
    @require_api_key
    def make() -> dict[str, Any]:
        secured.db.session.add(secured.Order(id=9, region="eu"))
        secured.db.session.commit()
        return secured.read()

    assert secured.get(secured.secret("eu"), "/all").json == {"seen": [1, 3]}
    assert secured.get(secured.secret("eu"), "/make").json == {"seen": [1, 3, 9]}


def test_what_was_not_asked_for_is_not_in_the_audit_log(secured: Store) -> None:
    secured.get(secured.secret())
    with secured.app.app_context():
        (seen,) = [each for each in secured.keys.audit.find(limit=50) if each.kind == "request"]
    assert "permissions" not in json.dumps(dict(seen.details or {}))


def test_a_block_without_restrictions(secured: Store) -> None:
    @secured.app.get("/lifted")
    @require_api_key
    def lifted() -> dict[str, Any]:
        before = secured.read()["seen"]
        with secured.keys.unrestricted("a report"):
            secured.db.session.execute(select(secured.Order.id)).all()
            during = secured.read()["seen"]
        after = secured.read()["seen"]
        secured.db.session.execute(select(secured.Order.id)).all()
        return {"seen": [before, during, after, secured.read()["seen"]]}

    assert secured.get(secured.secret(), "/lifted").json == {"seen": [[1, 3], [1, 2, 3], [], [1, 3]]}


def test_a_principal_in_a_thread(secured: Store) -> None:
    found: list[Any] = []

    def work(principal: Principal | None) -> None:
        with secured.app.app_context():
            if principal is None:
                found.append(secured.read())
                return
            sent: list[str] = []
            event.listen(secured.db.engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
            with secured.keys.act_as(principal):
                found.append(secured.read())
            found.append(sum("epoch" in statement for statement in sent))

    @secured.app.get("/thread")
    @require_api_key
    def start() -> dict[str, Any]:
        for principal in (current_principal(), None):
            thread = threading.Thread(target=work, args=(principal,))
            thread.start()
            thread.join()
        return {}

    secured.get(secured.secret())
    secured.get(secured.secret(), "/thread")
    assert found == [{"seen": [1, 3]}, 1, {"seen": []}], "and the policy epoch is read once, not for each decision"


@pytest.mark.parametrize("first", ["raw", "orm"])
def test_a_user_who_is_loaded_by_the_same_session(secured: Store, first: str) -> None:
    @secured.keys.user_loader
    def load() -> Principal:
        user = secured.db.session.get(secured.User, 7)
        return Principal.user(user.id, roles=["buyer"])

    @secured.app.get("/mine")
    def mine() -> dict[str, Any]:
        if first == "orm":
            assert [order.id for order in secured.db.session.scalars(select(secured.Order))] == [1]
        return secured.read()

    assert secured.get(path="/mine").json == {"seen": [1]}


def test_a_session_outside_of_the_application_is_told_nothing(secured: Store) -> None:
    secured.get(secured.secret())
    with secured.app.app_context():
        engine = secured.db.engine
    with Session(engine) as session:
        assert session.connection().connection.cursor().execute("SELECT id FROM orders").fetchall() == []


def test_a_changed_role_is_closed_until_the_policies_know_its_filter(secured: Store) -> None:
    with secured.app.app_context():
        secured.keys.roles.save("late", grants=[Grant("orders", read=True, filter="id = 2")])
    late = secured.secret(roles=("late",))
    assert secured.get(late).json == {"seen": []}
    done = secured.run("--check")
    assert done.exit_code == 1
    problem = "the policy archie_keys_read of orders does not know the filter 'id = 2', which lets no row through"
    assert done.stdout == f"Problem: {problem}: flask keys row-security --apply, as the owner of the tables\n"
    findings = json.loads(secured.app.test_cli_runner().invoke(args=["keys", "doctor", "--json"]).stdout)["data"]
    assert [(f["verdict"], f["found"]) for f in findings if f["check"] == "row security"] == [("problem", problem)]
    secured.apply()
    assert secured.get(late).json == {"seen": [2]}
    with secured.app.app_context():
        secured.keys.roles.delete("late", take_from_keys=True)
    findings = json.loads(secured.app.test_cli_runner().invoke(args=["keys", "doctor", "--json"]).stdout)["data"]
    assert [f["verdict"] for f in findings if f["check"] == "row security"] == ["warning"]
    secured.apply()
    findings = json.loads(secured.app.test_cli_runner().invoke(args=["keys", "doctor", "--json"]).stdout)["data"]
    assert [f["verdict"] for f in findings if f["check"] == "row security"] == ["ok"]


# -- before the first request


def test_nothing_is_served_before_the_policies_are_there(store: Store) -> None:
    response = store.get(path="/open")
    assert response.status_code == 500 and b"row security" not in response.data
    store.app.testing = True
    with pytest.raises(ConfigurationError, match=r"not enabled on orders, row .*: flask keys row-security --apply"):
        store.get(path="/missing")
    store.apply()
    assert store.get(path="/open").json == {"seen": []}


@pytest.mark.parametrize("user", ["postgres", OWNER])
def test_nothing_is_served_as_a_role_that_is_not_bound(make_store: Any, user: str) -> None:
    store = make_store()
    store.apply()
    with store.app.app_context():
        store.db.engines[None].dispose()
        store.db.engines[None] = create_engine(as_role(store.url, user))
    store.app.testing = True
    with pytest.raises(ConfigurationError, match=f"connects as {user}"):
        store.get(path="/open")


def test_a_database_that_cannot_be_reached_is_a_503(secured: Store) -> None:
    with secured.app.app_context():
        secured.db.engines[None].dispose()
        secured.db.engines[None] = create_engine(as_role(secured.url, "nobody_of_that_name"))
    assert secured.get(path="/open").status_code == 503


def test_another_database_is_refused(make_store: Any, tmp_path: Path) -> None:
    store = make_store()
    with store.app.app_context():
        store.db.engines[None].dispose()
        store.db.engines[None] = create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
        store.db.create_all()
    store.app.testing = True
    with pytest.raises(ConfigurationError, match="ARCHIE_KEYS_ROW_SECURITY needs PostgreSQL; this is sqlite"):
        store.get(path="/open")
    done = store.run()
    assert done.exit_code == 1 and done.stderr == "Error: row security is PostgreSQL's, and the database is sqlite\n"


def test_it_is_asked_for_once(secured: Store) -> None:
    with secured.app.app_context():
        engine = secured.db.engine
    secured.get(path="/open")
    sent: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    secured.get(path="/open")
    assert not any("pg_policy" in statement for statement in sent)
    assert row_security.is_checked(engine)


class Decides:
    def decide(self, *asked: Any) -> Any:
        raise AssertionError


@pytest.mark.parametrize("remote", [{"ARCHIE_KEYS_PERMISSIONS_URL": "http://127.0.0.1:1"}, {}])
def test_another_permissions_service_is_refused(tmp_path: Path, remote: dict[str, Any]) -> None:
    app = Flask("remote", instance_path=str(tmp_path))
    app.config |= {"ARCHIE_KEYS_ROW_SECURITY": True, **remote}
    with pytest.raises(ConfigurationError, match="goes with the roles in the database"):
        ArchieKeys().init_app(app, permissions=None if remote else Decides())


# -- the command


def test_what_is_printed_is_for_psql(store: Store) -> None:
    done = store.run()
    assert done.exit_code == 0 and done.stderr == ""
    assert done.stdout.isascii() and "-- filter" in done.stdout
    url = create_engine(store.owners).url
    psql = store.server.install / "bin" / "psql"
    connect = ["-h", url.query["host"], "-U", OWNER, "-d", url.database, "-v", "ON_ERROR_STOP=1", "-q"]
    ran = subprocess.run([psql, *connect], input=done.stdout, text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    checked = store.run("--check")
    assert (checked.exit_code, checked.stdout) == (0, "Row security holds.\n")
    assert store.run().stdout == done.stdout


def test_the_check_names_each_problem(store: Store) -> None:
    done = store.run("--check")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 6 and all(line.startswith("Problem: ") for line in lines)
    assert lines[0].startswith("Problem: row security is not enabled on orders: ")


def test_apply_by_an_environment_variable(store: Store) -> None:
    done = store.run("--apply", "--url-env", "OWNERS_URL", OWNERS_URL=store.owners)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "Row security is on for orders.\n")
    assert store.run("--check").exit_code == 0


def test_apply_as_the_application_is_refused(store: Store) -> None:
    done = store.run("--apply")
    assert (done.exit_code, done.stderr) == (1, "Error: the database refuses: must be owner of table orders\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--apply", "--check"], "--apply and --check do not go together"),
        (["--url", "x"], "--url and --url-env go with --apply"),
        (["--check", "--url-env", "X"], "--url and --url-env go with --apply"),
        (["--apply", "--url", "x", "--url-env", "X"], "--url and --url-env do not go together"),
        (["--apply", "--url-env", "X"], "--url-env: the environment variable X is not set"),
    ],
)
def test_options_that_do_not_go_together(store: Store, arguments: list[str], message: str) -> None:
    done = store.run(*arguments)
    assert done.exit_code == 2 and message in done.stderr


def test_where_nothing_is_protected(tmp_path: Path) -> None:
    with isolated():
        app = Flask("empty", instance_path=str(tmp_path))
        keys = ArchieKeys(app)
        done = app.test_cli_runner().invoke(args=["keys", "row-security"])
        assert (done.exit_code, done.stderr) == (
            1,
            "Error: nothing is protected: keys.protect(<a model>) comes first\n",
        )
        keys.close(app)


def test_a_filter_that_does_not_fit_is_left_out_with_a_warning(make_store: Any) -> None:
    wrong = {"grants": [{"resource": "orders", "read": True, "filter": "colour = 1"}]}
    store = make_store(ARCHIE_KEYS_ROLES={**ROLES, "wrong": wrong})
    done = store.run()
    assert done.exit_code == 0 and "colour" not in done.stdout
    assert done.stderr.startswith("Warning: the filter 'colour = 1' on orders is left out: there is no column colour")


def test_filters_in_a_circle(make_store: Any) -> None:
    circle = {"grants": [{"resource": "orders", "read": True, "filter": "up.region = 'eu'"}]}
    done = make_store(ARCHIE_KEYS_ROLES={"circle": circle}).run()
    assert done.exit_code == 1 and "orders -> orders refer to each other in a circle" in done.stderr


def test_the_roles_of_every_environment_count(make_store: Any) -> None:
    environments = {"master": {}, "staging": {"ROLES": {"other": {"grants": [{**REGION, "filter": "region = 'st'"}]}}}}
    store = make_store(ARCHIE_KEYS_ENVIRONMENTS=environments)
    assert "region = 'st'" in store.run().stdout
    assert "region = $context.region" in store.run("--environment", "staging").stdout
    store.apply()
    assert store.run("--check").exit_code == 0


def test_an_environment_in_which_it_is_off(make_store: Any) -> None:
    environments = {"master": {"ROW_SECURITY": True}, "staging": {}}
    store = make_store(ARCHIE_KEYS_ROW_SECURITY=False, ARCHIE_KEYS_ENVIRONMENTS=environments)
    store.apply()
    done = store.run("--check")
    found = "ARCHIE_KEYS_ROW_SECURITY is off in staging, where no row will be there: set it to True"
    assert (done.exit_code, done.stdout) == (1, f"Problem: {found}\n")


def test_several_databases_are_told_apart_by_their_bind(make_store: Any, postgres_server: PostgresServer) -> None:
    url = new_database(postgres_server)
    store = make_store(SQLALCHEMY_BINDS={"more": as_role(url, APP)})

    class More(store.db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "more_orders"
        __bind_key__ = "more"
        id: Mapped[int] = mapped_column(primary_key=True)

    owner = create_engine(as_role(url, OWNER))
    store.db.metadatas["more"].create_all(owner)
    grant(owner)
    owner.dispose()
    store.keys.protect(More, resource="more_orders")
    done = store.run()
    assert done.exit_code == 1
    assert done.stderr == "Error: name the bind of a database with protected tables: default, more\n"
    texts = {name: store.run("--bind", name).stdout for name in ("default", "more")}
    assert [text.count("ENABLE ROW LEVEL SECURITY") for text in texts.values()] == [1, 1]
    assert "ON orders" in texts["default"] and "ON more_orders" in texts["more"]
    store.app.testing = True
    assert store.run("--apply", "--bind", "default", "--url", store.owners).exit_code == 0
    with pytest.raises(ConfigurationError, match="not enabled on more_orders"):
        store.get(path="/open")
    assert store.run("--apply", "--bind", "more", "--url", as_role(url, OWNER)).exit_code == 0
    assert store.get(path="/open").json == {"seen": []}


def test_another_application_of_the_process_has_tables_of_its_own(make_store: Any, tmp_path: Path) -> None:
    store = make_store()
    other = make_store(ARCHIE_KEYS_ROW_SECURITY=False)

    class Bill(other.db.Model):  # type: ignore[name-defined, misc]
        __tablename__ = "bills"
        id: Mapped[int] = mapped_column(primary_key=True)

    other.keys.protect(Bill, resource="bills")
    assert "bills" not in store.run().stdout
    assert "bills" in other.run().stdout
    store.apply()
    assert store.get(store.secret()).json == {"seen": [1, 3]}
    with store.app.app_context():
        assert row_security.is_checked(store.db.engine)
        row_security._passed.clear()
        store.db.session.connection()
        assert row_security.is_checked(store.db.engine)
    assert other.get(path="/open").json == {"seen": [1, 2, 3]}, "where it is off, PostgreSQL is told nothing"


def test_an_older_sqlalchemy_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sqlalchemy.__version__", "2.0.44")
    app = Flask("old", instance_path=str(tmp_path))
    app.config["ARCHIE_KEYS_ROW_SECURITY"] = True
    with pytest.raises(ConfigurationError, match=r"ARCHIE_KEYS_ROW_SECURITY needs SQLAlchemy 2\.1; this is 2\.0\.44"):
        ArchieKeys(app)


def test_flask_sqlalchemy_lite(postgres_server: PostgresServer, tmp_path: Path) -> None:
    class Base(DeclarativeBase):
        pass

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        region: Mapped[str]

    url = new_database(postgres_server)
    app = Flask("lite", instance_path=str(tmp_path))
    app.config |= {
        "SQLALCHEMY_ENGINES": {"default": as_role(url, APP)},
        "ARCHIE_KEYS_PEPPERS": [PEPPER],
        "ARCHIE_KEYS_AUDIT": {"background": False},
        "ARCHIE_KEYS_ROLES": {"keeper": {"grants": [REGION]}},
        "ARCHIE_KEYS_ROW_SECURITY": True,
    }
    db = Lite(app)
    with isolated():
        keys = ArchieKeys()
        keys.init_app(app, db, metadata=Base.metadata)
        keys.protect(Order, resource="orders")
        owner = create_engine(as_role(url, OWNER))
        Base.metadata.create_all(owner)
        grant(owner)
        with owner.begin() as connection:
            connection.exec_driver_sql("INSERT INTO orders VALUES (1, 'eu'), (2, 'us')", execution_options=PAST)
        owner.dispose()

        @app.get("/orders")
        @require_api_key
        def orders() -> list[int]:
            cursor = db.session.connection().connection.cursor()
            return [row[0] for row in cursor.execute("SELECT id FROM orders").fetchall()]

        runner = app.test_cli_runner()
        command = ["keys", "row-security"]
        assert runner.invoke(args=[*command, "--apply", "--url", as_role(url, OWNER)]).exit_code == 0
        assert runner.invoke(args=[*command, "--check", "--bind", "default"]).exit_code == 0
        with app.app_context():
            secret = keys.service.create(name="k", roles=["keeper"], context={"region": "eu"}).secret
        assert app.test_client().get("/orders", headers={"Authorization": f"Bearer {secret}"}).json == [1]
        keys.close(app)
        with app.app_context():
            db.engine.dispose()
