"""The five faces behind one set of methods: what they answer as plain JSON, what they refuse as a problem document."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import httpx

from flask_archie_keys import CreatedKey, ServiceError
from flask_archie_keys.client import ArchieKeysClient
from flask_archie_keys.domain.clock import isoformat
from flask_archie_keys.faces import problems, schemas
from flask_archie_keys.services.explain import principal_of

from ..conftest import Host

Plain = dict[str, Any]


class Refused(Exception):
    """A problem document."""

    def __init__(self, problem: Plain) -> None:
        super().__init__(problem)
        self.problem = problem


@contextmanager
def refusals() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        raise Refused(problems.body(error)) from None


class Face:
    """A face, used by one key.

    :param actor: who acts, where the face can say so; the command line is always the system.
    """

    name: str

    def __init__(self, host: Host, actor: CreatedKey) -> None:
        self.host = host
        self.actor = actor
        self.acts_as = actor.key.created_by if self.name == "command line" else f"key:{actor.key.id}"


def _created(created: CreatedKey) -> Plain:
    return schemas.plain(schemas.created_key(created))  # type: ignore[no-any-return]


def _key(record: Any) -> Plain:
    return schemas.plain(schemas.key(record))  # type: ignore[no-any-return]


def _role(record: Any) -> Plain:
    return schemas.plain(schemas.role(record))  # type: ignore[no-any-return]


def _list(records: Any, shape: Callable[[Any], Plain]) -> Plain:
    return {"data": [shape(record) for record in records], "more": records.next_cursor is not None}


def _event(record: Any) -> Plain:
    return schemas.plain(schemas.event(record))  # type: ignore[no-any-return]


class Python(Face):
    """The services, called in the process."""

    name = "Python"

    def _do(self, job: Callable[[Any], Any]) -> Any:
        with refusals(), self.host.acting(principal_of(self.actor.key)):
            return job(self.host.keys)

    def create(self, **given: Any) -> Plain:
        return self._do(lambda keys: _created(keys.service.create(**given)))

    def get(self, key_id: str) -> Plain:
        return self._do(lambda keys: _key(keys.service.get(key_id)))

    def find(self, **given: Any) -> Plain:
        return self._do(lambda keys: _list(keys.service.find(**given), _key))

    def update(self, key_id: str, version: int | None, **changes: Any) -> Plain:
        return self._do(lambda keys: _key(keys.service.update(key_id, version=version, **changes)))

    def rotate(self, key_id: str, **given: Any) -> Plain:
        return self._do(lambda keys: _created(keys.service.rotate(key_id, **given)))

    def disable(self, key_id: str) -> Plain:
        return self._do(lambda keys: _key(keys.service.disable(key_id)))

    def enable(self, key_id: str) -> Plain:
        return self._do(lambda keys: _key(keys.service.enable(key_id)))

    def delete(self, key_id: str, **given: Any) -> Plain:
        return self._do(lambda keys: _key(keys.service.delete(key_id, **given)))

    def traffic(self, key_id: str) -> Plain:
        return self._do(lambda keys: schemas.plain(schemas.traffic(keys.traffic(key_id))))

    def save_role(self, name: str, **given: Any) -> Plain:
        return self._do(lambda keys: _role(keys.roles.save(name, **given)))

    def get_role(self, name: str) -> Plain:
        return self._do(lambda keys: _role(keys.roles.get(name)))

    def delete_role(self, name: str, **given: Any) -> None:
        self._do(lambda keys: keys.roles.delete(name, **given))

    def events(self, **given: Any) -> Plain:
        return self._do(lambda keys: _list(keys.audit.find(**given), _event))

    def explain(self, key_id: str, **given: Any) -> Plain:
        return self._do(lambda keys: schemas.plain(schemas.explanation(keys.explain(key_id, **given))))


class Client(Face):
    """The client, over the JSON API."""

    name = "client"

    def _do(self, job: Callable[[ArchieKeysClient], Any]) -> Any:
        transport = httpx.WSGITransport(self.host.app)
        with (
            refusals(),
            ArchieKeysClient("http://localhost/archie/v1", self.actor.secret, transport=transport) as client,
        ):
            return job(client)

    def create(self, **given: Any) -> Plain:
        return self._do(lambda client: _created(client.keys.create(**given)))

    def get(self, key_id: str) -> Plain:
        return self._do(lambda client: _key(client.keys.get(key_id)))

    def find(self, **given: Any) -> Plain:
        return self._do(lambda client: _list(client.keys.find(**given), _key))

    def update(self, key_id: str, version: int | None, **changes: Any) -> Plain:
        return self._do(lambda client: _key(client.keys.update(key_id, version=version, **changes)))

    def rotate(self, key_id: str, **given: Any) -> Plain:
        return self._do(lambda client: _created(client.keys.rotate(key_id, **given)))

    def disable(self, key_id: str) -> Plain:
        return self._do(lambda client: _key(client.keys.disable(key_id)))

    def enable(self, key_id: str) -> Plain:
        return self._do(lambda client: _key(client.keys.enable(key_id)))

    def delete(self, key_id: str, **given: Any) -> Plain:
        return self._do(lambda client: _key(client.keys.delete(key_id, **given)))

    def traffic(self, key_id: str) -> Plain:
        return self._do(lambda client: schemas.plain(schemas.traffic(client.keys.traffic(key_id))))

    def save_role(self, name: str, **given: Any) -> Plain:
        return self._do(lambda client: _role(client.roles.save(name, **given)))

    def get_role(self, name: str) -> Plain:
        return self._do(lambda client: _role(client.roles.get(name)))

    def delete_role(self, name: str, **given: Any) -> None:
        self._do(lambda client: client.roles.delete(name, **given))

    def events(self, **given: Any) -> Plain:
        return self._do(lambda client: _list(client.audit.find(**given), _event))

    def explain(self, key_id: str, **given: Any) -> Plain:
        found = self._do(lambda client: client.explain(key_id, **given))
        members = {name: getattr(found, name) for name in ("allowed", "filter", "sql", "parameters")}
        return {"keyId": found.key_id, "checks": [check._asdict() for check in found.checks], **members}


def camel(given: dict[str, Any]) -> Plain:
    """Arguments as they are in JSON."""
    return {_camel(name): _json(value) for name, value in given.items()}


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return isoformat(value) if value.tzinfo else value.isoformat()
    return list(value) if isinstance(value, tuple) else value


def _overlap(given: dict[str, Any]) -> Plain:
    overlap: timedelta | None = given.get("overlap")
    return {} if overlap is None else {"overlapSeconds": int(overlap.total_seconds())}


class Json(Face):
    """The JSON API."""

    name = "JSON"

    def _ask(self, method: str, path: str, body: Any = None, query: Plain | None = None, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {self.actor.secret}", **headers}
        given = {} if body is None else {"json": body}
        asked = {name: "true" if value is True else value for name, value in camel(query or {}).items() if value}
        answer = self.host.client.open(f"/archie/v1{path}", method=method, headers=sent, query_string=asked, **given)
        if answer.status_code >= 400:
            raise Refused(answer.json)
        return answer.json

    def _list(self, path: str, query: Plain) -> Plain:
        answer = self._ask("GET", path, query=query)
        return {"data": answer["data"], "more": answer["meta"]["pagination"]["hasNextPage"]}

    def create(self, idempotency_key: str | None = None, **given: Any) -> Plain:
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return self._ask("POST", "/keys", camel(given), **headers)["data"]  # type: ignore[no-any-return]

    def get(self, key_id: str) -> Plain:
        return self._ask("GET", f"/keys/{key_id}")["data"]  # type: ignore[no-any-return]

    def find(self, **given: Any) -> Plain:
        return self._list("/keys", given)

    def update(self, key_id: str, version: int | None, **changes: Any) -> Plain:
        headers = {"If-Match": "*" if version is None else f'"{version}"'}
        return self._ask("PATCH", f"/keys/{key_id}", camel(changes), **headers)["data"]  # type: ignore[no-any-return]

    def rotate(self, key_id: str, **given: Any) -> Plain:
        return self._ask("POST", f"/keys/{key_id}/rotate", _overlap(given))["data"]  # type: ignore[no-any-return]

    def disable(self, key_id: str) -> Plain:
        return self._ask("POST", f"/keys/{key_id}/disable")["data"]  # type: ignore[no-any-return]

    def enable(self, key_id: str) -> Plain:
        return self._ask("POST", f"/keys/{key_id}/enable")["data"]  # type: ignore[no-any-return]

    def delete(self, key_id: str, **given: Any) -> Plain:
        return self._ask("DELETE", f"/keys/{key_id}", query=given)["data"]  # type: ignore[no-any-return]

    def traffic(self, key_id: str) -> Plain:
        return self._ask("GET", f"/keys/{key_id}/traffic")["data"]  # type: ignore[no-any-return]

    def save_role(self, name: str, version: int | None = None, **given: Any) -> Plain:
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return self._ask("PUT", f"/roles/{name}", camel(given), **headers)["data"]  # type: ignore[no-any-return]

    def get_role(self, name: str) -> Plain:
        return self._ask("GET", f"/roles/{name}")["data"]  # type: ignore[no-any-return]

    def delete_role(self, name: str, **given: Any) -> None:
        self._ask("DELETE", f"/roles/{name}", query=given)

    def events(self, **given: Any) -> Plain:
        return self._list("/audit", given)

    def explain(self, key_id: str, **given: Any) -> Plain:
        return self._ask("POST", "/explain", {"keyId": key_id, **camel(given)})["data"]  # type: ignore[no-any-return]


_KEY = """id name prefix hint project environment roles context owner status createdAt createdBy expiresAt lastUsedAt
 disabledAt deletedAt replaces replacedBy rateLimit allowedNetworks version"""
_ROLE = """name description grants { resource read write update delete filter } source project environment createdAt
 updatedAt version lockedOut"""
_EVENT = """id occurredAt project environment kind keyId actor outcome reason method route path status durationMs
 remoteAddress userAgent requestId count truncated streamed details"""


class GraphQL(Face):
    """The GraphQL face; every argument is a variable."""

    name = "GraphQL"

    def _ask(self, kind: str, field: str, selection: str, /, **arguments: tuple[str, Any]) -> Any:
        given = {name: (of, value) for name, (of, value) in arguments.items() if value is not None}
        head = ", ".join(f"${name}: {of}" for name, (of, _) in given.items())
        tail = ", ".join(f"{name}: ${name}" for name in given)
        document = f"{kind} A({head}) {{ {field}({tail}) {{ {selection} }} }}"
        variables = {name: value for name, (_, value) in given.items()}
        answer = self.host.client.post(
            "/archie/v1/graphql",
            headers={"Authorization": f"Bearer {self.actor.secret}"},
            json={"query": document, "variables": variables},
        )
        assert answer.status_code == 200, answer.text
        for error in answer.json.get("errors", ()):
            raise Refused(error["extensions"])
        return answer.json["data"][field]

    def _secret(self, answered: Plain) -> Plain:
        return {"secret": answered["secret"], **answered["apiKey"]}

    def _list(self, field: str, selection: str, types: dict[str, str], given: Plain) -> Plain:
        asked = {name: (types.get(name, "String"), value) for name, value in camel(given).items()}
        answer = self._ask("query", field, f"data {{ {selection} }} meta {{ pagination {{ hasNextPage }} }}", **asked)
        return {"data": answer["data"], "more": answer["meta"]["pagination"]["hasNextPage"]}

    def create(self, idempotency_key: str | None = None, **given: Any) -> Plain:
        arguments = {"input": ("NewApiKey!", camel(given)), "idempotencyKey": ("String", idempotency_key)}
        return self._secret(self._ask("mutation", "createApiKey", f"secret apiKey {{ {_KEY} }}", **arguments))

    def get(self, key_id: str) -> Plain:
        return self._ask("query", "apiKey", _KEY, id=("ID!", key_id))  # type: ignore[no-any-return]

    def find(self, **given: Any) -> Plain:
        return self._list("apiKeys", _KEY, {"status": "KeyStatus", "limit": "Int"}, given)

    def update(self, key_id: str, version: int | None, **changes: Any) -> Plain:
        arguments = {"id": ("ID!", key_id), "input": ("ApiKeyChanges!", camel(changes)), "version": ("Int", version)}
        return self._ask("mutation", "updateApiKey", _KEY, **arguments)  # type: ignore[no-any-return]

    def rotate(self, key_id: str, **given: Any) -> Plain:
        arguments = {"id": ("ID!", key_id), "overlapSeconds": ("Int", _overlap(given).get("overlapSeconds"))}
        return self._secret(self._ask("mutation", "rotateApiKey", f"secret apiKey {{ {_KEY} }}", **arguments))

    def disable(self, key_id: str) -> Plain:
        return self._ask("mutation", "disableApiKey", _KEY, id=("ID!", key_id))  # type: ignore[no-any-return]

    def enable(self, key_id: str) -> Plain:
        return self._ask("mutation", "enableApiKey", _KEY, id=("ID!", key_id))  # type: ignore[no-any-return]

    def delete(self, key_id: str, only_if_quiet: bool = False) -> Plain:
        arguments = {"id": ("ID!", key_id), "onlyIfQuiet": ("Boolean", only_if_quiet)}
        return self._ask("mutation", "deleteApiKey", _KEY, **arguments)  # type: ignore[no-any-return]

    def save_role(self, name: str, version: int | None = None, **given: Any) -> Plain:
        arguments = {"name": ("String!", name), "input": ("RoleInput!", camel(given)), "version": ("Int", version)}
        return self._ask("mutation", "saveRole", _ROLE, **arguments)  # type: ignore[no-any-return]

    def get_role(self, name: str) -> Plain:
        return self._ask("query", "role", _ROLE, name=("String!", name))  # type: ignore[no-any-return]

    def delete_role(self, name: str, take_from_keys: bool = False) -> None:
        arguments = {"name": ("String!", name), "takeFromKeys": ("Boolean", take_from_keys)}
        self._ask("mutation", "deleteRole", "name", **arguments)

    def events(self, **given: Any) -> Plain:
        types = {"key": "ID", "lineage": "Boolean", "outcome": "Outcome", "limit": "Int"}
        return self._list("auditEvents", _EVENT, types, given)


class CommandLine(Face):
    """``flask keys … --json``; it acts as the system."""

    name = "command line"

    def _run(self, *arguments: str, given: str | None = None) -> Any:
        done = self.host.app.test_cli_runner().invoke(args=["keys", *arguments], input=given)
        if done.exit_code:
            assert done.stderr.startswith("{"), done.output
            raise Refused(json.loads(done.stderr))
        return json.loads(done.stdout)

    def _list(self, answer: Plain) -> Plain:
        return {"data": answer["data"], "more": answer["meta"]["pagination"]["hasNextPage"]}

    def _options(self, given: Plain) -> list[str]:
        options: list[str] = []
        for name, value in given.items():
            if name == "context":
                options += [f"--context={member}:={json.dumps(_json(item))}" for member, item in value.items()]
            elif name in ("roles", "allowed_networks"):
                options += [f"--{'role' if name == 'roles' else 'network'}={item}" for item in value]
            elif name == "expires_at":
                options.append(f"--expires={isoformat(value)}")
            elif name == "q":
                options.append(f"--search={value}")
            elif name == "overlap":
                options.append(f"--overlap={int(value.total_seconds())}s")
            elif value is True:
                options.append(f"--{name.replace('_', '-')}")
            elif value is not False:
                options.append(f"--{name.replace('_', '-')}={value}")
        return options

    def create(self, **given: Any) -> Plain:
        name = given.pop("name")
        return self._run("create", *self._options(given), "--json", "--", name)["data"]  # type: ignore[no-any-return]

    def get(self, key_id: str) -> Plain:
        return self._run("show", key_id, "--json")["data"]  # type: ignore[no-any-return]

    def find(self, **given: Any) -> Plain:
        return self._list(self._run("list", *self._options(given), "--json"))

    def update(self, key_id: str, version: int | None, **changes: Any) -> Plain:
        assert version is None, "the command line has no versions"
        return self._run("update", key_id, *self._options(changes), "--json")["data"]  # type: ignore[no-any-return]

    def rotate(self, key_id: str, **given: Any) -> Plain:
        return self._run("rotate", key_id, *self._options(given), "--json")["data"]  # type: ignore[no-any-return]

    def disable(self, key_id: str) -> Plain:
        return self._run("disable", key_id, "--json")["data"]  # type: ignore[no-any-return]

    def enable(self, key_id: str) -> Plain:
        return self._run("enable", key_id, "--json")["data"]  # type: ignore[no-any-return]

    def delete(self, key_id: str, **given: Any) -> Plain:
        return self._run("delete", key_id, "--yes", *self._options(given), "--json")["data"]  # type: ignore[no-any-return]

    def traffic(self, key_id: str) -> Plain:
        return self._run("traffic", key_id, "--json")["data"]  # type: ignore[no-any-return]

    def save_role(self, name: str, **given: Any) -> Plain:
        document = json.dumps({"roles": {name: camel(given)}})
        try:
            (role,) = self._run("roles", "save", "-", "--json", given=document)["data"]
        except Refused as refused:  # a file has many roles, so it says which
            refused.problem["detail"] = refused.problem["detail"].replace(f"{name}.", "")
            for entry in refused.problem.get("errors", ()):
                entry["field"] = entry["field"].partition(".")[2]
            raise
        return role  # type: ignore[no-any-return]

    def get_role(self, name: str) -> Plain:
        return self._run("roles", "show", name, "--json")["data"]  # type: ignore[no-any-return]

    def events(self, **given: Any) -> Plain:
        return self._list(self._run("audit", *self._options(given), "--json"))

    def explain(self, key_id: str, **given: Any) -> Plain:
        return self._run("explain", key_id, *self._options(given), "--json")["data"]  # type: ignore[no-any-return]


FACES: tuple[type[Face], ...] = (Python, Json, GraphQL, CommandLine, Client)
