"""What stands in bodies that nobody means well with: refused with a status of its own, never a failure of ours."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ...support.processes import Application, Server, secret_in
from .conftest import Api, problem

JSON = "application/json"
PLAIN = b'{"name": "x"}'
BAD, LARGE, MEDIA, REFUSED = (
    (400, "/errors/bad-request"),
    (413, "/errors/bad-request"),
    (415, "/errors/unsupported-media-type"),
    (422, "/errors/validation-failed"),
)
#: What is sent, as what, and the answer. The headers are those of the request.
CASES: dict[str, tuple[bytes, dict[str, str], tuple[int, str]]] = {
    "nothing": (b"", {"Content-Type": JSON}, BAD),
    "no JSON": (b"name=x", {"Content-Type": JSON}, BAD),
    "half of it": (b'{"name": "x', {"Content-Type": JSON}, BAD),
    "two of it": (PLAIN + PLAIN, {"Content-Type": JSON}, BAD),
    "a comment": (b'{"name": "x"} // y', {"Content-Type": JSON}, BAD),
    "a list": (b"[]", {"Content-Type": JSON}, REFUSED),
    "a text": (b'"x"', {"Content-Type": JSON}, REFUSED),
    "null": (b"null", {"Content-Type": JSON}, REFUSED),
    "a number": (b"1", {"Content-Type": JSON}, REFUSED),
    "a member twice": (b'{"name": "x", "name": "y"}', {"Content-Type": JSON}, BAD),
    "a member twice, escaped": (b'{"name": "x", "n\\u0061me": "y"}', {"Content-Type": JSON}, BAD),
    "a member twice, inside": (b'{"name": "x", "context": {"a": 1, "a": 2}}', {"Content-Type": JSON}, BAD),
    "NaN": (b'{"name": "x", "context": {"a": NaN}}', {"Content-Type": JSON}, BAD),
    "infinity": (b'{"name": "x", "context": {"a": -Infinity}}', {"Content-Type": JSON}, BAD),
    "a number beyond all": (b'{"name": "x", "context": {"a": 1e999}}', {"Content-Type": JSON}, BAD),
    "a lone surrogate": (b'{"name": "\\ud800"}', {"Content-Type": JSON}, BAD),
    "a lone surrogate as a member": (b'{"name": "x", "context": {"\\udfff": 1}}', {"Content-Type": JSON}, BAD),
    "a lone surrogate in a list": (b'{"name": "x", "roles": ["\\ud800"]}', {"Content-Type": JSON}, BAD),
    "a lone surrogate alone": (b'"\\ud800"', {"Content-Type": JSON}, BAD),
    "brackets": (b"[" * 200_000, {"Content-Type": JSON}, BAD),
    "brackets in pairs": (b"[" * 200_000 + b"]" * 200_000, {"Content-Type": JSON}, BAD),
    "braces": (b'{"a":' * 150_000, {"Content-Type": JSON}, BAD),
    "nested in the context": (
        b'{"name": "x", "context": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}",
        {"Content-Type": JSON},
        REFUSED,
    ),
    "a long number": (b'{"name": "x", "context": {"a": ' + b"9" * 5000 + b"}}", {"Content-Type": JSON}, BAD),
    "a long number alone": (b"9" * 5000, {"Content-Type": JSON}, BAD),
    "a long number with a point": (
        b'{"name": "x", "context": {"a": 0.' + b"9" * 5000 + b"e5000}}",
        {"Content-Type": JSON},
        BAD,
    ),
    "a number of 65 bits": (b'{"name": "x", "context": {"a": 18446744073709551616}}', {"Content-Type": JSON}, REFUSED),
    "a zero byte": (b'{"name": "\\u0000"}', {"Content-Type": JSON}, REFUSED),
    "a control character": (b'{"name": "\x01"}', {"Content-Type": JSON}, BAD),
    "no UTF-8": (b'{"name": "\xff"}', {"Content-Type": JSON}, BAD),
    "a surrogate in UTF-8": (b'{"name": "\xed\xa0\x80"}', {"Content-Type": JSON}, BAD),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), {"Content-Type": JSON}, BAD),
    "UTF-16 that says so": (
        '{"name": "x"}'.encode("utf-16"),
        {"Content-Type": "application/json; charset=utf-16"},
        MEDIA,
    ),
    "UTF-32": ('{"name": "x"}'.encode("utf-32"), {"Content-Type": JSON}, BAD),
    "a byte order mark": (b"\xef\xbb\xbf" + PLAIN, {"Content-Type": JSON}, BAD),
    "Latin-1 that says so": (PLAIN, {"Content-Type": "application/json; charset=latin-1"}, MEDIA),
    "text": (PLAIN, {"Content-Type": "text/plain"}, MEDIA),
    "a form": (b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, MEDIA),
    "a form with files": (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, MEDIA),
    "an empty media type": (PLAIN, {"Content-Type": ""}, MEDIA),
    "no media type": (PLAIN, {}, MEDIA),
    "a strange media type": (PLAIN, {"Content-Type": ";;=,"}, MEDIA),
    "a strange charset": (PLAIN, {"Content-Type": "application/json; charset*=utf-8''%ff"}, MEDIA),
    "another JSON": (PLAIN, {"Content-Type": "application/vnd.api+json"}, MEDIA),
    "compressed": (gzip.compress(PLAIN), {"Content-Type": JSON, "Content-Encoding": "gzip"}, MEDIA),
    "said to be compressed": (PLAIN, {"Content-Type": JSON, "Content-Encoding": "identity"}, MEDIA),
    "5 MB": (b'{"name": "' + b"x" * 5_000_000 + b'"}', {"Content-Type": JSON}, LARGE),
    "5 MB of text": (b"x" * 5_000_000, {"Content-Type": "text/plain"}, LARGE),
    "a long name": (b'{"name": "' + b"x" * 900_000 + b'"}', {"Content-Type": JSON}, REFUSED),
    "many members": (
        json.dumps({"name": "x", **{f"m{n}": n for n in range(50_000)}}).encode(),
        {"Content-Type": JSON},
        REFUSED,
    ),
    "many roles": (
        json.dumps({"name": "x", "roles": [f"r{n}" for n in range(50_000)]}).encode(),
        {"Content-Type": JSON},
        REFUSED,
    ),
}


def send(api: Api, content: Any, headers: dict[str, str], path: str = "/keys", method: str = "POST") -> Any:
    asked = {"Authorization": f"Bearer {api.admin.secret}", **headers}
    return api.host.client.open(f"/archie/v1{path}", method=method, data=content, headers=asked, buffered=True)


def test_each_is_refused_with_its_status_and_makes_nothing(api: Api) -> None:
    for name, (content, headers, wanted) in CASES.items():
        answer = send(api, content, headers)
        found = (answer.status_code, answer.json["type"] if answer.is_json else answer.text)
        assert found == wanted, (name, answer.text[:500])
        assert answer.content_type == "application/problem+json" and answer.json["detail"], name
        assert len(answer.data) < 20_000 or name == "many members", name
    assert len(api.get("/keys").json["data"]) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("PATCH", "/keys/{}"), ("POST", "/keys/{}/rotate"), ("POST", "/roles"), ("PUT", "/roles/x"), ("POST", "/explain")],
)
def test_every_route_with_a_body_reads_it_as_strictly(api: Api, method: str, path: str) -> None:
    path = path.format(api.make()["id"])
    for name in ("no JSON", "a member twice", "NaN", "a lone surrogate alone", "brackets", "UTF-16", "text", "5 MB"):
        content, headers, wanted = CASES[name]
        answer = send(api, content, {**headers, "If-Match": "*"}, path, method)
        assert (answer.status_code, answer.json["type"]) == wanted, name
    answer = send(api, b"[]", {"Content-Type": JSON, "If-Match": "*"}, path, method)
    problem(answer, 422, "validation-failed")


@pytest.mark.parametrize("media_type", ["application/json;charset=UTF-8", 'Application/JSON; charset="utf-8"', JSON])
def test_json_in_utf_8_is_taken_however_it_is_said(api: Api, media_type: str) -> None:
    assert send(api, '{"name": "é😀"}'.encode(), {"Content-Type": media_type}).json["data"]["name"] == "é😀"


def test_a_pair_of_surrogates_is_a_character(api: Api) -> None:
    answer = send(api, b'{"name": "\\ud83d\\ude00"}', {"Content-Type": JSON})
    assert answer.json["data"]["name"] == "😀"


def test_a_body_where_there_is_none_to_read_does_not_matter(api: Api) -> None:
    for method, path in (("GET", "/keys"), ("DELETE", f"/keys/{api.make()['id']}")):
        assert send(api, b"\xff" * 100, {"Content-Type": "text/plain"}, path, method).status_code == 200


def test_a_body_without_a_length_is_read_to_its_bound(api: Api) -> None:
    """As servers hand over chunked ones."""

    def chunked(content: bytes) -> Any:
        environ = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(content)}
        asked = {"Authorization": f"Bearer {api.admin.secret}", "Transfer-Encoding": "chunked", "Content-Type": JSON}
        return api.host.client.post("/archie/v1/keys", headers=asked, environ_overrides=environ)

    assert chunked(PLAIN).status_code == 201
    assert chunked(b'{"name": "' + b"x" * 5_000_000 + b'"}').status_code == 413
    assert chunked(b"{").status_code == 400


def test_a_bound_of_the_host_is_told_in_our_form(api: Api) -> None:
    api.host.app.config["MAX_CONTENT_LENGTH"] = 10
    answer = send(api, PLAIN, {"Content-Type": JSON})
    assert (answer.status_code, answer.json["type"]) == LARGE


# -- through a server


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    application = Application(tmp_path_factory.mktemp("served"))
    application.environment["FACES"] = "api cli"
    grants = "[[roles.administrator.grants]]\nresource = 'api_keys'\nread = true\nwrite = true\n"
    Path(application.folder, "roles.toml").write_text(grants)
    assert application.flask("keys", "roles", "save", "roles.toml").returncode == 0
    made = application.flask("keys", "create", "admin", "--role", "administrator", "--quiet")
    assert made.returncode == 0, made.stderr
    yield application.serve("--threads", "2"), secret_in(made.stdout)
    application.close()


def test_through_a_server_each_is_refused_with_its_status(served: tuple[Server, str]) -> None:
    server, secret = served
    for name, (content, headers, (status, type)) in CASES.items():
        answer, text = _over_http(server, secret, content, headers)
        assert answer.status == status and json.loads(text)["type"] == type, (name, text[:500])
        assert answer.headers["Content-Type"] == "application/problem+json", name
    assert _over_http(server, secret, PLAIN, {"Content-Type": JSON})[0].status == 201


def test_through_a_server_chunked_bodies_are_bounded(served: tuple[Server, str]) -> None:
    server, secret = served
    long = (b'"' + b"x" * 100_000 for _ in range(30))
    for body, status in ((iter([PLAIN[:5], PLAIN[5:]]), 201), (long, 413), (iter([b"{"]), 400)):
        assert _over_http(server, secret, body, {"Content-Type": JSON})[0].status == status


def _over_http(server: Server, secret: str, body: Any, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    asked = {"Authorization": f"Bearer {secret}", **headers}
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # answered before all of a long body was sent
            connection.request("POST", "/archie/v1/keys", body=body, headers=asked)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()
