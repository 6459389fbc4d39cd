"""The samples of the pages run as they stand and do what the text says."""

from __future__ import annotations

import doctest
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask

import flask_archie_keys
from flask_archie_keys import key_rotated, require_api_key
from flask_archie_keys.domain import keytext

from .blocks import CONSOLE, DOCS, PAGES, SAMPLE_ID, blocks_of, lines_of_flask_keys, text_of
from .samples import PEPPER, Samples, get, id_of, made, run


def test_quickstart_with_flask_sqlalchemy(samples: Samples) -> None:
    shop = samples.load("quickstart", "shop")
    app = samples.opened(shop.keys, shop.create_app())
    assert app.config["ARCHIE_KEYS_PEPPERS"] == [PEPPER]
    assert {"archie_api_keys", "archie_audit_events"} <= set(shop.db.metadata.tables)
    page = blocks_of(DOCS / "quickstart.rst")
    steps = [line for block in page if block.language == "console" for line in lines_of_flask_keys(block)]
    assert [step[0] for step in steps] == ["init-db", "doctor", "create", "audit"]
    for step in steps[:2]:
        assert run(app, *step).exit_code == 0
    secret = made(app, *steps[2][1:-1])
    assert get(app, "/api/orders", secret).json == {"orders": [], "asked_by": "Nightly import"}
    assert get(app, "/api/orders").status_code == 401
    assert get(app, "/api/orders", made(app, "No role")).status_code == 403
    shown = run(app, *steps[3])
    assert shown.exit_code == 0
    assert shown.output.count("GET /api/orders") == 3
    assert {"missing_role", "no_credentials", id_of(secret)} <= set(shown.output.split())


def test_quickstart_without_a_database(samples: Samples) -> None:
    plain = samples.load("quickstart", "plain")
    secret = made(plain.app, "Ada")
    assert get(plain.app, "/hello", secret).text == "Hello, Ada!"
    assert get(plain.app, "/hello").status_code == 401
    assert (Path(plain.app.instance_path) / "archie_keys.sqlite").is_file()
    assert Path(plain.app.instance_path).is_relative_to(samples.folder)


@pytest.mark.parametrize("by_hand", [False, True])
def test_quickstart_with_flask_sqlalchemy_lite(samples: Samples, by_hand: bool) -> None:
    lite = samples.load("quickstart", "lite")
    app = samples.opened(lite.keys, lite.create_app())
    if by_hand:
        assert run(app, "init-db").exit_code == 0
    else:
        with app.app_context():
            lite.Model.metadata.create_all(lite.db.engine)
    assert get(app, "/hello", made(app, "Ada")).text == "Hello, Ada!"


@pytest.fixture
def protecting(samples: Samples) -> ModuleType:
    return samples.load("protecting", "protecting")


def test_protecting_each_kind_of_view(protecting: ModuleType) -> None:
    app = protecting.app
    plain = made(app, "Plain")
    viewer = made(app, "Viewer", "--role", "viewer")
    editor = made(app, "Editor", "--role", "editor", "--role", "auditor")
    key = {"key": id_of(plain)}
    assert get(app, "/api/status", plain).json == key
    assert get(app, "/api/orders", viewer).json == get(app, "/api/orders", editor).json == {"orders": []}
    assert get(app, "/api/orders", plain).status_code == 403
    assert get(app, "/api/orders/7", editor, "DELETE").status_code == 204
    assert get(app, "/api/orders/7", made(app, "Half", "--role", "editor"), "DELETE").status_code == 403
    assert get(app, "/api/catalogue", plain).json == {"prices": "net", "for": "Plain"}
    assert get(app, "/api/catalogue").json == {"prices": "gross"}
    assert get(app, "/api/catalogue", plain[:-1]).status_code == 401
    assert get(app, "/api/slow", plain).json == key
    assert get(app, "/api/export", plain).text == "0,Plain\n1,Plain\n2,Plain\n"
    assert get(app, "/api/show/4", plain).json == {"kind": "order", "number": 4}
    assert get(app, "/api/reports", viewer).json == {"reports": []}
    assert get(app, "/api/reports", plain).status_code == 403
    for path in ("/api/status", "/api/slow", "/api/export", "/api/show/4", "/api/reports", "/api/monthly/"):
        assert get(app, path).status_code == 401, path
        assert get(app, path, method="OPTIONS").status_code == 200, path


def test_protecting_a_blueprint(protecting: ModuleType) -> None:
    app = protecting.app
    viewer = made(app, "Viewer", "--role", "viewer")
    both = made(app, "Both", "--role", "viewer", "--role", "editor")
    assert get(app, "/api/monthly/", viewer).json == {"key": id_of(viewer)}
    assert get(app, "/api/monthly/", viewer, "DELETE").status_code == 403
    assert get(app, "/api/monthly/", both, "DELETE").status_code == 204
    with app.app_context():
        events = [e for e in protecting.keys.audit.find() if e.kind == "request"]
    assert [(e.outcome, e.status) for e in reversed(events)] == [("allowed", 200), ("denied", 403), ("allowed", 204)]


def test_protecting_beside_others(protecting: ModuleType) -> None:
    app = protecting.app
    app.secret_key = "not-" + "a-pepper"
    secret = made(app, "Ada")
    assert get(app, "/api/mixed", secret).json == {"by": f"key:{id_of(secret)}"}
    jwt = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl"
    for headers in ({}, {"Authorization": f"Bearer {jwt}"}, {"Authorization": "Basic YTpi"}):
        turned_away = get(app, "/api/mixed", **headers)
        assert turned_away.status_code == 401
        assert turned_away.content_type.startswith("text/html")  # the view's own abort(401), not ours
    assert get(app, "/api/mixed", f"archie_{jwt}").content_type == "application/problem+json"
    assert get(app, "/api/mixed", Authorization="Bearer a b").status_code == 400
    client = app.test_client()
    with client.session_transaction() as session:
        session["user_id"] = 42
    assert client.get("/api/mixed").json == {"by": "user:42"}
    with app.app_context():
        recorded = [e for e in protecting.keys.audit.find() if e.kind == "request"]
    assert [(e.outcome, e.status) for e in recorded] == [("refused", 400), ("refused", 401), ("allowed", 200)]


CHALLENGE = 'Bearer realm="default"'


@pytest.mark.parametrize(
    ("authorization", "status", "challenge"),
    [
        (None, 401, CHALLENGE),
        ("Basic YTpi", 401, CHALLENGE),
        ("Bearer", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer\tKEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEY KEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEY,Bearer KEY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KÉY", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer " + 257 * "a", 400, f'{CHALLENGE}, error="invalid_request"'),
        ("Bearer KEYa", 401, f'{CHALLENGE}, error="invalid_token"'),
        ("bEARER  KEY", 403, f'{CHALLENGE}, error="insufficient_scope", scope="viewer editor"'),
    ],
)
def test_the_table_of_statuses(protecting: ModuleType, authorization: str | None, status: int, challenge: str) -> None:
    secret = made(protecting.app, "No role")
    headers = {} if authorization is None else {"Authorization": authorization.replace("KEY", secret)}
    response = get(protecting.app, "/api/orders", **headers)
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (status, challenge)
    assert f"``{challenge}``" in text_of("protecting")
    if challenge.endswith('"invalid_token"'):
        body = next(b for b in blocks_of(DOCS / "protecting.rst") if b.language == "json")
        assert response.json == json.loads(body.text)


def test_allowed_networks_of_the_page(protecting: ModuleType) -> None:
    line = next(line for block, line in CONSOLE if block.path.stem == "protecting")
    secret = made(protecting.app, *line[1:])
    for address, status in {
        "198.51.100.7": 200,
        "::ffff:198.51.100.7": 200,
        "2001:db8::1": 200,
        "203.0.113.1": 403,
        "": 403,
    }.items():
        response = protecting.app.test_client().get(
            "/api/orders",
            headers={"Authorization": f"Bearer {secret}", "X-Forwarded-For": "198.51.100.7"},
            environ_overrides={"REMOTE_ADDR": address},
        )
        assert response.status_code == status, address
        if status == 403:
            assert response.headers["WWW-Authenticate"] == f'{CHALLENGE}, error="insufficient_scope"'


def test_what_the_order_of_decorators_lets_pass(samples: Samples) -> None:
    """The open twin of a guarded view is refused; a decorator without ``wraps`` hides the mistake."""

    def unwrapped(view: Callable[[], str]) -> Callable[[], str]:
        return lambda: view()

    def list_orders() -> str:
        return "orders"

    twins, hidden = (_with_peppers(samples, samples.folder, [PEPPER]) for _ in range(2))
    twins.add_url_rule("/api/orders", "orders", require_api_key(list_orders))
    twins.add_url_rule("/orders", "open_orders", list_orders)
    assert get(twins, "/orders").status_code == get(twins, "/api/orders").status_code == 500
    require_api_key(unwrapped(hidden.get("/hidden")(lambda: "open")))
    assert get(hidden, "/hidden").text == "open"
    hidden = _with_peppers(samples, samples.folder, [PEPPER])
    hidden.add_url_rule("/below", "below", unwrapped(require_api_key(roles=["viewer"])(lambda: "in")))
    assert get(hidden, "/below").status_code == 401
    assert "viewer" not in run(hidden, "roles", "list").output


def test_a_misplaced_decorator_is_found_out(samples: Samples, caplog: pytest.LogCaptureFixture) -> None:
    app = samples.load("protecting", "misplaced").app
    for path in ("/api/orders", "/another", "/api/orders"):
        assert get(app, path).status_code == 500
    records = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert len(records) == 3
    assert all(f"``{message}``" in text_of("protecting") for message in records)
    doctor = run(app, "doctor")
    assert doctor.exit_code == 1
    assert "list_orders" in doctor.output


def test_rotation_on_the_command_line(samples: Samples) -> None:
    rotation = samples.load("rotation", "rotation")
    app = rotation.app
    old = made(app, "CI")
    assert get(app, "/api/orders", old).status_code == 200
    page = [b for b in blocks_of(DOCS / "rotation.rst") if b.language == "console"]
    steps = [[id_of(old) if w == SAMPLE_ID else w for w in line] for line in lines_of_flask_keys(page[0])]
    assert [step[0] for step in steps] == ["rotate", "traffic", "audit", "delete"]
    rotated = run(app, *steps[0])
    assert rotated.exit_code == 0
    new = re.findall(r"secret +(\S+)", rotated.stdout)[0]
    for secret in (old, new):
        assert get(app, "/api/orders", secret).status_code == 200
    assert re.search(r"status +retiring", run(app, "show", id_of(old)).output)
    traffic = run(app, *steps[1])
    assert re.search(r"safe to delete +no", traffic.output)
    assert len(re.findall(r"^\d{4}-\d\d-\d\dT\d\d:00Z", traffic.output, re.MULTILINE)) == 24
    assert "GET /api/orders" in run(app, *steps[2]).output
    assert run(app, *steps[3]).exit_code == 3
    assert get(app, "/api/orders", old).status_code == 200
    history = run(app, "audit", "--key", id_of(new), "--lineage").output
    assert {id_of(old), id_of(new), "key.rotated"} <= set(history.split())


def test_rotation_in_python(samples: Samples) -> None:
    rotation = samples.load("rotation", "rotation")
    app, keys = rotation.app, rotation.keys
    old = made(app, "CI")
    with app.app_context():
        new_id, new = rotation.begin(id_of(old))
        assert keys.service.get(id_of(old)).status == "retiring"
        with pytest.raises(flask_archie_keys.Conflict):
            rotation.begin(id_of(old))
    assert get(app, "/api/orders", old, **{"User-Agent": "the old one"}).status_code == 200
    assert get(app, "/api/orders", new).status_code == 200
    with app.app_context():
        assert rotation.users_of(id_of(old)) == {("127.0.0.1", "the old one")}
        assert rotation.finish(id_of(old)) is False
        keys.service.rotate(new_id, overlap=rotation.timedelta(0))
        assert keys.traffic(new_id).safe_to_delete
        assert rotation.finish(new_id) is True
        assert keys.service.get(new_id).status == "deleted"
    assert get(app, "/api/orders", new).status_code == 401
    assert get(app, "/api/orders", old).status_code == 200


def test_configuration(samples: Samples) -> None:
    app = samples.load("configuration", "configuration").app
    secret = made(app, "CI", "--role", "auditor")
    assert secret.startswith("shop_")
    assert "project      shop" in run(app, "show", id_of(secret)).output
    assert run(app, "create", "CI", "--expires", "366d").exit_code == 1


@pytest.mark.parametrize(
    ("step", "statuses"),
    [
        # the processes of the step are started beside the old ones, and use the key first
        ("first", {"step": 200, "old": 200}),
        ("then", {"step": 200, "old": 401, "at_last": 200, "first": 200}),
    ],
)
@pytest.mark.parametrize("sample", ["peppers", "first_pepper"])
def test_rolling_the_pepper(samples: Samples, tmp_path: Path, sample: str, step: str, statuses: dict[str, int]) -> None:
    page = samples.load("configuration", sample)
    new, old = page.first
    assert (page.then, page.at_last) == ([old, new], [new])
    before = [old] if old else []
    peppers = {"old": before, "at_last": [new], "first": page.first, "then": page.then, "step": getattr(page, step)}
    secret = made(_with_peppers(samples, tmp_path, before), "CI")
    assert {
        name: get(_with_peppers(samples, tmp_path, peppers[name]), "/", secret).status_code for name in statuses
    } == statuses


def test_a_key_that_was_not_used_in_time_is_lost_with_the_old_pepper(samples: Samples, tmp_path: Path) -> None:
    page = samples.load("configuration", "first_pepper")
    secret = made(_with_peppers(samples, tmp_path, []), "CI")
    assert get(_with_peppers(samples, tmp_path, page.at_last), "/", secret).status_code == 401


def _with_peppers(samples: Samples, folder: Path, peppers: list[str]) -> Flask:
    app = Flask("shop", instance_path=str(folder / "instance"))
    app.config["ARCHIE_KEYS_PEPPERS"] = peppers
    samples.opened(flask_archie_keys.ArchieKeys(app), app)
    app.add_url_rule("/", view_func=require_api_key(lambda: "in"), endpoint="view")
    return app


def test_errors_as_problem_documents(samples: Samples) -> None:
    sample = samples.load("errors", "errors")
    app, keys = sample.app, sample.keys
    secret = made(app, "CI", "--role", "administrator", "--role", "viewer")
    asked = {"Authorization": f"Bearer {secret}"}
    response = app.test_client().post("/keys", json={"name": "", "roles": ["vewer"]}, headers=asked)
    shown = next(b for b in blocks_of(DOCS / "errors.rst") if b.language == "json")
    assert (response.status_code, response.content_type) == (422, "application/problem+json")
    assert response.json == json.loads(shown.text)
    response = app.test_client().post("/keys", json={"name": "New", "roles": ["viewer"]}, headers=asked)
    assert response.status_code == 201
    assert response.json["secret"].startswith("archie_")
    with app.test_request_context():  # where nobody acts: as the system
        page = app.handle_user_exception(_raised(lambda: keys.service.get(SAMPLE_ID)))
    assert page == ("<h1>There is no such key</h1>", 404)


def test_what_is_behind_a_503_is_for_logs(samples: Samples, caplog: pytest.LogCaptureFixture) -> None:
    sample = samples.load("errors", "errors")
    error = flask_archie_keys.StoreUnavailable("the key store cannot be used")
    error.__cause__ = OSError("disk on fire")
    with sample.app.test_request_context():
        body, status, headers = sample.app.handle_user_exception(error)
    assert (body, status, headers) == ({"error": "try again"}, 503, {"Retry-After": "1"})
    assert "the key store cannot be used: disk on fire" in caplog.text


def test_whose_handler_is_found(samples: Samples) -> None:
    """One for our class is found, whenever it is registered; one for ``Exception`` is not."""

    def answer(register: Callable[[Flask], None], *, before: bool) -> Any:
        app = Flask("shop", instance_path=str(samples.folder / "instance"))
        if before:
            register(app)
        samples.opened(flask_archie_keys.ArchieKeys(app), app)
        if not before:
            register(app)
        app.add_url_rule("/", view_func=lambda: samples.apps[-1][0].service.get(SAMPLE_ID).name, endpoint="view")
        return get(app, "/").text == "mine"

    def ours(app: Flask) -> None:
        app.register_error_handler(flask_archie_keys.ServiceError, lambda error: ("mine", 404))

    def any_(app: Flask) -> None:
        app.register_error_handler(Exception, lambda error: ("mine", 500))

    assert answer(ours, before=False)
    assert answer(ours, before=True)
    assert not answer(any_, before=False)


def _raised(job: Callable[[], object]) -> Exception:
    try:
        job()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_signals(samples: Samples, caplog: pytest.LogCaptureFixture) -> None:
    sample = samples.load("signals", "signals")
    app = _with_peppers(samples, samples.folder, [PEPPER])
    app.logger.setLevel("INFO")
    old = id_of(made(app, "CI"))
    assert run(app, "rotate", old, "--overlap", "0s").exit_code == 0
    key_rotated.disconnect(sample.tell_the_owner)
    assert [r.getMessage() for r in caplog.records if f"replaces {old}, by system" in r.getMessage()]


def test_reading_the_audit_log(samples: Samples) -> None:
    app = _with_peppers(samples, samples.folder, [PEPPER])
    assert get(app, "/").status_code == 401
    sample = samples.load("audit", "audit")
    with app.app_context():
        assert sample.refused_today(samples.apps[0][0]) == [("no_credentials", "127.0.0.1")]


# -- key text


def test_the_key_format_page_runs() -> None:
    """Its examples are right, and its checksum is the package's."""
    text = (DOCS / "keyformat.rst").read_text(encoding="utf-8")
    assert text.count(keytext.PATTERN) == 2
    names: dict[str, Any] = {}
    test = doctest.DocTestParser().get_doctest(text, names, "keyformat.rst", None, 0)
    report: list[str] = []
    results = doctest.DocTestRunner().run(test, out=report.append, clear_globs=False)
    assert results.attempted >= 10
    assert not results.failed, "".join(report)
    is_key: Callable[[str], bool] = test.globs["is_key"]
    for prefix in ("a", "archie", "archie_test", "x" * 32):
        new = keytext.mint(prefix).text
        assert is_key(new)
        assert not is_key(new[:-1] + ("0" if new[-1] != "0" else "1"))
    for bad in ("a_", "A", "1"):
        body = f"{bad}_{SAMPLE_ID}_{'0' * 32}"
        assert not is_key(body + keytext.checksum(body))


def test_only_the_key_format_page_has_doctests() -> None:
    """Another page with examples of that form would need a test of its own."""
    assert [path.name for path in PAGES if ">>>" in path.read_text(encoding="utf-8")] == ["keyformat.rst"]
