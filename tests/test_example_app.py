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
from example_app.models import STATUSES, Customer, Order, Project, utcnow
from example_app.orders import change_order, find_order
from example_app.roles import DECLARED, ensure_roles
from example_app.seed import seed
from example_app.server import PortBusy, listen, served_in_background
from flask_archie_keys import Grant, NobodyActs, Principal

from .support.postgres import PostgresServer
from .support.protected import shown


@pytest.fixture(scope="module", autouse=True)
def _its_models() -> Iterator[None]:
    with shown():
        yield


ROOT = Path(__file__).parent.parent
ENVIRONMENT_VARIABLES = ("DATABASE_URL", "SECRET_KEY", "ARCHIE_KEYS_PEPPERS", "ARCHIE_KEYS_ROW_SECURITY", "FLASK_APP")


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
        ensure_roles()
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


def secret_with(app: Flask, *roles: str, environment: str = "master", **context: str) -> str:
    """Make a key with these roles and this context."""
    with app.app_context():
        service = keys.for_environment(environment).service
        return service.create(name="test", roles=roles, context=context).secret


@contextmanager
def everything(app: Flask) -> Iterator[None]:
    """The database as it is, whoever may see what."""
    with app.app_context(), keys.unrestricted("a test"):
        yield


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
        ("GET", "/api/orders/totals"),
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


# The API: whose orders


@pytest.fixture
def northwind(app: Flask, client: FlaskClient) -> Api:
    return Api(client, secret_with(app, "customer_orders", customer="Northwind Tools"))


@pytest.fixture
def blue_fir(app: Flask, client: FlaskClient) -> Api:
    return Api(client, secret_with(app, "customer_orders", customer="Blue Fir Outfitters"))


@pytest.fixture
def clerk(app: Flask, client: FlaskClient) -> Api:
    return Api(client, secret_with(app, "regional_clerk", region="us"))


def matching(app: Flask, *conditions: Any) -> list[str]:
    """The numbers of the orders of the environment ``master`` for which this holds, newest first."""
    query = select(Order.number).join(Order.customer).where(Order.environment == "master", *conditions)
    with everything(app):
        return list(db.session.scalars(query.order_by(Order.placed_at.desc(), Order.id.desc())))


def numbers_in(response: TestResponse) -> list[str]:
    """The numbers of the orders that were listed."""
    assert response.status_code == 200
    return [order["number"] for order in response.json["orders"]]


def told(response: TestResponse) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that a client learns from a response."""
    return response.status_code, response.data, [header for header in response.headers if header[0] != "Date"]


def test_keys_of_two_customers_see_different_orders(app: Flask, northwind: Api, blue_fir: Api) -> None:
    path = "/api/orders?per_page=100&archived=false"
    mine, theirs = numbers_in(northwind("GET", path)), numbers_in(blue_fir("GET", path))
    current = Order.archived_at.is_(None)
    assert mine == matching(app, current, Customer.name == "Northwind Tools") != []
    assert theirs == matching(app, current, Customer.name == "Blue Fir Outfitters") != []
    assert set(mine).isdisjoint(theirs)
    for number in mine:
        order = northwind("GET", f"/api/orders/{number}").json["order"]
        assert order["customer"]["name"] == "Northwind Tools"
        assert blue_fir("GET", f"/api/orders/{number}").status_code == 404


def test_counts_and_pages_are_those_of_the_visible_orders(app: Flask, northwind: Api) -> None:
    mine = matching(app, Order.archived_at.is_(None), Customer.name == "Northwind Tools")
    page = northwind("GET", "/api/orders?per_page=4&page=2")
    assert numbers_in(page) == mine[4:8]
    pages = -(-len(mine) // 4)
    assert page.json["pagination"] == {"page": 2, "per_page": 4, "pages": pages, "total": len(mine)}
    assert numbers_in(northwind("GET", f"/api/orders?per_page=4&page={pages + 1}")) == []


@pytest.mark.parametrize("role", ["viewer", "customer_orders"])
def test_totals_are_added_up_from_the_visible_orders(app: Flask, client: FlaskClient, role: str) -> None:
    api = Api(client, secret_with(app, role, customer="Northwind Tools"))
    rows = [row for page in (1, 2) for row in api("GET", f"/api/orders?per_page=100&page={page}").json["orders"]]
    expected: dict[str, dict[str, Any]] = {}
    for row in rows:
        total = expected.setdefault(row["status"], {"orders": 0, "amount": Decimal()})
        total["orders"] += 1
        total["amount"] += Decimal(row["amount"])
    totals = {status: total | {"amount": str(total["amount"])} for status, total in expected.items()}
    assert api("GET", "/api/orders/totals").json == {"totals": totals}
    assert api("GET", "/api/orders/totals?x=1").status_code == 400


def test_the_export_holds_the_visible_orders(app: Flask, northwind: Api) -> None:
    rows = list(csv.DictReader(io.StringIO(northwind("GET", "/api/orders.csv").text)))
    mine = matching(app, Order.archived_at.is_(None), Customer.name == "Northwind Tools")
    assert {row["number"] for row in rows} == set(mine)
    assert {row["customer"] for row in rows} == {"Northwind Tools"}


def test_projects_are_those_of_the_customer(northwind: Api, blue_fir: Api) -> None:
    mine, theirs = (api("GET", "/api/projects").json for api in (northwind, blue_fir))
    assert {project["customer"]["name"] for project in mine["projects"]} == {"Northwind Tools"}
    assert len(mine["projects"]) == mine["pagination"]["total"] < 30
    hidden = northwind("GET", f"/api/projects/{theirs['projects'][0]['id']}")
    assert told(hidden) == told(northwind("GET", "/api/projects/9999"))
    assert hidden.status_code == 404


def test_a_hidden_order_is_answered_like_one_that_never_was(app: Flask, clerk: Api) -> None:
    hidden = f"/api/orders/{matching(app, Order.region == 'eu')[0]}"
    for method, options in [
        ("GET", {}),
        ("PATCH", {"json": {"note": "x"}}),
        ("PATCH", {"json": {"status": "lost"}}),
        ("PATCH", {"data": b"{"}),
    ]:
        never = told(clerk(method, "/api/orders/ORD-99999", **options))
        assert told(clerk(method, hidden, **options)) == never
        assert never[:2] == (404, b'{"error":{"code":"not_found","message":"There is no such order."}}\n')


def test_a_project_in_the_query_tells_nothing_of_others(northwind: Api, blue_fir: Api) -> None:
    theirs = blue_fir("GET", "/api/projects").json["projects"][0]["id"]
    assert told(northwind("GET", f"/api/orders?project={theirs}")) == told(northwind("GET", "/api/orders?project=9999"))


def test_a_customer_places_orders_for_its_own_projects(app: Flask, northwind: Api, blue_fir: Api) -> None:
    mine, theirs = (api("GET", "/api/projects").json["projects"][0]["id"] for api in (northwind, blue_fir))
    placed = northwind("POST", "/api/orders", json={"project": mine, "amount": "5.00"})
    assert (placed.status_code, placed.json["order"]["customer"]["name"]) == (201, "Northwind Tools")
    assert northwind("GET", placed.headers["Location"]).json == placed.json
    assert blue_fir("GET", placed.headers["Location"]).status_code == 404
    refused = northwind("POST", "/api/orders", json={"project": theirs, "amount": "5.00"})
    assert refused.status_code == 422
    assert told(refused) == told(northwind("POST", "/api/orders", json={"project": 9999, "amount": "5.00"}))
    assert matching(app, Order.number > "ORD-10240") == ["ORD-10241"]


def test_what_is_not_granted_is_refused(northwind: Api) -> None:
    refused = northwind("PATCH", "/api/orders/ORD-10240", json={"note": "x"})
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    assert refused.headers["WWW-Authenticate"].endswith('error="insufficient_scope", scope="orders:update"')


def test_an_order_outside_the_filter_is_not_written(app: Flask, client: FlaskClient, blue_fir: Api) -> None:
    secret = secret_with(app, "viewer", "customer_orders", customer="Northwind Tools")
    both = Api(client, secret)  # reads everything, places orders of one customer
    theirs = blue_fir("GET", "/api/projects").json["projects"][0]["id"]
    assert both("GET", f"/api/projects/{theirs}").status_code == 200
    refused = both("POST", "/api/orders", json={"project": theirs, "amount": "5.00"})
    assert (refused.status_code, refused.mimetype) == (403, "application/problem+json")
    assert refused.headers["WWW-Authenticate"].endswith('scope="orders:write"')
    assert matching(app, Order.number > "ORD-10240") == []
    mine = matching(app, Customer.name == "Northwind Tools")[0]
    project = both("GET", f"/api/orders/{mine}").json["order"]["project"]["id"]
    placed = both("POST", "/api/orders", json={"project": project, "amount": "5.00"})
    assert placed.json["order"]["number"] == "ORD-10241"  # none was lost


def test_a_clerk_changes_the_orders_of_its_region(app: Flask, clerk: Api) -> None:
    numbers = matching(app, Order.region == "us", Order.archived_at.is_(None), Order.status == "open")
    assert clerk("PATCH", f"/api/orders/{numbers[0]}", json={"status": "shipped"}).status_code == 200
    listed = clerk("GET", "/api/orders?per_page=100").json["orders"]
    assert {order["region"] for order in listed} == {order["customer"]["region"] for order in listed} == {"us"}
    projects = clerk("GET", "/api/projects?per_page=100").json["projects"]
    assert {project["customer"]["region"] for project in projects} == {"us"}


def test_a_clerk_moves_no_order_out_of_its_filter(app: Flask, clerk: Api, editor: Api) -> None:
    here = (Order.region == "us", Order.status == "delivered")
    archived = matching(app, *here, Order.archived_at.is_not(None))[0]
    current = matching(app, *here, Order.archived_at.is_(None))[0]
    for number, changes in [(archived, {"note": "x"}), (archived, {"archived": False}), (current, {"archived": True})]:
        before = editor("GET", f"/api/orders/{number}").json
        assert clerk("GET", f"/api/orders/{number}").json == before
        refused = clerk("PATCH", f"/api/orders/{number}", json=changes)
        assert (refused.status_code, refused.json["type"]) == (403, "/errors/forbidden")
        assert refused.headers["WWW-Authenticate"].endswith('scope="orders:update"')
        assert editor("GET", f"/api/orders/{number}").json == before
    assert clerk("PATCH", f"/api/orders/{current}", json={"note": "x"}).status_code == 200


def test_an_order_stays_visible_when_its_customer_moves_away(app: Flask, clerk: Api) -> None:
    number = matching(app, Customer.name == "Blue Fir Outfitters", Order.archived_at.is_(None))[0]
    project = clerk("GET", f"/api/orders/{number}").json["order"]["project"]["id"]
    with everything(app):
        db.session.execute(update(Customer).where(Customer.name == "Blue Fir Outfitters").values(region="apac"))
        db.session.commit()
    order = clerk("GET", f"/api/orders/{number}").json["order"]
    assert (order["region"], order["customer"], order["project"]) == ("us", None, None)
    rows = csv.DictReader(io.StringIO(clerk("GET", "/api/orders.csv").text))
    assert [(row["customer"], row["project"]) for row in rows if row["number"] == number] == [("", "")]
    refused = clerk("POST", "/api/orders", json={"project": project, "amount": "1.00"})
    assert refused.status_code == 422


def test_a_project_whose_customer_is_hidden_takes_no_orders(app: Flask, client: FlaskClient) -> None:
    with app.app_context():
        grants = [Grant("orders", read=True, write=True), Grant("projects", read=True)]
        keys.roles.save("planner", grants=[*grants, Grant("customers", read=True, filter="region = 'apac'")])
    planner = Api(client, secret_with(app, "planner"))
    assert planner("GET", "/api/projects/1").json["project"]["customer"] is None
    refused = planner("POST", "/api/orders", json={"project": 1, "amount": "1.00"})
    assert [problem["field"] for problem in refused.json["error"]["fields"]] == ["project"]


def test_a_customer_of_the_same_name_elsewhere_is_another(app: Flask, client: FlaskClient, northwind: Api) -> None:
    secret = secret_with(app, "customer_orders", environment="staging", customer="Northwind Tools")
    staging = Api(client, secret, "staging")
    ours, theirs = (api("GET", "/api/orders?per_page=100").json["orders"] for api in (northwind, staging))
    assert {order["customer"]["name"] for order in theirs} == {"Northwind Tools"}
    assert {order["customer"]["id"] for order in ours}.isdisjoint(order["customer"]["id"] for order in theirs)


@pytest.mark.parametrize("role", ["viewer", "editor", "administrator", "customer_orders", "regional_clerk"])
@pytest.mark.parametrize("model", [Order, Project, Customer])
def test_roles_keep_the_environments_apart(app: Flask, role: str, model: type[Order | Project | Customer]) -> None:
    context = {"customer": "Northwind Tools", "region": "eu"}
    user = Principal.user(1, roles=[role], context=context, environment="staging")
    with app.app_context(), keys.act_as(user):
        assert set(db.session.scalars(select(model.environment))) == {"staging"}


def test_a_key_needs_what_the_filters_of_its_roles_use(app: Flask) -> None:
    command = ["keys", "create", "Shop", "--role", "customer_orders"]
    result = app.test_cli_runner().invoke(args=command)
    assert result.exit_code != 0
    assert "the role 'customer_orders' filters orders by $context.customer, which has no value" in result.output
    made = app.test_cli_runner().invoke(args=[*command, "--context", "customer=Northwind Tools"])
    assert made.exit_code == 0


def test_a_change_of_a_role_holds_at_the_next_request(app: Flask, northwind: Api) -> None:
    assert northwind("GET", "/api/orders").status_code == 200
    with app.app_context():
        grants = keys.roles.get("customer_orders").grants
        keys.roles.save("customer_orders", grants=grants[1:])
    assert northwind("GET", "/api/orders").status_code == 403
    assert northwind("GET", "/api/projects").status_code == 200
    with app.app_context():
        keys.roles.delete("customer_orders", take_from_keys=True)
    assert northwind("GET", "/api/projects").status_code == 403


def test_roles_that_were_edited_stay_as_they_are(app: Flask) -> None:
    with app.app_context():
        keys.roles.save("customer_orders", grants=[Grant("orders", read=True, filter="status = 'open'")])
        edited = keys.roles.get("customer_orders")
        ensure_roles()
        assert keys.roles.get("customer_orders") == edited
        for name in ("master", "staging"):
            known = {role.name: role.source for role in keys.for_environment(name).roles.find()}
            declared = dict.fromkeys(DECLARED, "settings")
            assert known == declared | {"customer_orders": "saved", "regional_clerk": "saved"}
            assert keys.for_environment(name).roles.wrong() == {}


def test_the_audit_tells_by_which_filter_a_key_was_let_in(app: Flask, northwind: Api) -> None:
    northwind("GET", "/api/orders/totals")
    northwind("PATCH", "/api/orders/ORD-10240")
    with app.app_context():
        refused, allowed = [event for event in keys.audit.find() if event.kind == "request"]
    filters = {made["resource"]: made["filter"] for made in allowed.details["permissions"]}
    assert filters == {  # the filter on orders asks for customers, which have one of their own
        "orders": "environment = $environment AND customer.name = $context.customer",
        "customers": "environment = $environment AND name = $context.customer",
    }
    assert (refused.reason, refused.details["permissions"][0]["decision"]) == ("missing_grant", "denied")


def test_explain_shows_the_condition_as_it_stands_in_a_query(app: Flask) -> None:
    key_id = secret_with(app, "customer_orders", customer="Northwind Tools").split("_")[1]
    shown = app.test_cli_runner().invoke(args=["keys", "explain", key_id, "--resource", "orders", "--action", "read"])
    assert shown.exit_code == 0
    assert "environment = 'master' AND customer.name = 'Northwind Tools'" in shown.output
    assert "FROM customers AS customers_1 WHERE orders.customer_id = customers_1.id AND" in shown.output


def test_rows_are_out_of_reach_where_nobody_acts(app: Flask) -> None:
    with app.app_context():
        with pytest.raises(NobodyActs, match="orders"):
            find_order("master", "ORD-10240")
        with pytest.raises(NobodyActs, match="orders"):
            db.session.execute(text("SELECT count(*) FROM orders"))


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
        with everything(app):
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
    with everything(app):
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
    with everything(app):
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
    with everything(app):
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
    with everything(app):
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
    with everything(app):
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
    with everything(app):
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


def test_pages_offer_what_the_administrators_roles_grant(seeded: Seeded, tmp_path: Path) -> None:
    shutil.copytree(seeded.folder, tmp_path / "instance")
    reads = [Grant(resource, read=True) for resource in ("orders", "projects", "customers")]
    # administrators have all roles, so those that change anything must not
    roles = DECLARED | {name: {"grants": reads} for name in ("administrator", "editor")}
    with created(tmp_path / "instance", {"TESTING": True, "ARCHIE_KEYS_ROLES": roles}) as app:
        browser = app.test_client()
        log_in(browser, seeded.password)
        page = browser.get("/orders/ORD-10240")
        assert page.status_code == 200
        assert "Mark as" not in page.text
        form = {"csrf_token": csrf_token(page), "status": "shipped"}
        refused = browser.post("/orders/ORD-10240", data=form)
        assert (refused.status_code, refused.mimetype) == (403, "text/html")
        assert "You may not do that." in refused.text


def test_the_overview_counts_the_orders_of_the_environment(app: Flask, browser: FlaskClient) -> None:
    shown = browser.get("/").text
    tiles = {status: int(count) for count, status in re.findall(r"<strong>(\d+)</strong> (\w+)", shown)}
    assert list(tiles) == list(STATUSES)
    for status, count in tiles.items():
        assert count == len(matching(app, Order.status == status, Order.archived_at.is_(None)))
    with everything(app):
        worth = select(func.sum(Order.amount)).where(Order.environment == "master", Order.status.in_(["open", "held"]))
        assert f"worth {db.session.scalar(worth):,.2f}" in shown


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
    monkeypatch.setenv("ARCHIE_KEYS_ROW_SECURITY", "0")
    app = create_app()
    close(app)
    assert app.instance_path == str(tmp_path / "instance")
    assert app.config["SECRET_KEY"] == "from the environment"
    assert app.config["ARCHIE_KEYS_ROW_SECURITY"] is False
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


def test_postgresql_keeps_the_rows_apart_by_itself(
    postgres_server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.new_database()
    with created(tmp_path / "instance", {"SQLALCHEMY_DATABASE_URI": url}) as owner:
        run = owner.test_cli_runner().invoke
        assert run(args=["seed"]).exit_code == 0
        with owner.app_context(), db.engine.begin() as connection:
            connection.execute(text("CREATE ROLE order_desk LOGIN"))
            for leave in ("SELECT, INSERT, UPDATE, DELETE ON ALL TABLES", "USAGE ON ALL SEQUENCES"):
                connection.execute(text(f"GRANT {leave} IN SCHEMA public TO order_desk"))
        applied = run(args=["keys", "row-security", "--apply"])
        assert applied.exit_code == 0, applied.output
    monkeypatch.setenv("DATABASE_URL", url.replace("postgres@", "order_desk@"))
    monkeypatch.setenv("ARCHIE_KEYS_ROW_SECURITY", "1")
    with created(tmp_path / "instance", {"TESTING": True}) as app:
        client = app.test_client()
        mine = Api(client, secret_with(app, "customer_orders", customer="Northwind Tools"))
        theirs = Api(client, secret_with(app, "customer_orders", customer="Blue Fir Outfitters"))
        seen = [numbers_in(api("GET", "/api/orders?per_page=100")) for api in (mine, theirs)]
        assert seen[0] == matching(app, Order.archived_at.is_(None), Customer.name == "Northwind Tools") != []
        assert set(seen[0]).isdisjoint(seen[1])
        assert mine("GET", f"/api/orders/{seen[1][0]}").status_code == 404
        project = mine("GET", "/api/projects").json["projects"][0]["id"]
        order = {"project": project, "amount": "5.00"}
        assert mine("POST", "/api/orders", json=order).status_code == 201
        assert theirs("POST", "/api/orders", json=order).status_code == 422
        with app.app_context(), keys.act_as(Principal.user(1, roles=["viewer"], environment="staging")):
            cursor = db.session.connection().connection.cursor()  # which this package does not see
            cursor.execute("SELECT DISTINCT environment FROM orders")
            assert cursor.fetchall() == [("staging",)]


# Commands


def test_seed_fills_an_empty_database_once(tmp_path: Path) -> None:
    with created(tmp_path / "instance") as app:
        run = app.test_cli_runner().invoke
        assert run(args=["seed"]).output == "Added 300 sample orders.\n"
        assert run(args=["seed"]).output == "There is data already; no orders were added.\n"
        with app.app_context():
            reasons = [event.details["reason"] for event in keys.audit.find() if event.kind == "unrestricted"]
        assert reasons == ["sample data for an empty database"] * 2


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
    phrases = [
        "1. Make a key",
        "no key              GET   /api/orders              -> 401",
        "key                 POST  /api/orders              -> 201 ORD-10241, open",
        "key                 PATCH /api/orders/ORD-10241    -> 200 ORD-10241, shipped",
        "4. Rotate it",
        "old key             GET   /api/projects/1          -> 200",
        "new key             GET   /api/projects/1          -> 200",
        ": not safe to delete",
        ": safe to delete",
        "6. Delete the old key",
        "old key             GET   /api/projects/1          -> 401",
        "7. Read the history",
    ]
    position = 0
    for phrase in phrases:
        position = done.stdout.index(phrase, position) + len(phrase)
    old_id, new_id = re.findall(r"^   id      (\w{12})", done.stdout, re.M)
    history, compared = done.stdout[position:].split("8. Give two customers a key each")
    assert old_id in history
    assert new_id in history
    seen = re.findall(r"^   (\w.*\w) +GET +(\S+) +-> (\d+) (.+)$", compared, re.M)
    mine, theirs, there, hidden, never = [(status, content) for _, _, status, content in seen]
    assert mine[0] == theirs[0] == there[0] == "200"
    assert mine[1] != theirs[1]
    assert hidden == never == ("404", "There is no such order.")
    assert "filter   environment = 'master' AND customer.name = 'Northwind Tools'" in compared
    assert re.search(r"REFUSED +grant +no grant for orders:update", compared)
    assert list(temporary.iterdir()) == []
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", SECRETS_FILE]
    assert not (tmp_path / "users.sqlite").exists()


# The process


class Running(NamedTuple):
    """A served application: what it printed while it started."""

    address: str
    secret: str
    customers: list[str]
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
    customers = re.findall(r"^ +curl -H 'Authorization: Bearer (\S+)' '\S+/api/orders\?per_page=1'$", output, re.M)
    password = re.search(r"^ +password +(.+)$", output, re.M)
    assert address is not None, output
    assert curl is not None, output
    assert password is not None, output
    assert curl.group(2) == address.group(1)
    return Running(address.group(1), curl.group(1), customers, password.group(1), output)


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
        seen = [send(first.address, secret)[1]["pagination"]["total"] for secret in first.customers]
        assert len(seen) == len(set(seen)) == 2
        assert answer["pagination"]["total"] > sum(seen) > 0
        with urllib.request.urlopen(f"{first.address}/", timeout=20) as page:
            assert page.url == f"{first.address}/login?next=/"
    with running(folder) as second:
        assert "sample orders" not in second.output
        assert "set-password" in second.password
        assert send(second.address, second.secret)[0] == 200
        assert send(second.address, first.secret)[0] == 401
        assert [send(second.address, secret)[0] for secret in first.customers] == [401, 401]
    with created(folder) as app, app.app_context():
        alive = [key for key in keys.service.find(q="quickstart") if key.status == "active"]
        names = sorted(key.name for key in alive)
        assert names == ["quickstart", "quickstart of Blue Fir Outfitters", "quickstart of Northwind Tools"]
        with keys.unrestricted("a test"):
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
