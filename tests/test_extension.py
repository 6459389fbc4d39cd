from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import Migrate, migrate, upgrade
from flask_migrate import init as init_migrations
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy_lite import SQLAlchemy as Lite
from sqlalchemy import MetaData, inspect
from sqlalchemy.orm import DeclarativeBase

from flask_archie_keys import ArchieKeys, BadRequest, ConfigurationError, require_api_key
from flask_archie_keys.domain.clock import utcnow

from .conftest import MakeHost, add_views


def get(app: Flask, path: str, secret: str | None = None) -> int:
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return app.test_client().get(path, headers=headers).status_code


def make_app(tmp_path: Path, name: str = "app", **config: Any) -> Flask:
    app = Flask(name, instance_path=str(tmp_path / name))
    app.config.update(ARCHIE_KEYS_AUDIT={"background": False}, **config)
    return app


def test_a_host_without_a_database_gets_an_sqlite_of_our_own(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    keys = ArchieKeys(app)
    add_views(app)
    assert not (tmp_path / "app").exists(), "nothing is made before it is needed"
    with app.app_context():
        secret = keys.service.create(name="x", roles=["viewer"]).secret
    assert get(app, "/viewer", secret) == 200
    assert (tmp_path / "app" / "archie_keys.sqlite").exists()
    keys.close(app)
    assert get(app, "/viewer", secret) == 200, "it opens again when needed"
    keys.close(app)


def test_one_object_serves_many_applications_that_never_mix(tmp_path: Path) -> None:
    keys = ArchieKeys()
    one, two = make_app(tmp_path, "one", ARCHIE_KEYS_PREFIX="one"), make_app(tmp_path, "two", ARCHIE_KEYS_PREFIX="two")
    for app in (one, two):
        keys.init_app(app)
        add_views(app)
    with one.app_context():
        secret = keys.service.create(name="x", roles=["viewer"]).secret
    assert secret.startswith("one_")
    assert (get(one, "/viewer", secret), get(two, "/viewer", secret)) == (200, 401)
    with two.app_context():
        assert list(keys.service.find()) == []
        assert [event.reason for event in keys.audit.find()] == ["unknown"]
    for app in (one, two):
        keys.close(app)


def test_applications_that_share_an_instance_folder_do_not_drain_each_other(
    make_host: MakeHost, tmp_path: Path
) -> None:
    one = make_host(f"sqlite:///{tmp_path / 'one.sqlite'}")
    two = make_host(f"sqlite:///{tmp_path / 'two.sqlite'}")
    one.get("/me")
    assert two.events() == []
    assert len(one.events()) == 1


def test_a_second_registration_is_refused(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    ArchieKeys(app)
    for keys in (ArchieKeys(), ArchieKeys()):
        with pytest.raises(ConfigurationError, match="'app' has an ArchieKeys already; call init_app once for each"):
            keys.init_app(app)


def test_an_application_without_it_is_told(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    with app.app_context(), pytest.raises(ConfigurationError, match="has no ArchieKeys"):
        _ = ArchieKeys().service


def test_wrong_settings_are_refused_in_init_app(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="ARCHIE_KEYS_PREFX"):
        ArchieKeys(make_app(tmp_path, ARCHIE_KEYS_PREFX="a"))
    with pytest.raises(ConfigurationError, match="ARCHIE_KEYS_IMPORT_SCHEMES"):
        ArchieKeys(make_app(tmp_path, ARCHIE_KEYS_IMPORT_SCHEMES=["no_such"]))


def test_a_database_that_is_initialized_later_is_not_missed(tmp_path: Path) -> None:
    """Else its keys would silently go into a file of our own."""
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite://")
    keys = ArchieKeys(app)
    SQLAlchemy().init_app(app)
    with app.app_context(), pytest.raises(ConfigurationError, match="was initialized after ArchieKeys"):
        keys.service.find()


def test_a_database_passed_before_it_is_initialized(tmp_path: Path) -> None:
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'x.sqlite'}")
    db, keys = SQLAlchemy(), ArchieKeys()
    keys.init_app(app, db)
    db.init_app(app)
    with app.app_context():
        db.create_all()
        assert keys.service.create(name="x").key.name == "x"
        db.engine.dispose()
    keys.close(app)


def test_flask_sqlalchemy_lite(tmp_path: Path) -> None:
    class Model(DeclarativeBase):
        pass

    app = make_app(tmp_path, SQLALCHEMY_ENGINES={"default": f"sqlite:///{tmp_path / 'lite.sqlite'}"})
    db, keys = Lite(), ArchieKeys()
    db.init_app(app)
    keys.init_app(app, metadata=Model.metadata)
    add_views(app)
    with app.app_context():
        Model.metadata.create_all(db.engine)
        secret = keys.service.create(name="x", roles=["viewer"]).secret
        db.session.connection()
        keys.service.create(name="the host's session reads and does not write")
        assert "archie_api_keys" in inspect(db.engine).get_table_names()
    assert get(app, "/viewer", secret) == 200
    with app.app_context():
        db.engine.dispose()
    keys.close(app)


def test_environments_may_have_databases_of_their_own(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host(
        SQLALCHEMY_BINDS={"other": f"sqlite:///{tmp_path / 'other.sqlite'}"},
        ARCHIE_KEYS_ENVIRONMENTS={"master": {}, "staging": {"BIND_KEY": "other"}},
        ARCHIE_KEYS_ENVIRONMENT_HEADER="environment",
    )
    with host.app.app_context():
        staging = host.keys.for_environment("staging").service.create(name="x", roles=["viewer"])
        master = host.keys.service.create(name="x", roles=["viewer"])
        assert len(host.keys.service.find()) == len(host.keys.for_environment("staging").service.find()) == 1
        assert "archie_api_keys" in inspect(host.db.engines["other"]).get_table_names()
        with pytest.raises(BadRequest, match="no such environment"):
            host.keys.for_environment("nowhere")
    assert host.get("/viewer", staging.secret, headers={"environment": "staging"}).status_code == 200
    assert host.get("/viewer", staging.secret).status_code == 401
    assert host.get("/viewer", master.secret).status_code == 200
    assert host.get("/viewer", master.secret, headers={"environment": "staging"}).status_code == 401
    with host.app.test_request_context(headers={"environment": "staging"}):
        assert [key.id for key in host.keys.service.find()] == [staging.key.id]


def test_a_bind_that_there_is_not(tmp_path: Path) -> None:
    app = make_app(tmp_path, SQLALCHEMY_ENGINES={"default": "sqlite://"}, ARCHIE_KEYS_BIND_KEY="other")
    db, keys = Lite(app), ArchieKeys()
    keys.init_app(app, db)
    with app.app_context(), pytest.raises(ConfigurationError, match="no engine 'other', only 'default'"):
        keys.service.find()


def test_the_default_schema_of_the_hosts_metadata(tmp_path: Path, postgres_server: Any) -> None:
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI=postgres_server.new_database())
    db, keys = SQLAlchemy(metadata=MetaData(schema="shop")), ArchieKeys()
    db.init_app(app)
    keys.init_app(app)
    add_views(app)
    with app.app_context():
        with db.engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA shop")
        db.create_all()
        assert "archie_api_keys" in inspect(db.engine).get_table_names(schema="shop")
        secret = keys.service.create(name="x", roles=["viewer"]).secret
        assert keys.for_environment("master").database.missing_tables() == []
    assert get(app, "/viewer", secret) == 200
    with app.app_context():
        assert [event.kind for event in keys.audit.find()] == ["request", "key.created"]
        db.engine.dispose()
    keys.close(app)


@pytest.fixture
def loggers_stay() -> Iterator[None]:
    """Alembic's configuration of logging turns off all loggers that there are, for the other tests as well."""
    loggers = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
    before = [(each, each.disabled, each.level) for each in (logging.root, *loggers)]
    handlers = list(logging.root.handlers)
    yield
    logging.root.handlers[:] = handlers
    for each, disabled, level in before:
        each.disabled = disabled
        each.setLevel(level)


@pytest.mark.usefixtures("loggers_stay")
@pytest.mark.filterwarnings("ignore:'get_engine' is deprecated:DeprecationWarning")  # Flask-Migrate's template
def test_migrations_find_our_tables_and_then_nothing_more(tmp_path: Path, url: str) -> None:
    """Autogenerate writes a script that runs without this package, and a second one is empty."""
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI=url)
    db = SQLAlchemy()
    db.init_app(app)
    keys = ArchieKeys()
    keys.init_app(app)
    folder = str(tmp_path / "migrations")
    Migrate(app, db, directory=folder)
    with app.app_context():
        init_migrations(folder)
        migrate(folder, message="keys")
        (script,) = (tmp_path / "migrations" / "versions").glob("*.py")
        assert "archie_audit_events" in script.read_text() and "flask_archie_keys" not in script.read_text()
        upgrade(folder)
        assert keys.service.create(name="x").key.version == 1
        migrate(folder, message="again")
        assert len(list((tmp_path / "migrations" / "versions").glob("*.py"))) == 1
        db.engine.dispose()
    keys.close(app)


def test_the_hosts_naming_convention_does_not_rename_ours(tmp_path: Path) -> None:
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI=f"sqlite:///{tmp_path / 'x.sqlite'}")
    db = SQLAlchemy(metadata=MetaData(naming_convention={"ix": "HOST_%(column_0_label)s", "pk": "HOST_%(table_name)s"}))
    db.init_app(app)
    ArchieKeys().init_app(app)
    table = db.metadata.tables["archie_api_keys"]
    assert table.primary_key.name == "pk_archie_api_keys"
    assert {index.name for index in table.indexes} == {"ix_archie_api_keys_created"}


def test_sqlite_in_memory_works_in_a_hosts_tests(tmp_path: Path) -> None:
    app = make_app(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite://")
    app.config["ARCHIE_KEYS_AUDIT"] = {}
    db, keys = SQLAlchemy(), ArchieKeys()
    db.init_app(app)
    keys.init_app(app)
    add_views(app)
    with app.app_context():
        db.create_all()
        secret = keys.service.create(name="x", roles=["viewer"]).secret
        assert get(app, "/viewer", secret) == 200
        assert [event.kind for event in keys.audit.find()] == ["request", "key.created"]
        db.engine.dispose()
    keys.close(app)


def test_faces_that_are_off_are_not_imported(tmp_path: Path) -> None:
    script = (
        "import sys; from flask import Flask; from flask_archie_keys import ArchieKeys;"
        "app = Flask('x'); app.config['ARCHIE_KEYS_FACES'] = []; ArchieKeys(app);"
        "assert 'keys' not in app.cli.commands;"
        "print([m for m in sys.modules if 'archie_keys.faces.cli' in m or m in ('tabulate', 'psycopg')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "[]"


def test_staleness_is_bounded_and_this_process_knows_its_own_changes_at_once(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_MAX_STALENESS=timedelta(seconds=60))
    created = host.create()
    assert host.get("/viewer", created.secret).status_code == 200
    host.sql("UPDATE archie_api_keys SET roles = '[]'")
    assert host.get("/viewer", created.secret).status_code == 200, "that is what the setting is for"
    with host.app.app_context():
        host.keys.service.disable(created.key.id)
    assert host.get("/viewer", created.secret).status_code == 401


def test_expiry_is_checked_at_each_request_whatever_the_staleness(make_host: MakeHost) -> None:
    host = make_host(ARCHIE_KEYS_MAX_STALENESS=timedelta(seconds=60))
    ends = utcnow() + timedelta(seconds=3)
    created = host.create(expires_at=ends)
    assert host.get("/viewer", created.secret).status_code == 200
    time.sleep(max((ends - utcnow()).total_seconds(), 0) + 0.01)
    assert host.get("/viewer", created.secret).status_code == 401


def test_a_hosts_view_of_the_same_name_is_not_ours_to_break(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    keys = ArchieKeys(app)

    @app.get("/x")
    def guarded() -> str:
        return "x"

    app.add_url_rule("/y", "y", require_api_key(lambda: "y"))
    assert (get(app, "/x"), get(app, "/y")) == (200, 401)
    keys.close(app)
