"""The page on row security: its application, its roles of the database and its steps."""

from __future__ import annotations

import contextlib
from types import ModuleType

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import make_url

from flask_archie_keys.store.row_security import row_security

from ..support.postgres import PostgresServer
from ..support.row_security import as_role
from .blocks import DOCS, blocks_of
from .samples import Samples, get, id_of, made, run

pytestmark = pytest.mark.usefixtures("rows_can_be_guarded")
PAGE = DOCS / "row_security.rst"
ROLES, TRUNCATE, TOLD, FIRST = [block.text for block in blocks_of(PAGE) if block.language == "text"]


def test_the_steps(postgres_server: PostgresServer, samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    url = postgres_server.new_database()
    name = str(make_url(url).database)
    owners = as_role(url, "shop_owner")
    create, sign, grants = ROLES.partition("GRANT USAGE ON SCHEMA")
    with psycopg.connect(postgres_server.dsn(name), autocommit=True) as connection:
        for statement in create.split(";"):
            with contextlib.suppress(psycopg.errors.DuplicateObject):
                connection.execute(statement)
        connection.execute(f"ALTER DATABASE {name} OWNER TO shop_owner")
        connection.execute(sign + grants)
    monkeypatch.setenv("OWNER_URL", owners)
    monkeypatch.setenv("FLASK_SQLALCHEMY_DATABASE_URI", as_role(url, "shop_app"))
    monkeypatch.setattr(row_security, "current", row_security.current)
    shop = samples.load("row_security", "secured")
    owner = create_engine(owners)
    shop.db.metadata.create_all(owner)
    owner.dispose()

    eu, us = (made(shop.app, "Key", "--role", "viewer", "--context", f"region={region}") for region in ("eu", "us"))
    assert get(shop.app, "/api/orders", eu).status_code == 500, "the policies are not there yet"
    assert run(shop.app, "row-security", "--check").exit_code == 1
    assert run(shop.app, "row-security", "--apply", "--url-env", "OWNER_URL").exit_code == 0
    assert run(shop.app, "row-security", "--check").output == "Row security holds.\n"
    with psycopg.connect(postgres_server.dsn(name).replace("user=postgres", "user=shop_owner")) as connection:
        assert connection.execute("SELECT count(*) FROM archie_api_keys").fetchone() == (2,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("INSERT INTO orders VALUES (1, 'eu')")
        connection.rollback()
        connection.execute(FIRST)
        connection.execute("INSERT INTO orders VALUES (1, 'eu'), (2, 'us'), (3, 'eu')")
    assert get(shop.app, "/api/orders", eu).json == [1, 3]
    assert get(shop.app, "/api/orders", us).json == [2]
    everything_is_too_much(shop, postgres_server.dsn(name).replace("user=postgres", "user=shop_owner"))
    assert TOLD.startswith("SELECT set_config('archie.grants', '{\"orders:read\":{\"")


def everything_is_too_much(shop: ModuleType, owners: str) -> None:
    """What the page grants is enough for a key's whole life; ``GRANT ALL`` is refused in the words of the page."""
    key = made(shop.app, "Another", "--role", "viewer", "--context", "region=eu")
    for command in (
        ["rotate", id_of(key), "--overlap", "0s"],
        ["delete", id_of(key), "--yes"],
        ["purge", "--deleted-before", "1s"],
    ):
        assert run(shop.app, *command).exit_code == 0, command
    for statement, found in (
        ("GRANT ALL ON ALL TABLES IN SCHEMA public TO shop_app", TRUNCATE),
        ("REVOKE TRUNCATE ON orders FROM shop_app", "Row security holds."),
    ):
        with psycopg.connect(owners, autocommit=True) as connection:
            connection.execute(statement)
        assert run(shop.app, "row-security", "--check").output.strip() == found.strip()
