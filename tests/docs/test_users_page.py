"""What the page about logged-in users says is so, with its own applications."""

from __future__ import annotations

import pickle
from types import ModuleType

import pytest
from flask.testing import FlaskClient

from flask_archie_keys import AuditUnavailable, Grant, NobodyActs, ValidationFailed, current_principal
from flask_archie_keys.context import REASON_MAX

from .blocks import text_of
from .samples import Samples, get, id_of, made

pytestmark = pytest.mark.usefixtures("rows_can_be_guarded")
SECRET_KEY = "for-the-" + "tests-only"


@pytest.fixture
def shop(samples: Samples) -> ModuleType:
    """The page's application: two customers, a clerk of the region eu, four orders."""
    shop = samples.load("users", "users")
    shop.app.secret_key = SECRET_KEY
    with shop.app.app_context():
        shop.db.create_all()
        shop.db.session.add_all([shop.User(id=n, name=f"user {n}") for n in (41, 42)])
        shop.db.session.add(shop.User(id=1, name="clerk", region="eu"))
        shop.db.session.commit()
        with shop.keys.unrestricted("the orders to begin with"):
            places = [(1, "eu", 41), (2, "us", 42), (3, "eu", 42), (4, "us", None)]
            shop.db.session.add_all(shop.Order(id=n, region=region, owner_id=owner) for n, region, owner in places)
            shop.db.session.commit()
    return shop


def logged_in(shop: ModuleType, user_id: int) -> FlaskClient:
    client = shop.app.test_client()
    with client.session_transaction() as session:
        session["user_id"] = user_id
    return client


def test_users_see_their_rows(shop: ModuleType) -> None:
    assert logged_in(shop, 41).get("/orders").json == [1]
    assert logged_in(shop, 42).get("/orders").json == [2, 3]
    assert logged_in(shop, 1).get("/orders").json == [1, 3]


def test_a_key_of_the_user_sees_the_same(shop: ModuleType) -> None:
    secret = made(shop.app, "Of 42", "--role", "customer", "--owner", "42")
    assert get(shop.app, "/api/orders", secret).json == {"by": f"key:{id_of(secret)}", "key": True, "orders": [2, 3]}
    both = logged_in(shop, 41).get("/api/orders", headers={"Authorization": f"Bearer {secret}"})
    assert both.json["by"] == f"key:{id_of(secret)}"


def test_a_view_for_both(shop: ModuleType) -> None:
    assert logged_in(shop, 41).get("/api/orders").json == {"by": "user:41", "key": False, "orders": [1]}
    assert get(shop.app, "/api/orders").status_code == 401
    assert logged_in(shop, 41).post("/api/exports").status_code == 401


def test_nobody_and_a_user_without_a_grant(shop: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    assert get(shop.app, "/orders").status_code == 500
    assert isinstance(caplog.records[-1].exc_info[1], NobodyActs)  # type: ignore[index]
    shop.keys.user_loader(lambda: shop.Principal.user(41, roles=["nobody_knows"]))
    assert get(shop.app, "/orders").status_code == 403
    with pytest.raises(ValidationFailed):
        shop.Principal.user(41, context={"no": object()})


def test_the_loader_runs_once_and_nobody_acts_meanwhile(shop: ModuleType) -> None:
    calls: list[object] = []
    load = shop.who

    def counting() -> object:
        calls.append(current_principal())
        return load()

    shop.keys.user_loader(counting)
    assert logged_in(shop, 42).get("/api/orders").json["orders"] == [2, 3]
    assert calls == [None]
    secret = made(shop.app, "Key", "--role", "customer", "--owner", "42")
    assert get(shop.app, "/api/orders", secret).status_code == 200
    assert calls == [None]

    def peeking() -> object:
        with pytest.raises(NobodyActs):
            shop.db.session.get(shop.Order, 1)
        calls.append("refused")

    shop.keys.user_loader(peeking)
    assert get(shop.app, "/api/orders").status_code == 401
    assert "refused" in calls


def test_a_users_changes(shop: ModuleType) -> None:
    """The grants of users decide, and the audit log names them."""
    with shop.app.app_context():
        shop.keys.roles.save("key_keeper", grants=[Grant("api_keys", write=True)])
    principal = shop.Principal.user(7, roles=["key_keeper"])
    shop.keys.user_loader(lambda: principal)
    with shop.app.test_request_context():
        made_key = shop.keys.service.create(name="New").key
    assert made_key.created_by == "user:7"
    with shop.app.app_context():
        assert shop.keys.audit.find(key=made_key.id)[0].actor == "user:7"
        assert not [event for event in shop.keys.audit.find() if event.kind == "request"]


def test_threads(shop: ModuleType) -> None:
    secret = made(shop.app, "Of 42", "--role", "customer", "--owner", "42")
    assert get(shop.app, "/api/exports", secret, "POST").json == {"orders": [2, 3]}
    headers = {"Authorization": f"Bearer {secret}"}
    with shop.app.test_request_context(headers=headers, environ_base={"REMOTE_ADDR": "127.0.0.1"}):
        assert shop.keys.guard()() is None
        principal = current_principal()
    assert pickle.loads(pickle.dumps(principal)) == principal
    with shop.app.app_context():
        shop.keys.service.delete(id_of(secret))
        with shop.keys.act_as(principal):
            count = shop.pool.submit(_count, shop)
            with pytest.raises(NobodyActs):
                count.result(timeout=30)
            assert get(shop.app, "/api/orders").status_code == 401
    assert shop.pool.submit(shop.export, principal).result(timeout=30) == [2, 3]
    assert shop.export(shop.Principal.user(41, roles=["customer"])) == [1]
    shop.pool.shutdown()


def _count(shop: ModuleType) -> int:
    with shop.app.app_context():
        return int(shop.db.session.scalar(shop.select(shop.func.count()).select_from(shop.Order)))


def test_without_filters(shop: ModuleType) -> None:
    result = shop.app.test_cli_runner().invoke(args=["count-orders"])
    assert (result.exit_code, result.output) == (0, "4\n")
    with shop.app.app_context():
        (event, *_) = shop.keys.audit.find(kind="unrestricted")
        assert (event.actor, event.details["reason"]) == ("system", "nightly report")
        with shop.keys.unrestricted("a look"):
            order = shop.db.session.get(shop.Order, 1)
        assert order not in shop.db.session
        for reason in ("", " ", "x" * (REASON_MAX + 1)):
            with pytest.raises(ValueError, match="needs a reason"), shop.keys.unrestricted(reason):
                pytest.fail("entered")
    assert f"1 to {REASON_MAX} characters" in text_of("users")


def test_without_filters_and_without_a_log(shop: ModuleType) -> None:
    with shop.app.app_context():
        folder = shop.keys.for_environment("master").audit.spool.directory
        shop.keys.close(shop.app)
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()
        folder.write_text("no folder")
        with pytest.raises(AuditUnavailable), shop.keys.unrestricted("a look"):
            pytest.fail("entered")


def test_with_flask_login(samples: Samples) -> None:
    pytest.importorskip("flask_login")
    shop = samples.load("users", "users_login")
    shop.app.secret_key = SECRET_KEY
    with shop.app.app_context():
        shop.db.create_all()
        shop.db.session.add_all([shop.User(id=41, roles="customer"), shop.User(id=42, roles="")])
        shop.db.session.commit()
        with shop.keys.unrestricted("the orders to begin with"):
            shop.db.session.add_all([shop.Order(id=1, owner_id=41), shop.Order(id=2, owner_id=42)])
            shop.db.session.commit()
    client = shop.app.test_client()
    for user, status, found in ((41, 200, [1]), (42, 403, None)):
        with client.session_transaction() as session:
            session["_user_id"], session["_fresh"] = str(user), True
        response = client.get("/orders")
        assert response.status_code == status
        assert found is None or response.json == found
    assert shop.app.test_client().get("/orders").status_code == 401
