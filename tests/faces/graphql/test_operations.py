"""What can be asked and changed by GraphQL, and that it is what the JSON API does."""

from __future__ import annotations

from typing import Any

import pytest

from flask_archie_keys.domain.permissions import Grant

from .conftest import CREATE, GraphQL, MakeGraphQL

KEY = (
    "id name prefix hint project environment roles context owner status createdAt createdBy expiresAt lastUsedAt "
    "disabledAt deletedAt replaces replacedBy rateLimit allowedNetworks version"
)
ROLE = (
    "name description grants { resource read write update delete filter } source project environment createdAt "
    "updatedAt version lockedOut"
)
EVENT = (
    "id occurredAt project environment kind keyId actor outcome reason method route path status durationMs "
    "remoteAddress userAgent requestId count truncated streamed details"
)
ME = (
    "kind id name project environment roles context owner expiresAt "
    "grants { resource read write update delete filter role }"
)
META = "meta { pagination { limit hasNextPage nextCursor } }"
UPDATE = (
    "mutation($id: ID!, $input: ApiKeyChanges!, $version: Int) "
    f"{{ updateApiKey(id: $id, input: $input, version: $version) {{ {KEY} }} }}"
)


# -- queries


@pytest.mark.parametrize(
    ("query", "path"),
    [
        (f"{{ apiKeys {{ data {{ {KEY} }} {META} }} }}", "/keys"),
        (f"{{ apiKeys(limit: 2, role: \"editor\") {{ data {{ {KEY} }} {META} }} }}", "/keys?limit=2&role=editor"),
        (f"{{ apiKeys(status: active, q: \"ONE\") {{ data {{ {KEY} }} {META} }} }}", "/keys?status=active&q=ONE"),
        (f"{{ roles {{ data {{ {ROLE} }} {META} }} }}", "/roles"),
        (f"{{ auditEvents(kind: \"key.created\") {{ data {{ {EVENT} }} {META} }} }}", "/audit?kind=key.created"),
        (
            f"{{ auditEvents(kind: \"key.created\", since: \"2020-01-01T00:00:00Z\", limit: 1) "
            f"{{ data {{ {EVENT} }} {META} }} }}",
            "/audit?kind=key.created&since=2020-01-01T00:00:00Z&limit=1",
        ),
    ],
)  # fmt: skip
def test_lists_are_those_of_the_json_api(graphql: GraphQL, query: str, path: str) -> None:
    for name in ("one", "two", "three"):
        graphql.make(name, roles=["viewer", "editor"], context={"region": "eu", "list": [1, True]})
    graphql.host.save("clerk", Grant("api_keys", read=True, filter="owner = $userId"), description="Reads.")
    found = graphql.data(query)
    expected = graphql.get(path).json
    for page in (found, expected):
        assert page["data"]
        for row in page["data"]:  # the administrator asked twice
            row.pop("lastUsedAt", None)
            assert row.pop("updatedAt", "") is not None or row["source"] == "settings"
        page["meta"]["pagination"].pop("nextCursor")
    assert found == expected


def test_single_things_are_those_of_the_json_api(graphql: GraphQL) -> None:
    made = graphql.make("one", roles=["viewer"], context={"region": "eu"}, allowedNetworks=["10.0.0.0/8"])
    found = graphql.data(f"query($id: ID!) {{ apiKey(id: $id) {{ {KEY} }} }}", id=made["id"])
    assert found == graphql.get(f"/keys/{made['id']}").json["data"]
    graphql.host.save("clerk", Grant("api_keys", read=True))
    assert graphql.data(f'{{ role(name: "clerk") {{ {ROLE} }} }}') == graphql.get("/roles/clerk").json["data"]
    me = graphql.data(f"{{ me {{ {ME} }} }}")
    assert me == graphql.get("/me").json["data"]
    assert len(me["grants"]) == 3


def test_a_list_is_read_in_parts(graphql: GraphQL) -> None:
    names = [f"key {n}" for n in range(5)]
    for name in names:
        graphql.make(name)
    query = 'query($cursor: String) { apiKeys(limit: 2, q: "key", cursor: $cursor) { data { name } META } }'
    cursor, read = None, []
    for _ in range(3):
        page = graphql.data(query.replace("META", META), cursor=cursor)
        read += [key["name"] for key in page["data"]]
        cursor = page["meta"]["pagination"]["nextCursor"]
    assert read == names[::-1] and cursor is None and page["meta"]["pagination"]["hasNextPage"] is False


def test_a_filter_that_is_null_is_one_that_is_left_out(graphql: GraphQL) -> None:
    query = """
        query($status: KeyStatus, $limit: Int, $lineage: Boolean) {
          apiKeys(status: $status, limit: $limit) { meta { pagination { limit } } data { name } }
          auditEvents(lineage: $lineage, limit: $limit) { meta { pagination { limit } } }
        }"""
    answer = graphql.answer(query, status=None, limit=None, lineage=None)["data"]
    assert answer["apiKeys"] == {"meta": {"pagination": {"limit": 50}}, "data": [{"name": "admin"}]}
    assert answer["auditEvents"]["meta"]["pagination"]["limit"] == 50


def test_one_field_that_is_refused_leaves_the_others(graphql: GraphQL) -> None:
    answer = graphql.answer('{ apiKey(id: "nothing") { id } me { name } }')
    assert answer["data"] == {"apiKey": None, "me": {"name": "admin"}}
    assert [error["path"] for error in answer["errors"]] == [["apiKey"]]


# -- keys


def test_create_shows_the_secret_once_and_in_the_data_only(graphql: GraphQL) -> None:
    wanted = {"name": "CI", "roles": ["viewer"], "context": {"region": "eu"}, "expiresAt": "2090-01-01T00:00:00+01:00"}
    made = graphql.data(
        f"mutation($i: NewApiKey!) {{ createApiKey(input: $i) {{ secret apiKey {{ {KEY} }} }} }}", i=wanted
    )
    key = made["apiKey"]
    assert (key["name"], key["roles"], key["context"]) == ("CI", ["viewer"], {"region": "eu"})
    assert key["expiresAt"] == "2089-12-31T23:00:00.000Z"
    assert graphql.host.get("/viewer", made["secret"]).status_code == 200
    rest = graphql.send({"query": f"{{ apiKeys {{ data {{ {KEY} }} }} auditEvents {{ data {{ {EVENT} }} }} }}"}).text
    assert made["apiKey"]["id"] in rest and made["secret"] not in rest


def test_create_with_values_in_the_document(graphql: GraphQL) -> None:
    query = (
        'mutation($region: String, $other: String) { createApiKey(input: {name: "x", '
        "context: {region: $region, other: $other, list: [1, 2.5, true, $other]}}) { apiKey { context } } }"
    )
    made = graphql.data(query, region="eu")
    assert made["apiKey"]["context"] == {"region": "eu", "list": [1, 2.5, True]}


def test_create_with_an_idempotency_key_makes_one(graphql: GraphQL) -> None:
    query = 'mutation { createApiKey(input: {name: "x"}, idempotencyKey: "deploy-7") { secret apiKey { id } } }'
    made = graphql.data(query)
    problem = graphql.error(query)
    assert (problem["status"], problem["type"], problem["keyId"]) == (409, "/errors/conflict", made["apiKey"]["id"])
    answer = graphql.post("/keys", {"name": "x"}, Idempotency_Key="deploy-7")  # the same caller's by JSON, too
    assert (answer.status_code, answer.json["keyId"]) == (409, made["apiKey"]["id"])
    assert graphql.error(query.replace("deploy-7", ""))["type"] == "/errors/bad-request"


def test_update_changes_what_is_named_and_null_takes_away(graphql: GraphQL) -> None:
    made = graphql.make("old", owner="ann", context={"region": "eu", "tier": 1}, roles=["viewer"])
    key = graphql.data(UPDATE, id=made["id"], input={"name": "new", "owner": None, "context": {"tier": None, "x": 2}})
    assert (key["name"], key["owner"], key["roles"]) == ("new", None, ["viewer"])
    assert (key["context"], key["version"]) == ({"region": "eu", "x": 2}, 2)
    stale = graphql.error(UPDATE, id=made["id"], input={"name": "newer"}, version=1)
    assert (stale["status"], stale["type"]) == (412, "/errors/precondition-failed")
    assert graphql.data(UPDATE, id=made["id"], input={"name": "newer"}, version=2)["version"] == 3


def test_rotate_makes_a_successor(graphql: GraphQL) -> None:
    made = graphql.make("CI", roles=["viewer"])
    query = (
        "mutation($id: ID!, $overlap: Int, $once: String) "
        "{ rotateApiKey(id: $id, overlapSeconds: $overlap, idempotencyKey: $once) { secret apiKey { id replaces } } }"
    )
    new = graphql.data(query, id=made["id"], overlap=0, once="a")
    assert new["apiKey"]["replaces"] == made["id"]
    assert [graphql.host.get("/viewer", secret).status_code for secret in (made["secret"], new["secret"])] == [401, 200]
    assert graphql.error(query, id=made["id"], once="a")["keyId"] == new["apiKey"]["id"]
    wrong = graphql.error(query, id=new["apiKey"]["id"], overlap=-1)
    assert (wrong["status"], [entry["field"] for entry in wrong["errors"]]) == (422, ["overlapSeconds"])
    again = graphql.data(query, id=new["apiKey"]["id"])  # the overlap of the settings
    assert graphql.host.get("/viewer", new["secret"]).status_code == 200 and again["secret"]


def test_disable_enable_and_delete(graphql: GraphQL) -> None:
    made = graphql.make("CI", roles=["viewer"])

    def change(name: str, arguments: str = "") -> Any:
        return graphql.answer(f'mutation {{ {name}(id: "{made["id"]}"{arguments}) {{ status }} }}')

    assert change("disableApiKey") == {"data": {"disableApiKey": {"status": "disabled"}}}
    assert graphql.host.get("/viewer", made["secret"]).status_code == 401
    assert change("enableApiKey") == {"data": {"enableApiKey": {"status": "active"}}}
    assert graphql.host.get("/viewer", made["secret"]).status_code == 200
    (error,) = change("deleteApiKey", ", onlyIfQuiet: true")["errors"]
    assert (error["extensions"]["status"], error["extensions"]["type"]) == (409, "/errors/key-in-use")
    assert change("deleteApiKey") == {"data": {"deleteApiKey": {"status": "deleted"}}}
    assert change("enableApiKey")["errors"][0]["extensions"]["type"] == "/errors/conflict"


# -- roles


def test_roles_are_saved_whole_and_deleted(graphql: GraphQL) -> None:
    query = (
        "mutation($input: RoleInput!, $version: Int) "
        f'{{ saveRole(name: "clerk", input: $input, version: $version) {{ {ROLE} }} }}'
    )
    grant = {"resource": "api_keys", "read": True, "filter": "owner = $userId"}
    role = graphql.data(query, input={"description": "Reads.", "grants": [grant]}, version=0)
    assert role == graphql.get("/roles/clerk").json["data"] and role["grants"][0]["filter"] == "owner = $userId"
    assert graphql.error(query, input={}, version=0)["type"] == "/errors/precondition-failed"
    assert graphql.data(query, input={}, version=1)["grants"] == []
    made = graphql.host.create(roles=("clerk",)).key
    delete = 'mutation {{ deleteRole(name: "clerk"{}) {{ name }} }}'
    assert graphql.error(delete.format(""))["type"] == "/errors/conflict"
    assert graphql.data(delete.format(", takeFromKeys: true")) == {"name": "clerk"}
    assert graphql.data(f'{{ apiKey(id: "{made.id}") {{ roles }} }}') == {"roles": []}
    assert graphql.error(delete.format(""))["type"] == "/errors/not-found"


# -- errors


ERRORS: list[tuple[str, dict[str, Any], tuple[str, str, Any, dict[str, str]]]] = [
    (CREATE, {"input": {"name": "", "roles": ["vewer"]}}, ("POST", "/keys", {"name": "", "roles": ["vewer"]}, {})),
    (CREATE, {"input": {"name": "x", "context": 5}}, ("POST", "/keys", {"name": "x", "context": 5}, {})),
    (
        CREATE,
        {"input": {"name": "x", "context": {"a": {"b": 1}}}},
        ("POST", "/keys", {"name": "x", "context": {"a": {"b": 1}}}, {}),
    ),
    (
        CREATE,
        {"input": {"name": "x", "expiresAt": "tomorrow"}},
        ("POST", "/keys", {"name": "x", "expiresAt": "tomorrow"}, {}),
    ),
    (
        CREATE,
        {"input": {"name": "x", "expiresAt": "2090-01-01T00:00:00"}},
        ("POST", "/keys", {"name": "x", "expiresAt": "2090-01-01T00:00:00"}, {}),
    ),
    (
        CREATE,
        {"input": {"name": "x", "allowedNetworks": ["nowhere"]}},
        ("POST", "/keys", {"name": "x", "allowedNetworks": ["nowhere"]}, {}),
    ),
    (CREATE, {"input": {"name": "x", "roles": None}}, ("POST", "/keys", {"name": "x", "roles": None}, {})),
    ('{ apiKey(id: "7f3Kq2Zt9bXa") { id } }', {}, ("GET", "/keys/7f3Kq2Zt9bXa", None, {})),
    ('{ role(name: "none") { name } }', {}, ("GET", "/roles/none", None, {})),
    ('{ apiKeys(cursor: "x") { meta { pagination { limit } } } }', {}, ("GET", "/keys?cursor=x", None, {})),
    ('{ auditEvents(key: "x") { meta { pagination { limit } } } }', {}, ("GET", "/audit?key=x", None, {})),
    (
        UPDATE,
        {"id": "7f3Kq2Zt9bXa", "input": {"name": "x"}, "version": 1},
        ("PATCH", "/keys/7f3Kq2Zt9bXa", {"name": "x"}, {"If_Match": '"1"'}),
    ),
    (
        'mutation { saveRole(name: "viewer", input: {}) { name } }',
        {},
        ("PUT", "/roles/viewer", {}, {}),
    ),
    (
        'mutation { saveRole(name: "x", input: {grants: [{resource: "nothing"}]}) { name } }',
        {},
        ("PUT", "/roles/x", {"grants": [{"resource": "nothing"}]}, {}),
    ),
    ('mutation { deleteRole(name: "viewer") { name } }', {}, ("DELETE", "/roles/viewer", None, {})),
]


@pytest.mark.parametrize(("query", "variables", "request_"), ERRORS)
def test_errors_are_the_problems_of_the_json_api(
    graphql: GraphQL, query: str, variables: dict[str, Any], request_: tuple[str, str, Any, dict[str, str]]
) -> None:
    method, path, body, headers = request_
    answer = graphql.ask(method, path, body, **headers)
    assert answer.status_code >= 400
    assert graphql.error(query, **variables) == answer.json


@pytest.mark.parametrize("limit", [0, 201, -1])
def test_a_wrong_limit_is_a_bad_request(graphql: GraphQL, limit: int) -> None:
    problem = graphql.error(f"{{ apiKeys(limit: {limit}) {{ meta {{ pagination {{ limit }} }} }} }}")
    assert (problem["status"], problem["type"]) == (400, "/errors/bad-request")


def test_a_hidden_key_is_null_like_one_that_there_is_not(make_graphql: MakeGraphQL, url: str) -> None:
    graphql = make_graphql(url)
    everything = {"read": True, "write": True, "update": True, "delete": True}
    secret = graphql.with_grants(Grant("api_keys", **everything, filter="owner = $userId"), owner="ann")
    mine, hidden = graphql.make("mine", owner="ann"), graphql.make("hidden", owner="bob")
    names = [key["name"] for key in graphql.data("{ apiKeys { data { name } } }", secret)["data"]]
    assert sorted(names) == ["clerk", "mine"]
    for query in (
        '{ apiKey(id: "ID") { id } }',
        'mutation { updateApiKey(id: "ID", input: {name: "x"}) { id } }',
        'mutation { updateApiKey(id: "ID", input: {context: {a: 1}}) { id } }',
        'mutation { rotateApiKey(id: "ID") { secret } }',
        'mutation { disableApiKey(id: "ID") { id } }',
        'mutation { enableApiKey(id: "ID") { id } }',
        'mutation { deleteApiKey(id: "ID", onlyIfQuiet: true) { id } }',
    ):
        unknown = graphql.answer(query.replace("ID", "7f3Kq2Zt9bXa"), secret)
        found = graphql.send({"query": query.replace("ID", hidden["id"])}, key=secret)
        assert (
            found.text.replace(hidden["id"], "7f3Kq2Zt9bXa")
            == graphql.send({"query": query.replace("ID", "7f3Kq2Zt9bXa")}, key=secret).text
        )
        assert unknown["errors"][0]["extensions"]["type"] == "/errors/not-found"
    assert graphql.data(f'{{ apiKey(id: "{mine["id"]}") {{ name }} }}', secret) == {"name": "mine"}
    assert graphql.get(f"/keys/{hidden['id']}").json["data"]["version"] == 1


def test_the_ceiling_holds(graphql: GraphQL) -> None:
    secret = graphql.with_grants(Grant("api_keys", read=True, write=True), Grant("roles", write=True))
    stronger = graphql.error(CREATE, secret, input={"name": "x", "roles": ["admin"]})
    assert (stronger["status"], stronger["type"]) == (403, "/errors/forbidden")
    grants = '[{resource: "audit_events", read: true}]'
    wider = graphql.error(f'mutation {{ saveRole(name: "wider", input: {{grants: {grants}}}) {{ name }} }}', secret)
    assert wider["type"] == "/errors/forbidden"
    assert graphql.data(CREATE, secret, input={"name": "x", "roles": ["clerk"]})["apiKey"]["roles"] == ["clerk"]
    assert [role["name"] for role in graphql.get("/roles").json["data"]] == ["admin", "clerk", "editor", "viewer"]


NEEDED = {
    "{ apiKeys { data { id } } }": "api_keys:read",
    '{ apiKey(id: "ID") { id } }': "api_keys:read",
    "{ roles { data { name } } }": "roles:read",
    '{ role(name: "viewer") { name } }': "roles:read",
    "{ auditEvents { data { id } } }": "audit_events:read",
    'mutation { createApiKey(input: {name: "x"}) { secret } }': "api_keys:write",
    'mutation { updateApiKey(id: "ID", input: {name: "x"}) { id } }': "api_keys:update",
    'mutation { rotateApiKey(id: "ID") { secret } }': "api_keys:write",
    'mutation { disableApiKey(id: "ID") { id } }': "api_keys:update",
    'mutation { enableApiKey(id: "ID") { id } }': "api_keys:update",
    'mutation { deleteApiKey(id: "ID") { id } }': "api_keys:delete",
    'mutation { saveRole(name: "x", input: {}) { name } }': "roles:write",
    'mutation { deleteRole(name: "x") { name } }': "roles:delete",
}


def test_each_field_needs_its_grant_and_a_refusal_is_in_the_audit_log(graphql: GraphQL) -> None:
    target = graphql.make("target")["id"]
    secret = graphql.host.create("nobody", ()).secret
    for query, needed in NEEDED.items():
        problem = graphql.error(query.replace("ID", target), secret)
        assert (problem["status"], problem["type"]) == (403, "/errors/forbidden"), query
        *_, event = graphql.host.events()
        assert (event.status, event.outcome, event.reason) == (200, "denied", "missing_grant"), query
        resource, action = needed.split(":")
        assert event.details["permissions"][-1] == {"resource": resource, "action": action, "decision": "denied"}, query
    assert graphql.data("{ me { name grants { role } } }", secret) == {"name": "nobody", "grants": []}


# -- several changes


def test_several_changes_are_made_in_order_each_by_itself(graphql: GraphQL) -> None:
    query = """
        mutation {
          first: createApiKey(input: {name: "first"}) { apiKey { name } }
          wrong: createApiKey(input: {name: ""}) { apiKey { name } }
          saveRole(name: "clerk", input: {}) { version }
          second: createApiKey(input: {name: "second", roles: ["clerk"]}) { apiKey { roles } }
          deleteRole(name: "clerk") { name }
        }"""
    secret = graphql.host.create("maker", ("admin", "viewer", "editor")).secret
    answer = graphql.answer(query, secret)
    assert {name: value is not None for name, value in answer["data"].items()} == {
        "first": True,
        "wrong": False,
        "saveRole": True,
        "second": False,  # it is above the ceiling of who made the role, which does not have it itself
        "deleteRole": True,
    }
    assert [error["path"] for error in answer["errors"]] == [["wrong"], ["second"]]
    assert [event.kind for event in graphql.host.changes()][-3:] == ["key.created", "role.saved", "role.deleted"]


def test_no_more_than_ten_changes_in_one_request(graphql: GraphQL) -> None:
    def many(count: int) -> str:
        calls = " ".join(f'c{n}: createApiKey(input: {{name: "n{n}"}}) {{ secret }}' for n in range(count))
        return f"mutation {{ {calls} }}"

    answer = graphql.send({"query": many(11)})
    assert (answer.status_code, "more than 10" in answer.json["detail"]) == (400, True)
    assert len(graphql.data("{ apiKeys { data { id } } }")["data"]) == 1
    assert len(graphql.answer(many(10))["data"]) == 10
    assert len(graphql.data("{ apiKeys { data { id } } }")["data"]) == 11
