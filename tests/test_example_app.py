"""The example application: its API with real keys, its pages, its commands and its own process."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text, update
from werkzeug.exceptions import Conflict
from werkzeug.test import TestResponse

from example_app import create_app
from example_app.administrators import ensure_administrator
from example_app.config import SECRETS_FILE
from example_app.database import close, create_tables
from example_app.extensions import db, keys
from example_app.models import Order, Project, utcnow
from example_app.orders import change_order, find_order
from example_app.seed import seed
from example_app.server import PortBusy, listen, served_in_background

ROOT = Path(__file__).parent.parent
ENVIRONMENT_VARIABLES = ("DATABASE_URL", "SECRET_KEY", "ARCHIE_KEYS_PEPPERS", "FLASK_APP")


class Seeded(NamedTuple):
    """An instance folder with the sample data, and its administrator's password."""

    folder: Path
    password: str


class Api:
    """Calls the API with one key.

    :param client: the test client to call with.
    :param secret: the key.
    :param environment: the environment to ask for, if any.
    """

    def __init__(self, client: FlaskClient, secret: str, environment: str | None = None) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {secret}"}
        if environment is not None:
            self._headers["environment"] = environment

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        return self._client.open(path, method=method, headers=self._headers, **options)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of whoever runs the tests do not reach the application."""
    for name in (*ENVIRONMENT_VARIABLES, "EXAMPLE_APP_INSTANCE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    folder = tmp_path_factory.mktemp("example") / "instance"
    app = create_app({"SQLALCHEMY_DATABASE_URI": None}, instance_path=folder)
    with app.app_context():
        create_tables()
        seed()
        password = ensure_administrator()
    close(app)
    assert password is not None
    return Seeded(folder, password)


@pytest.fixture
def app(seeded: Seeded, tmp_path: Path) -> Iterator[Flask]:
    shutil.copytree(seeded.folder, tmp_path / "instance")
    app = create_app({"TESTING": True}, instance_path=tmp_path / "instance")
    yield app
    close(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def secret_with(app: Flask, *roles: str, environment: str = "master") -> str:
    """Make a key with these roles."""
    with app.app_context():
        service = keys.for_environment(environment).service
        return service.create(name="test", roles=roles).secret


@pytest.fixture
def viewer(app: Flask, client: FlaskClient) -> Api:
    return Api(client, secret_with(app, "viewer"))


@pytest.fixture
def editor(app: Flask, client: FlaskClient) -> Api:
    return Api(client, secret_with(app, "editor"))


# The API: who may do what


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/projects"),
        ("GET", "/api/projects/1"),
        ("GET", "/api/orders"),
        ("GET", "/api/orders/ORD-10001"),
        ("GET", "/api/orders.csv"),
        ("POST", "/api/orders"),
        ("PATCH", "/api/orders/ORD-10001"),
    ],
)
def test_nothing_is_answered_without_a_key(client: FlaskClient, method: str, path: str) -> None:
    response = client.open(path, method=method)
    assert response.status_code == 401
    assert response.mimetype == "application/problem+json"
    assert response.headers["WWW-Authenticate"].startswith("Bearer realm=")


def test_a_viewer_reads_and_may_not_write(viewer: Api) -> None:
    for path in ("/api/projects", "/api/orders", "/api/orders/ORD-10001", "/api/orders.csv"):
        assert viewer("GET", path).status_code == 200
    order = {"project": 1, "amount": "1.00"}
    assert viewer("POST", "/api/orders", json=order).status_code == 403
    assert viewer("PATCH", "/api/orders/ORD-10240", json={"note": "x"}).status_code == 403


def test_a_key_reads_the_rows_of_its_own_environment(app: Flask, client: FlaskClient) -> None:
    secret = secret_with(app, "viewer", environment="staging")
    assert secret.startswith("archie_test_")
    staging = Api(client, secret, "staging")
    assert staging("GET", "/api/projects").json["pagination"]["total"] == 8
    assert staging("GET", "/api/projects/1").status_code == 404
    assert staging("GET", "/api/orders/ORD-10240").status_code == 404
    listed = staging("GET", "/api/orders?per_page=100").json["orders"]
    exported = list(csv.DictReader(io.StringIO(staging("GET", "/api/orders.csv").text)))
    assert {order["number"] for order in listed} == {row["number"] for row in exported}
    assert max(order["number"] for order in listed) == "ORD-10060"
    assert Api(client, secret)("GET", "/api/projects").status_code == 401
    assert Api(client, secret, "nowhere")("GET", "/api/projects").status_code == 400


def test_a_key_without_roles_may_do_nothing(app: Flask, client: FlaskClient) -> None:
    nobody = Api(client, secret_with(app))
    for path in ("/api/projects", "/api/orders", "/api/orders/ORD-10001", "/api/orders.csv"):
        assert nobody("GET", path).status_code == 403


def test_an_order_shows_which_key_placed_it(app: Flask, editor: Api) -> None:
    with app.app_context():
        (key,) = keys.service.find()
    placed = editor("POST", "/api/orders", json={"project": 1, "amount": "1.00"})
    assert placed.json["order"]["placed_by"] == f"key {key.id}"


def test_what_a_key_did_is_in_the_audit(app: Flask, editor: Api) -> None:
    editor("GET", "/api/orders/ORD-10240?x=1")
    editor("PATCH", "/api/orders/ORD-10240", json={"status": "delivered"})
    with app.app_context():
        (key,) = keys.service.find()
        events = [event for event in keys.audit.find(key=key.id) if event.method]
    seen = {(event.method, event.path, event.route, event.status) for event in events}
    path, route = "/api/orders/ORD-10240", "/api/orders/<number>"
    assert seen == {("GET", path, route, 200), ("PATCH", path, route, 409)}


# The API: projects


def test_projects_are_listed_and_read(viewer: Api) -> None:
    listed = viewer("GET", "/api/projects?per_page=100").json
    assert len(listed["projects"]) == listed["pagination"]["total"] == 30
    first = listed["projects"][0]
    assert viewer("GET", f"/api/projects/{first['id']}").json == {"project": first}
    assert set(first) == {"id", "name", "customer", "started_at", "archived_at"}


@pytest.mark.parametrize("project_id", ["0", "31", "-1", "abc", "1.0", "9" * 20, "9" * 5000, "\u0661", "1%00", "%ff"])
def test_a_project_that_is_not_there_is_404(viewer: Api, project_id: str) -> None:
    response = viewer("GET", f"/api/projects/{project_id}")
    assert response.status_code == 404
    assert response.json["error"]["code"] == "not_found"


# The API: reading orders


def test_pages_of_orders_hold_each_order_once_newest_first(viewer: Api) -> None:
    found: list[dict[str, Any]] = []
    page, pages = 1, 1
    while page <= pages:
        answer = viewer("GET", f"/api/orders?per_page=37&page={page}").json
        found += answer["orders"]
        pages = answer["pagination"]["pages"]
        page += 1
    assert len(found) == answer["pagination"]["total"]
    assert len({order["number"] for order in found}) == len(found)
    times = [order["placed_at"] for order in found]
    assert times == sorted(times, reverse=True)


def test_orders_are_filtered(app: Flask, viewer: Api) -> None:
    def numbers(query: str) -> set[str]:
        answer = viewer("GET", f"/api/orders?per_page=100&{query}").json
        return {order["number"] for order in answer["orders"]}

    def expected(*conditions: Any) -> set[str]:
        query = select(Order.number).where(Order.environment == "master", *conditions)
        with app.app_context():
            return set(db.session.scalars(query))

    current = Order.archived_at.is_(None)
    assert numbers("status=open") == expected(current, Order.status == "open") != set()
    two = expected(current, Order.status.in_(["open", "held"]))
    assert numbers("status=open&status=held") == two
    assert numbers("project=3") == expected(current, Order.project_id == 3) != set()
    assert numbers("archived=true") == expected(Order.archived_at.is_not(None)) != set()


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=lost", "status"),
        ("page=0", "page"),
        ("page=-1", "page"),
        ("page=1e3", "page"),
        ("page=\u0661", "page"),
        ("page=" + "9" * 5000, "page"),
        ("page=1&page=2", "page"),
        ("per_page=101", "per_page"),
        ("project=x", "project"),
        ("archived=maybe", "archived"),
        ("stauts=open", "stauts"),
        ("status=%00", "status"),
    ],
)
def test_a_bad_query_is_refused_by_field(viewer: Api, query: str, field: str) -> None:
    response = viewer("GET", f"/api/orders?{query}")
    assert response.status_code == 400
    assert [problem["field"] for problem in response.json["error"]["fields"]] == [field]


def test_a_page_after_the_last_is_empty(viewer: Api) -> None:
    assert viewer("GET", "/api/orders?page=9999").json["orders"] == []


@pytest.mark.parametrize("number", ["ORD-1", "ord-10001", "ORD-10001x", "ORD-" + "1" * 300, "ORD-%00", "%ff%fe"])
def test_an_order_that_is_not_there_is_404(viewer: Api, number: str) -> None:
    response = viewer("GET", f"/api/orders/{number}")
    assert response.status_code == 404
    assert response.json == {"error": {"code": "not_found", "message": "There is no such order."}}


# The API: writing orders


def test_an_order_is_placed_and_read_back(viewer: Api, editor: Api) -> None:
    order = {"project": 2, "amount": "1234.5", "note": "Two pallets, «careful» 📦"}
    placed = editor("POST", "/api/orders", json=order)
    assert placed.status_code == 201
    assert placed.headers["Location"] == "/api/orders/ORD-10241"
    shown = placed.json["order"]
    assert (shown["status"], shown["amount"], shown["note"]) == ("open", "1234.50", order["note"])
    assert shown["customer"]["region"] == shown["region"]
    assert viewer("GET", placed.headers["Location"]).json == placed.json


@pytest.mark.parametrize(
    ("amount", "stored"),
    [("0.01", "0.01"), (12, "12.00"), ("9999999.99", "9999999.99"), ("007.5", "7.50")],
)
def test_amounts_are_exact(editor: Api, amount: str | int, stored: str) -> None:
    placed = editor("POST", "/api/orders", json={"project": 1, "amount": amount})
    assert placed.json["order"]["amount"] == stored


def test_a_json_number_keeps_its_cents(editor: Api) -> None:
    body = '{"project": 1, "amount": 8589934.57}'
    placed = editor("POST", "/api/orders", data=body, content_type="application/json")
    assert placed.json["order"]["amount"] == "8589934.57"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"project": 1}, "amount"),
        ({"amount": "1.00"}, "project"),
        ({"project": 9999, "amount": "1.00"}, "project"),
        ({"project": 31, "amount": "1.00"}, "project"),  # one of staging
        ({"project": "1", "amount": "1.00"}, "project"),
        ({"project": True, "amount": "1.00"}, "project"),
        ({"project": 10**30, "amount": "1.00"}, "project"),
        ({"project": 1, "amount": "0"}, "amount"),
        ({"project": 1, "amount": "-5"}, "amount"),
        ({"project": 1, "amount": "1.005"}, "amount"),
        ({"project": 1, "amount": "1,50"}, "amount"),
        ({"project": 1, "amount": " 1"}, "amount"),
        ({"project": 1, "amount": "\u0661"}, "amount"),
        ({"project": 1, "amount": "10000000"}, "amount"),
        ({"project": 1, "amount": 0.001}, "amount"),
        ({"project": 1, "amount": True}, "amount"),
        ({"project": 1, "amount": None}, "amount"),
        ({"project": 1, "amount": ["1"]}, "amount"),
        ({"project": 1, "amount": "1", "note": "x" * 501}, "note"),
        ({"project": 1, "amount": "1", "note": "nul \x00"}, "note"),
        ({"project": 1, "amount": "1", "note": "half \ud83d"}, "note"),
        ({"project": 1, "amount": "1", "note": 5}, "note"),
        ({"project": 1, "amount": "1", "status": "shipped"}, "status"),
        ({"project": 1, "amount": "1", "\ud83d": 1}, "\\ud83d"),
    ],
)
def test_a_bad_order_is_refused_by_field(app: Flask, editor: Api, content: dict[str, Any], field: str) -> None:
    body = json.dumps(content)
    response = editor("POST", "/api/orders", data=body, content_type="application/json")
    assert response.status_code == 422
    assert [problem["field"] for problem in response.json["error"]["fields"]] == [field]
    with app.app_context():
        newest = select(func.max(Order.number)).where(Order.environment == "master")
        assert db.session.scalar(newest) == "ORD-10240"


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"null", "application/json", 400),
        (b'{"project": 1, "amount": NaN}', "application/json", 400),
        (b'{"project": 1, "project": 2, "amount": "1"}', "application/json", 400),
        (b'{"project": 1, "amount": 1e99999999999999999999}', "application/json", 400),
        (b'{"project": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b'{"note": "\xff"}', "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b"[" * 70_000, "application/json", 413),
        (b'{"project": 1, "amount": "1"}', "text/plain", 415),
        (b"project=1&amount=1", "application/x-www-form-urlencoded", 415),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(editor: Api, body: bytes, content_type: str, status: int) -> None:
    response = editor("POST", "/api/orders", data=body, content_type=content_type)
    assert response.status_code == status
    assert set(response.json["error"]) == {"code", "message"}


def test_an_archived_project_takes_no_orders(app: Flask, editor: Api) -> None:
    with app.app_context():
        db.session.execute(update(Project).where(Project.id == 1).values(archived_at=utcnow()))
        db.session.commit()
    response = editor("POST", "/api/orders", json={"project": 1, "amount": "1.00"})
    assert response.status_code == 409
    assert response.json["error"]["code"] == "conflict"


def test_an_order_goes_through_its_life(editor: Api) -> None:
    placed = editor("POST", "/api/orders", json={"project": 1, "amount": "10.00"})
    path = placed.headers["Location"]

    def patch(**changes: Any) -> int:
        return editor("PATCH", path, json=changes).status_code

    assert patch(archived=True) == 409
    assert patch(status="held", amount="12.00") == 200
    assert patch(status="shipped") == 409
    assert patch(status="open") == 200
    assert patch(status="shipped") == 200
    assert patch(amount="13.00") == 409
    assert patch(status="delivered", note="Left at the gate.", archived=True) == 200
    order = editor("GET", path).json["order"]
    assert (order["status"], order["amount"]) == ("delivered", "12.00")
    assert order["note"] == "Left at the gate."
    assert order["archived_at"] is not None
    assert patch(archived=False) == 200
    assert editor("GET", path).json["order"]["archived_at"] is None


def test_a_refused_change_changes_nothing(editor: Api) -> None:
    placed = editor("POST", "/api/orders", json={"project": 1, "amount": "10.00"})
    path = placed.headers["Location"]
    refused = editor("PATCH", path, json={"amount": "11.00", "status": "delivered"})
    assert refused.status_code == 409
    assert editor("GET", path).json == placed.json


@pytest.mark.parametrize("changes", [{"status": "lost"}, {"status": None}, {"archived": "yes"}, {"number": "ORD-1"}])
def test_a_bad_change_is_refused_by_field(editor: Api, changes: dict[str, Any]) -> None:
    response = editor("PATCH", "/api/orders/ORD-10240", json=changes)
    assert response.status_code == 422
    assert [problem["field"] for problem in response.json["error"]["fields"]] == [*changes]


def test_of_two_changes_at_the_same_time_one_is_refused(app: Flask) -> None:
    with app.app_context():
        order = find_order("master", "ORD-10240")
        assert order is not None
        with app.app_context():
            other = find_order("master", "ORD-10240")
            assert other is not None
            change_order(other, note="first")
        with pytest.raises(Conflict, match="Somebody else"):
            change_order(order, note="second")


def test_orders_placed_at_the_same_time_get_numbers_of_their_own(app: Flask) -> None:
    secret = secret_with(app, "editor")
    with served_in_background(app) as address, ThreadPoolExecutor(8) as pool:
        order = {"project": 1, "amount": "1.00"}
        answers = list(pool.map(lambda _: send(address, secret, order), range(32)))
    assert [status for status, _ in answers] == [201] * 32
    numbers = sorted(content["order"]["number"] for _, content in answers)
    assert numbers == [f"ORD-{number}" for number in range(10241, 10273)]


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/nothing", "/api/orders/", "/api//orders"])
def test_an_unknown_path_is_a_client_error(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code in (308, 404)


def test_a_wrong_method_is_answered_in_json(editor: Api) -> None:
    response = editor("DELETE", "/api/orders")
    assert response.status_code == 405
    assert response.json["error"]["code"] == "method_not_allowed"
    assert "POST" in response.headers["Allow"]


def test_a_failure_of_ours_is_told_without_details(app: Flask, editor: Api, browser: FlaskClient) -> None:
    app.testing = False
    with app.app_context():
        db.session.execute(text("ALTER TABLE orders RENAME TO lost"))
        db.session.commit()
    answer = editor("GET", "/api/orders")
    assert (answer.status_code, answer.mimetype) == (500, "application/json")
    page = browser.get("/orders")
    assert (page.status_code, page.mimetype) == (500, "text/html")
    for response in (answer, page):
        assert "no such table" not in response.text
        assert "SELECT" not in response.text


# The API: the export


def test_the_export_holds_every_order(app: Flask, viewer: Api) -> None:
    with app.app_context():
        template = db.session.scalars(select(Order).limit(1)).one()
        for number in range(20_000, 20_450):
            db.session.add(copy_of(template, f"ORD-{number}"))
        db.session.commit()
    response = viewer("GET", "/api/orders.csv")
    assert response.mimetype == "text/csv"
    assert response.headers["Content-Disposition"] == "attachment; filename=orders-master.csv"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    total = viewer("GET", "/api/orders").json["pagination"]["total"]
    assert len({row["number"] for row in rows}) == len(rows) == total > 450
    assert all(Decimal(row["amount"]) > 0 for row in rows)


def test_the_export_takes_the_same_filter_as_the_list(viewer: Api) -> None:
    rows = list(csv.DictReader(io.StringIO(viewer("GET", "/api/orders.csv?status=held").text)))
    assert {row["status"] for row in rows} == {"held"}
    assert viewer("GET", "/api/orders.csv?status=lost").status_code == 400


@pytest.mark.parametrize("note", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_the_export_holds_no_formulas(editor: Api, note: str) -> None:
    editor("POST", "/api/orders", json={"project": 1, "amount": "1", "note": note})
    rows = list(csv.DictReader(io.StringIO(editor("GET", "/api/orders.csv").text)))
    assert rows[-1]["note"] == f"'{note}"


# The pages


def csrf_token(response: TestResponse) -> str:
    """The token in the first form of a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', response.text)
    assert found is not None
    return found.group(1)


def log_in(client: FlaskClient, password: str, **fields: str) -> TestResponse:
    """Fill in the login form and send it."""
    token = csrf_token(client.get("/login"))
    form = {"username": "admin", "password": password, "csrf_token": token, **fields}
    return client.post("/login", data=form)


@pytest.fixture
def browser(client: FlaskClient, seeded: Seeded) -> FlaskClient:
    """A client that is logged in."""
    assert log_in(client, seeded.password).status_code == 302
    return client


PAGES = ["/", "/orders", "/orders/ORD-10001", "/projects", "/settings", "/settings/account"]


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_a_login_and_then_show(client: FlaskClient, seeded: Seeded, path: str) -> None:
    sent_away = client.get(path)
    assert (sent_away.status_code, sent_away.headers["Location"]) == (302, f"/login?next={path}")
    assert log_in(client, seeded.password, next=path).headers["Location"] == path
    shown = client.get(path)
    assert shown.status_code == 200
    assert shown.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert shown.headers["Cache-Control"] == "no-store"
    assert "<script" not in shown.text


@pytest.mark.parametrize("path", ["/orders/ORD-10240", "/environment", "/settings/account"])
def test_a_form_sent_without_a_login_does_nothing(app: Flask, client: FlaskClient, path: str) -> None:
    token = csrf_token(client.get("/login"))
    response = client.post(path, data={"csrf_token": token, "status": "cancelled"})
    assert (response.status_code, response.headers["Location"]) == (302, "/login")
    with app.app_context():
        order = find_order("master", "ORD-10240")
        assert order is not None
        assert order.status == "open"


@pytest.mark.parametrize(
    ("username", "password"),
    [("admin", "wrong"), ("nobody", "wrong"), ("nul\x00", "wrong"), ("admin", "nul\x00")],
)
def test_a_wrong_login_is_refused_alike(client: FlaskClient, username: str, password: str) -> None:
    response = log_in(client, password, username=username)
    assert response.status_code == 422
    assert "The user name or the password is wrong." in response.text
    assert client.get("/").status_code == 302


def test_a_login_without_a_csrf_token_is_refused(client: FlaskClient, seeded: Seeded) -> None:
    form = {"username": "admin", "password": seeded.password}
    response = client.post("/login", data=form)
    assert response.status_code == 400
    assert "CSRF" in response.text
    assert client.get("/").status_code == 302


@pytest.mark.parametrize(
    "target",
    ["https://example.org/", "//example.org", "/\\example.org", "example.org", "/a\r\nb", "/\tx"],
)
def test_the_login_leads_to_no_other_site(client: FlaskClient, seeded: Seeded, target: str) -> None:
    assert log_in(client, seeded.password, next=target).headers["Location"] == "/"


def test_logging_out_ends_the_session(browser: FlaskClient) -> None:
    token = csrf_token(browser.get("/"))
    assert browser.post("/logout").status_code == 400
    assert browser.get("/").status_code == 200
    assert browser.post("/logout", data={"csrf_token": token}).status_code == 302
    assert browser.get("/").status_code == 302


def test_a_new_password_ends_other_sessions(app: Flask, browser: FlaskClient, seeded: Seeded) -> None:
    other = app.test_client()
    log_in(other, seeded.password)
    new = "a longer" + " passphrase"
    form = {
        "csrf_token": csrf_token(browser.get("/settings/account")),
        "present": seeded.password,
        "new": new,
        "again": new,
    }
    assert browser.post("/settings/account", data=form | {"again": "x"}).status_code == 422
    assert browser.post("/settings/account", data=form | {"present": "x"}).status_code == 422
    assert other.get("/").status_code == 200
    assert browser.post("/settings/account", data=form).status_code == 302
    assert browser.get("/").status_code == 200
    assert other.get("/").status_code == 302
    assert log_in(other, seeded.password).status_code == 422
    assert log_in(other, new).status_code == 302


def test_pages_show_the_chosen_environment(browser: FlaskClient) -> None:
    assert "ORD-10240" in browser.get("/orders").text
    token = csrf_token(browser.get("/"))
    wrong = {"csrf_token": token, "environment": "nowhere"}
    assert browser.post("/environment", data=wrong).status_code == 400
    right = {"csrf_token": token, "environment": "staging"}
    assert browser.post("/environment", data=right).status_code == 302
    listed = browser.get("/orders").text
    assert "ORD-10060" in listed
    assert "ORD-10240" not in listed
    assert browser.get("/orders/ORD-10240").status_code == 404


def test_an_order_is_moved_on_its_page(browser: FlaskClient) -> None:
    path = "/orders/ORD-10240"
    token = csrf_token(browser.get(path))
    assert browser.post(path, data={"status": "shipped"}).status_code == 400
    moved = browser.post(path, data={"csrf_token": token, "status": "shipped"})
    assert moved.status_code == 302
    assert "ORD-10240 is now shipped." in browser.get(path).text
    again = browser.post(path, data={"csrf_token": token, "status": "cancelled"})
    assert again.status_code == 409
    assert browser.post(path, data={"csrf_token": token, "status": "x"}).status_code == 400


def test_what_clients_wrote_is_shown_as_text(editor: Api, browser: FlaskClient) -> None:
    note = "<script>alert(1)</script>"
    placed = editor("POST", "/api/orders", json={"project": 1, "amount": "1", "note": note})
    shown = browser.get(f"/orders/{placed.json['order']['number']}").text
    assert note not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


@pytest.mark.parametrize("path", ["/orders?page=x", "/orders?status=lost", "/orders?page=1&x=1"])
def test_a_bad_query_of_a_page_is_explained(browser: FlaskClient, path: str) -> None:
    response = browser.get(path)
    assert (response.status_code, response.mimetype) == (400, "text/html")
    assert "The query string was not understood." in response.text


@pytest.mark.parametrize("path", ["/nothing", "/orders/ORD-1", "/orders/%00"])
def test_a_page_that_is_not_there_is_404(browser: FlaskClient, path: str) -> None:
    response = browser.get(path)
    assert (response.status_code, response.mimetype) == (404, "text/html")


def test_the_filter_of_the_list_stays_while_paging(browser: FlaskClient) -> None:
    shown = browser.get("/orders?status=delivered").text
    older = re.search(r'rel="next" href="([^"]+)"', shown)
    assert older is not None
    assert older.group(1) == "/orders?page=2&amp;status=delivered"
    assert "Page 2 of" in browser.get("/orders?page=2&status=delivered").text


def test_settings_tell_about_api_keys(browser: FlaskClient) -> None:
    assert "<h2>API keys</h2>" in browser.get("/settings").text


def test_every_file_that_a_page_asks_for_is_there(browser: FlaskClient) -> None:
    asked = set(re.findall(r'href="(/static/[^"]+)"', browser.get("/").text))
    assert asked == {"/static/style.css", "/static/favicon.svg"}
    for path in asked:
        with browser.get(path) as response:
            assert response.status_code == 200


# Settings and secrets


@contextmanager
def created(folder: Path, config: dict[str, Any] | None = None) -> Iterator[Flask]:
    """An application on an instance folder, closed afterwards."""
    app = create_app(config, instance_path=folder)
    try:
        yield app
    finally:
        close(app)


def test_secrets_are_generated_once_and_kept_private(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    with created(folder) as first, created(folder) as second:
        for name in ("SECRET_KEY", "ARCHIE_KEYS_PEPPERS"):
            assert first.config[name] == second.config[name]
        assert len(first.config["SECRET_KEY"]) >= 32
        assert first.config["SECRET_KEY"] not in first.config["ARCHIE_KEYS_PEPPERS"]
    assert stat.S_IMODE((folder / SECRETS_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder / ".gitignore").read_text() == "*\n"
    with created(tmp_path / "other") as other:
        assert other.config["SECRET_KEY"] != first.config["SECRET_KEY"]


def test_the_process_environment_wins_over_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_APP_INSTANCE", str(tmp_path / "instance"))
    monkeypatch.setenv("SECRET_KEY", "from the environment")
    monkeypatch.setenv("ARCHIE_KEYS_PEPPERS", "older pepper of some length, newer pepper of some length")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/elsewhere.sqlite")
    app = create_app()
    close(app)
    assert app.instance_path == str(tmp_path / "instance")
    assert app.config["SECRET_KEY"] == "from the environment"
    assert app.config["ARCHIE_KEYS_PEPPERS"] == [
        "older pepper of some length",
        "newer pepper of some length",
    ]
    assert app.config["SQLALCHEMY_DATABASE_URI"].endswith("/elsewhere.sqlite")
    assert not (tmp_path / "instance" / SECRETS_FILE).exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"SECRET_KEY": "x"}'])
def test_a_damaged_secrets_file_is_not_replaced(tmp_path: Path, content: str) -> None:
    path = tmp_path / SECRETS_FILE
    path.write_text(content)
    with pytest.raises(RuntimeError, match="is damaged"):
        create_app(instance_path=tmp_path)
    assert path.read_text() == content


def test_the_database_is_set_up_for_several_processes(app: Flask) -> None:
    with app.app_context(), db.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


# Commands


def test_seed_fills_an_empty_database_once(tmp_path: Path) -> None:
    with created(tmp_path / "instance") as app:
        run = app.test_cli_runner().invoke
        assert run(args=["seed"]).output == "Added 300 sample orders.\n"
        assert run(args=["seed"]).output == "There is data already; nothing was changed.\n"


def test_set_password_prints_one_that_works(app: Flask, client: FlaskClient) -> None:
    result = app.test_cli_runner().invoke(args=["set-password"])
    password = result.output.removeprefix("Password of admin: ").strip()
    assert log_in(client, password).status_code == 302
    assert app.test_cli_runner().invoke(args=["set-password", "a b"]).exit_code == 2


def command(*arguments: str) -> list[str]:
    """A command line for a new interpreter, in which warnings are errors too."""
    return [sys.executable, "-W", "error::ResourceWarning", *arguments]


def environment_for(folder: Path) -> dict[str, str]:
    """The process environment for a program that uses this instance folder."""
    ours = {"EXAMPLE_APP_INSTANCE": str(folder), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    return {k: v for k, v in os.environ.items() if k not in ENVIRONMENT_VARIABLES} | ours


def test_the_demo_plays_a_keys_life_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    users_database = f"sqlite:///{tmp_path}/users.sqlite"
    done = subprocess.run(
        command("-m", "flask", "--app", "example_app", "demo"),
        cwd=ROOT,
        env=environment_for(folder) | {"TMPDIR": str(temporary), "DATABASE_URL": users_database},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told = [
        "1. Make a key",
        "no key       GET   /api/orders              -> 401",
        "key          POST  /api/orders              -> 201 ORD-10241, open",
        "key          PATCH /api/orders/ORD-10241    -> 200 ORD-10241, shipped",
        "4. Rotate it",
        "old key      GET   /api/projects/1          -> 200",
        "new key      GET   /api/projects/1          -> 200",
        ": not safe to delete",
        ": safe to delete",
        "6. Delete the old key",
        "old key      GET   /api/projects/1          -> 401",
        "7. Read the history",
    ]
    position = 0
    for phrase in told:
        position = done.stdout.index(phrase, position) + len(phrase)
    old_id, new_id = re.findall(r"^   id      (\w{12})", done.stdout, re.M)
    history = done.stdout[position:]
    assert old_id in history
    assert new_id in history
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", SECRETS_FILE]
    assert not (tmp_path / "users.sqlite").exists()


# The process


class Running(NamedTuple):
    """A served application: what it printed while it started."""

    address: str
    secret: str
    password: str
    output: str


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """``python -m example_app`` on a free port, stopped by its process id."""
    with (
        (folder.parent / "stderr.txt").open("a") as errors,
        subprocess.Popen(
            command("-m", "example_app", "--port", "0"),
            cwd=ROOT,
            env=environment_for(folder),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            yield read_announcement(process)
        finally:
            process.terminate()
            assert process.wait(timeout=20) == 0, (folder.parent / "stderr.txt").read_text()


def read_announcement(process: subprocess.Popen[str]) -> Running:
    """Read what a starting application prints, up to the line that says that it serves."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if line.startswith("Serving on "):
            break
    address = re.search(r"^Serving on (http://127\.0\.0\.1:\d+) ", output, re.M)
    curl = re.search(r"^ +curl -H 'Authorization: Bearer (\S+)' '(\S+)/api/orders\?per_page=3'$", output, re.M)
    password = re.search(r"^ +password +(.+)$", output, re.M)
    assert address is not None, output
    assert curl is not None, output
    assert password is not None, output
    assert curl.group(2) == address.group(1)
    return Running(address.group(1), curl.group(1), password.group(1), output)


def send(address: str, secret: str, content: object = None) -> tuple[int, Any]:
    """Read the orders over HTTP with a key, or place one."""
    request = urllib.request.Request(f"{address}/api/orders")
    request.add_header("Authorization", f"Bearer {secret}")
    if content is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(content).encode()
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_first_command_ends_with_a_key_that_works(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    with running(folder) as first:
        assert "Added 300 sample orders" in first.output
        assert f"    {first.secret}\n" in first.output
        status, answer = send(first.address, first.secret)
        assert (status, answer["pagination"]["page"]) == (200, 1)
        status, _ = send(first.address, first.secret, {"project": 1, "amount": "5.00"})
        assert status == 201
        with urllib.request.urlopen(f"{first.address}/", timeout=20) as page:
            assert page.url == f"{first.address}/login?next=/"
    with running(folder) as second:
        assert "sample orders" not in second.output
        assert "set-password" in second.password
        assert send(second.address, second.secret)[0] == 200
        assert send(second.address, first.secret)[0] == 401
    with created(folder) as app, app.app_context():
        alive = [key for key in keys.service.find(q="quickstart") if key.status == "active"]
        assert len(alive) == 1
        assert find_order("master", "ORD-10241") is not None


def test_a_busy_port_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            command("-m", "example_app", "--port", port),
            cwd=ROOT,
            env=environment_for(folder),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Port {port} is in use by another program.")
    assert "--port" in done.stderr
    assert not folder.exists()


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_cannot_be_is_refused(tmp_path: Path, port: str) -> None:
    done = subprocess.run(
        command("-m", "example_app", f"--port={port}"),
        cwd=ROOT,
        env=environment_for(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_a_port_is_taken_once() -> None:
    with listen(0) as first, pytest.raises(PortBusy, match="--port"):
        listen(first.getsockname()[1])


def copy_of(order: Order, number: str) -> Order:
    """Another current order like this one."""
    return Order(
        environment=order.environment,
        number=number,
        customer_id=order.customer_id,
        project_id=order.project_id,
        region=order.region,
        status="open",
        amount=order.amount,
        note="",
        placed_by="import",
    )
