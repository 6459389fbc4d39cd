"""What the fields of queries and mutations call: the services, with the inputs and shapes of the JSON API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from graphql import Undefined
from msgspec import structs

from ...context import Environment, current_environment, current_profile
from ...domain.records import CreatedKey
from ...domain.records import Key as KeyRecord
from ...errors import BadRequest
from .. import json_input, schemas
from ..api.keys import change
from ..inputs import READ_ONLY, EventQuery, KeyPatch, KeyQuery, NewKey, Rotation, SavedRole

T = TypeVar("T")
Resolver = Callable[..., Any]
RESOLVERS: dict[str, dict[str, Resolver]] = {"Query": {}, "Mutation": {}}


def _resolver(type_name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a function the resolver of the field of its name.

    It is called with the environment and the field's arguments, by the names that these have there.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        def resolve(_root: object, _info: object, **arguments: Any) -> Any:
            return function(current_environment(), **_given(arguments))

        first, *others = function.__name__.split("_")
        RESOLVERS[type_name][first + "".join(part.capitalize() for part in others)] = resolve
        return function

    return add


def _given(value: Any) -> Any:
    """A value without what was left out inside of it: an object of JSON may name a variable that was not given."""
    if isinstance(value, dict):
        return {name: _given(member) for name, member in value.items() if member is not Undefined}
    if isinstance(value, list):
        return [_given(member) for member in value if member is not Undefined]
    return value


def _query(of: type[T], given: Mapping[str, Any]) -> T:
    """Filters. Null is as good as left out: callers have one document and leave variables empty.

    :raises BadRequest: for one that is wrong.
    """
    try:
        return msgspec.convert({name: value for name, value in given.items() if value is not None}, of)
    except msgspec.ValidationError as error:
        raise BadRequest(f"the arguments are wrong: {error}") from None


# -- queries


@_resolver("Query")
def api_keys(environment: Environment, **given: Any) -> Any:
    query = _query(KeyQuery, given)
    return schemas.plain(schemas.page(environment.service.find(**structs.asdict(query)), schemas.key, query.limit))


@_resolver("Query")
def api_key(environment: Environment, id: str) -> Any:
    return _key(environment.service.get(id))


@_resolver("Query")
def roles(environment: Environment) -> Any:
    found = environment.roles.find()
    return schemas.plain(schemas.page(found, schemas.role, len(found)))


@_resolver("Query")
def role(environment: Environment, name: str) -> Any:
    return schemas.plain(schemas.role(environment.roles.get(name)))


@_resolver("Query")
def audit_events(environment: Environment, **given: Any) -> Any:
    query = _query(EventQuery, given)
    return schemas.plain(schemas.page(environment.audit.find(**structs.asdict(query)), schemas.event, query.limit))


@_resolver("Query")
def me(environment: Environment) -> Any:
    return schemas.plain(schemas.me(current_profile()))


# -- changes


@_resolver("Mutation")
def create_api_key(environment: Environment, input: Any, **given: Any) -> Any:
    wanted = json_input.convert(input, NewKey, READ_ONLY).wanted()
    return _created(environment.service.create(**wanted, idempotency_key=given.get("idempotencyKey")))


@_resolver("Mutation")
def update_api_key(environment: Environment, id: str, input: Any, version: int | None = None) -> Any:
    return _key(change(id, json_input.convert(input, KeyPatch, READ_ONLY), version))


@_resolver("Mutation")
def rotate_api_key(environment: Environment, id: str, **given: Any) -> Any:
    wanted = json_input.convert({"overlapSeconds": given.get("overlapSeconds")}, Rotation)
    return _created(environment.service.rotate(id, overlap=wanted.overlap, idempotency_key=given.get("idempotencyKey")))


@_resolver("Mutation")
def disable_api_key(environment: Environment, id: str) -> Any:
    return _key(environment.service.disable(id))


@_resolver("Mutation")
def enable_api_key(environment: Environment, id: str) -> Any:
    return _key(environment.service.enable(id))


@_resolver("Mutation")
def delete_api_key(environment: Environment, id: str, **given: Any) -> Any:
    return _key(environment.service.delete(id, only_if_quiet=bool(given.get("onlyIfQuiet"))))


@_resolver("Mutation")
def save_role(environment: Environment, name: str, input: Any, version: int | None = None) -> Any:
    wanted = json_input.convert(input, SavedRole).wanted()
    return schemas.plain(schemas.role(environment.roles.save(name, **wanted, version=version)))


@_resolver("Mutation")
def delete_role(environment: Environment, name: str, **given: Any) -> Any:
    environment.roles.delete(name, take_from_keys=bool(given.get("takeFromKeys")))
    return {"name": name}


def _key(record: KeyRecord) -> Any:
    return schemas.plain(schemas.key(record))


def _created(created: CreatedKey) -> Any:
    return {"secret": created.secret, "apiKey": _key(created.key)}
