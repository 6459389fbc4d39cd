"""Not run, only type-checked: what a host writes, and the types that it gets. See ``tests/test_typing.py``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, ClassVar, assert_type

from flask import Blueprint, Flask, Response
from flask.views import MethodView
from flask_sqlalchemy import SQLAlchemy

from flask_archie_keys import (
    ArchieKeys,
    CreatedKey,
    FieldError,
    Key,
    Page,
    Principal,
    Traffic,
    ValidationFailed,
    current_api_key,
    current_principal,
    key_created,
    require_api_key,
)
from flask_archie_keys.client import ArchieKeysClient, AsyncArchieKeysClient

# -- as in README

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///shop.sqlite"
app.config.from_prefixed_env()
db = SQLAlchemy(app)
keys = ArchieKeys(app, db)


@app.get("/api/orders")
@require_api_key(roles=["viewer", "editor"])
def list_orders() -> dict[str, Any]:
    return {"orders": [], "asked_by": current_api_key.name}


# -- one object for many applications

later = ArchieKeys()
later.init_app(app)
later.init_app(app, db)
later.init_app(app, db=db, metadata=db.metadata)

# -- the decorator keeps the signature of the view: bare, and with arguments


@require_api_key
def bare(number: int, verbose: bool = False) -> str:
    return str(number)


@require_api_key(roles={"viewer"}, match="all", optional=True)
def with_arguments(number: int, *, verbose: bool = False) -> Response:
    return Response(str(number))


@require_api_key()
async def asynchronous(number: int) -> dict[str, int]:
    return {"number": number}


@require_api_key
async def asynchronous_bare(number: int) -> dict[str, int]:
    return {"number": number}


@require_api_key
def stream(number: int) -> Iterator[str]:
    yield str(number)


assert_type(bare(7, verbose=True), str)
assert_type(with_arguments(7, verbose=True), Response)
assert_type(stream(7), Iterator[str])
kept: Callable[[int], Awaitable[dict[str, int]]] = asynchronous
kept_bare: Callable[[int], Awaitable[dict[str, int]]] = asynchronous_bare


async def awaited() -> None:
    assert_type(await asynchronous(7), dict[str, int])
    assert_type(await asynchronous_bare(number=7), dict[str, int])


class Orders(MethodView):
    decorators: ClassVar = [require_api_key, require_api_key(roles=["viewer"])]

    @require_api_key
    def get(self, number: int) -> str:
        assert_type(self, Orders)
        return str(number)


assert_type(Orders().get(7), str)

# -- guards

blueprint = Blueprint("api", __name__)
blueprint.before_request(keys.guard(roles=["viewer"]))
assert_type(keys.guard(), Callable[[], Response | None])

# -- the current key


def whoami() -> dict[str, Any]:
    assert_type(current_api_key, Principal)
    assert_type(current_principal(), Principal | None)
    assert_type(current_api_key.id, str)
    assert_type(current_api_key.roles, tuple[str, ...])
    region = current_api_key.context.get("region")
    if isinstance(region, str):
        assert_type(region, str)
    return {"id": current_api_key.id, "region": region}


# -- managing


def manage() -> None:
    created = keys.service.create(name="CI", roles=["viewer"], context={"region": "eu", "ids": [1, 2]})
    assert_type(created, CreatedKey)
    assert_type(created.secret, str)
    assert_type(created.key, Key)
    assert_type(keys.service.rotate(created.key.id, overlap=timedelta(hours=1)).secret, str)
    assert_type(keys.service.find(status="active", limit=20), Page[Key])
    for key in keys.service.find():
        assert_type(key, Key)
    assert_type(keys.service.find()[0], Key)
    assert_type(keys.service.get("7f3Kq2Zt9bXa").name, str)
    assert_type(keys.service.update("7f3Kq2Zt9bXa", version=1, name="x"), Key)
    assert_type(keys.service.delete("7f3Kq2Zt9bXa", only_if_quiet=True), Key)
    assert_type(keys.traffic("7f3Kq2Zt9bXa"), Traffic)
    assert_type(keys.traffic("7f3Kq2Zt9bXa").safe_to_delete, bool)
    for event in keys.audit.find(key="7f3Kq2Zt9bXa", lineage=True):
        assert_type(event.status, int | None)
        assert_type(event.details, Mapping[str, object])
    assert_type(keys.for_environment("staging").service.create(name="x").secret, str)
    try:
        keys.service.create(name="")
    except ValidationFailed as refused:
        assert_type(refused.errors, tuple[FieldError, ...])


def from_elsewhere(client: ArchieKeysClient) -> None:
    assert_type(client.keys.create(name="CI", roles=["viewer"], context={"ids": (1, 2)}), CreatedKey)
    assert_type(client.keys.find(status="active"), Page[Key])
    assert_type(client.keys.update("7f3Kq2Zt9bXa", version=None, expires_at=None, context={"region": None}), Key)
    assert_type(client.keys.traffic("7f3Kq2Zt9bXa"), Traffic)
    assert_type(client.me().principal, Principal)
    for key in client.keys.each(role="viewer"):
        assert_type(key, Key)
    for event in client.audit.stream(outcome="refused"):
        assert_type(event.status, int | None)


async def from_elsewhere_later(client: AsyncArchieKeysClient) -> None:
    assert_type(await client.keys.rotate("7f3Kq2Zt9bXa", overlap=timedelta(0)), CreatedKey)
    async for key in client.keys.each():
        assert_type(key, Key)


def created_somewhere(sender: Flask, key: Key, actor: str) -> None:
    sender.logger.info("%s was made by %s", key.name, actor)


key_created.connect(created_somewhere, app)
