"""What the page about the console says is so, with its own applications."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from jinja2 import DictLoader
from werkzeug.security import generate_password_hash

import flask_archie_keys.faces.pages as pages

from .blocks import BLOCKS, first_column, text_of
from .samples import Samples

SECRET_KEY = "for-the-" + "tests-only"
FOLDER = Path(pages.__file__).parent
PROPERTY = re.compile(r"--archie-[a-z-]+")
PASSWORD = "correct-" + "horse"


def block(name: str) -> str:
    (found,) = (each.text for each in BLOCKS if each.name == name)
    return found


def prepared(module: ModuleType) -> FlaskClient:
    """A client of the sample's application, which gives out tokens."""
    module.app.secret_key = SECRET_KEY
    module.app.add_url_rule("/token", "token", generate_csrf)
    client: FlaskClient = module.app.test_client()
    return client


def send(client: FlaskClient, path: str, **form: str) -> Any:
    return client.post(path, data={"csrf_token": client.get("/token").text, **form})


@pytest.fixture
def shop(samples: Samples) -> ModuleType:
    """The application with Flask-Login: an administrator and somebody else."""
    pytest.importorskip("flask_login")
    shop = samples.load("console", "console_login")
    with shop.app.app_context():
        shop.db.create_all()
        password = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
        shop.db.session.add_all(
            shop.User(name=name, password=password, is_admin=name == "ann") for name in ("ann", "bob")
        )
        shop.db.session.commit()
    return shop


def test_with_flask_login(shop: ModuleType) -> None:
    client = prepared(shop)
    assert client.get("/settings/api-keys").location == "/log-in?next=/settings/api-keys"
    answer = client.post("/log-in", data={"name": "ann", "password": PASSWORD})
    assert answer.location == "/settings/api-keys"
    for path in ("api-keys", "roles", "audit"):
        assert client.get(f"/settings/{path}").status_code == 200
    assert send(client, "/settings/api-keys", name="Made", roles="viewer").status_code == 201
    assert send(client, "/settings/api-keys", name="Made, too", roles="key_admin").status_code == 201


def test_somebody_else_gets_the_refusal_as_a_page(shop: ModuleType) -> None:
    client = prepared(shop)
    client.post("/log-in", data={"name": "bob", "password": PASSWORD})
    answer = client.get("/settings/api-keys")
    assert (answer.status_code, answer.mimetype) == (403, "text/html")


def test_with_a_session_of_ones_own(samples: Samples) -> None:
    shop = samples.load("console", "console_session")
    client = prepared(shop)
    shop.app.jinja_loader = DictLoader({"shop.html": block("console-shop")})
    assert client.get("/settings/api-keys").status_code == 401
    with client.session_transaction() as session:
        session["user_id"] = "41"
    with shop.app.app_context():
        shop.keys.service.create(name="Somebody's", roles=["member"], owner="42")
    page = client.get("/settings/api-keys").text
    assert "<header>The shop</header>" in page and "<title>API Keys · Settings</title>" in page
    assert "Somebody" not in page
    for owner, status in (("41", 201), ("42", 403), ("", 403)):
        answer = send(client, "/settings/api-keys", name=f"Of {owner}", owner=owner)
        assert answer.status_code == status, answer.text
    key_id = re.findall(r'value="archie_(\w{12})_', send(client, "/settings/api-keys", name="Mine", owner="41").text)[0]
    assert send(client, f"/settings/api-keys/{key_id}/disable").status_code == 302
    page = client.get(f"/settings/api-keys/{key_id}").text
    assert page.count("The key is stopped. Enabling it undoes that.") == 1


def test_every_property_is_listed() -> None:
    used = set()
    for path in (FOLDER / "static").glob("*.css"):
        text = path.read_text(encoding="utf-8")
        used |= set(PROPERTY.findall(re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)))
    listed = first_column("console", "Colours")
    assert set(listed) == used and len(listed) == len(used)
    assert set(PROPERTY.findall(block("console-colours"))) <= used


def test_every_property_has_a_value_in_both_themes() -> None:
    """All but the one that is no colour."""
    for path in (FOLDER / "static").glob("*.css"):
        text = path.read_text(encoding="utf-8")
        dark = "".join(re.findall(r"@media \(prefers-color-scheme: dark\) \{.*?\n\}", text, re.DOTALL))
        light = text.replace(dark, "")
        defined = [set(re.findall(rf"({PROPERTY.pattern}):", part)) for part in (light, dark)]
        assert defined[0] - {"--archie-radius"} == defined[1], path.name


def test_every_template_is_listed() -> None:
    there = {path.name for path in (FOLDER / "templates" / "archie_keys").glob("*.html")}
    listed = first_column("console", "In your own template")
    assert set(listed) == there and len(listed) == len(there)


def test_the_languages_and_the_policy() -> None:
    assert {path.name for path in (FOLDER / "translations").iterdir()} == {"de", "en"}
    text = text_of("console")
    assert "in English and German" in text
    assert f"``{pages.CONTENT_SECURITY_POLICY}``" in text
