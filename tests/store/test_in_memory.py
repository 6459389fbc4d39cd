"""SQLite in memory, as in a host's own tests: one connection for all, so our transactions are parts of the host's."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.pool import StaticPool

from flask_archie_keys import KeyNotFound, ValidationFailed

from ..conftest import Host, MakeHost


@pytest.fixture
def host(make_host: MakeHost) -> Iterator[Host]:
    host = make_host("sqlite://")
    with host.app.app_context():
        assert isinstance(host.db.engine.pool, StaticPool)
        yield host


def count(host: Host) -> int:
    return int(host.db.session.execute(text("SELECT count(*) FROM orders")).scalar_one())


JOBS: dict[str, Callable[[Host, str], Any]] = {
    "a guarded request": lambda host, secret: host.get("/viewer", secret).status_code == 200,
    "a refused request": lambda host, secret: host.get("/viewer", "archie_x").status_code == 401,
    "get": lambda host, secret: host.keys.service.get(secret.split("_")[1]),
    "get of none": lambda host, secret: _refused(lambda: host.keys.service.get("x" * 12), KeyNotFound),
    "find": lambda host, secret: host.keys.service.find().items,
    "audit": lambda host, secret: host.keys.audit.find().items,
    "traffic": lambda host, secret: host.keys.traffic(secret.split("_")[1]),
    "create": lambda host, secret: host.keys.service.create(name="x"),
    "a refused create": lambda host, secret: _refused(lambda: host.keys.service.create(name=""), ValidationFailed),
    "rotate": lambda host, secret: host.keys.service.rotate(host.keys.service.create(name="x").key.id),
    "delete": lambda host, secret: host.keys.service.delete(host.keys.service.create(name="x").key.id),
    "missing tables": lambda host, secret: host.keys.for_environment("master").database.missing_tables() == [],
}


def _refused(job: Callable[[], Any], error: type[Exception]) -> bool:
    with pytest.raises(error):
        job()
    return True


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("job", JOBS)
def test_the_hosts_rows_are_the_hosts_to_commit_and_to_roll_back(host: Host, job: str, end: str) -> None:
    """In the middle of its transaction, with rows that are flushed and not committed."""
    secret = host.create().secret
    for number in (1, 2):
        host.db.session.add(host.order(id=number))
        host.db.session.flush()
        assert JOBS[job](host, secret)
        assert count(host) == number, "still there, in its own transaction"
    getattr(host.db.session, end)()
    assert count(host) == (2 if end == "commit" else 0)


def test_a_key_that_is_made_meanwhile_has_the_fate_of_the_hosts_transaction(host: Host) -> None:
    """There is one connection, so there is one transaction; docs/security.rst says so."""
    host.db.session.add(host.order(id=1))
    host.db.session.flush()
    gone = host.keys.service.create(name="x", roles=["viewer"])
    assert host.get("/viewer", gone.secret).status_code == 200
    host.db.session.rollback()
    assert host.get("/viewer", gone.secret).status_code == 401
    assert count(host) == 0
    host.db.session.add(host.order(id=1))
    host.db.session.flush()
    kept = host.keys.service.create(name="x", roles=["viewer"])
    host.db.session.commit()
    host.db.session.rollback()
    assert host.get("/viewer", kept.secret).status_code == 200
    assert count(host) == 1


def test_a_key_that_is_made_while_the_host_writes_nothing_stays(host: Host) -> None:
    created = host.keys.service.create(name="x", roles=["viewer"])
    host.db.session.rollback()
    assert host.get("/viewer", created.secret).status_code == 200


def test_a_change_that_fails_undoes_itself_alone(host: Host) -> None:
    host.db.session.add(host.order(id=1))
    host.db.session.flush()
    host.db.session.execute(text("ALTER TABLE archie_audit_events RENAME TO away"))
    with pytest.raises(Exception, match="the key store cannot be used"):
        host.keys.service.create(name="x")
    host.db.session.execute(text("ALTER TABLE away RENAME TO archie_audit_events"))
    assert host.keys.service.find().items == ()
    host.db.session.commit()
    assert count(host) == 1


def test_threads_take_turns(host: Host) -> None:
    errors: list[Exception] = []

    def run() -> None:
        try:
            with host.app.app_context():
                for _ in range(10):
                    host.keys.service.create(name="x")
                    host.keys.audit.find()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(host.keys.service.find(limit=200)) == 40


# -- the spool


def spool_of(host: Host) -> Path:
    with host.app.app_context():
        return host.keys.audit.spool.directory


def test_two_applications_that_share_an_instance_folder_share_no_events(make_host: MakeHost) -> None:
    one, two = make_host("sqlite://"), make_host("sqlite://")
    assert one.app.instance_path == two.app.instance_path
    secret = one.create().secret
    assert one.get("/me", secret).status_code == 200
    assert two.get("/me", secret).status_code == 401
    assert [event.status for event in two.events()] == [401]
    assert [event.status for event in one.events()] == [200]
    assert spool_of(one) != spool_of(two)


def test_the_temporary_spool_is_gone_with_its_application(tmp_path: Path) -> None:
    from flask import Flask
    from flask_sqlalchemy import SQLAlchemy

    from flask_archie_keys import ArchieKeys, require_api_key

    def use() -> tuple[Path, weakref.ref[Flask]]:
        app = Flask("gone", instance_path=str(tmp_path / "instance"))
        app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
        db, keys = SQLAlchemy(app), ArchieKeys()
        keys.init_app(app, db)
        app.add_url_rule("/x", "x", require_api_key(lambda: "x"))
        with app.app_context():
            db.create_all()
            secret = keys.service.create(name="x").secret
            folder = keys.audit.spool.directory
        assert app.test_client().get("/x", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
        assert list(folder.glob("*.jsonl"))
        with app.app_context():
            db.engine.dispose()
        return folder, weakref.ref(app)

    folder, app = use()
    for _ in range(3):
        gc.collect()
    assert app() is None
    assert not folder.exists()
    assert not (tmp_path / "instance").exists(), "it leaves nothing in the instance folder"
