"""Events are completed whatever a host puts around its application, before or after ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Flask, Response, stream_with_context
from flask_sqlalchemy import SQLAlchemy

from flask_archie_keys import ArchieKeys, current_api_key, require_api_key


class Copying:
    """A middleware that hands on a copy of the environment."""

    def __init__(self, inner: Callable[..., Iterable[bytes]]) -> None:
        self.inner = inner

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return self.inner(dict(environ), start_response)


class Twice(Copying):
    """A middleware that asks again, with the same environment, where the first answer was an error."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        statuses: list[str] = []
        first = self.inner(environ, lambda status, headers, exc_info=None: statuses.append(status))
        if not statuses or not statuses[0].startswith("5"):
            raise AssertionError(statuses)
        for _ in first:
            pass
        return self.inner(environ, start_response)


@pytest.fixture(params=["before", "after"])
def wrap(request: pytest.FixtureRequest, tmp_path: Any, sqlite_url: str) -> Any:
    closing: list[Callable[[], None]] = []

    def make(middleware: type[Copying]) -> tuple[Flask, ArchieKeys, str]:
        app = Flask("wrapped", instance_path=str(tmp_path / "instance"))
        app.config.update(SQLALCHEMY_DATABASE_URI=sqlite_url, ARCHIE_KEYS_AUDIT={"background": False})
        db, keys = SQLAlchemy(app), ArchieKeys()
        if request.param == "before":
            app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]
        keys.init_app(app, db)
        if request.param == "after":
            app.wsgi_app = middleware(app.wsgi_app)  # type: ignore[method-assign]

        def close() -> None:
            keys.close(app)
            with app.app_context():
                db.engine.dispose()

        closing.append(close)
        with app.app_context():
            db.create_all()
            return app, keys, keys.service.create(name="x").secret

    yield make
    for close in closing:
        close()


def statuses(app: Flask, keys: ArchieKeys) -> list[int | None]:
    with app.app_context():
        return [event.status for event in reversed(keys.audit.find().items) if event.kind == "request"]


def test_a_middleware_that_hands_on_a_copy_of_the_environment(wrap: Any) -> None:
    app, keys, secret = wrap(Copying)
    app.add_url_rule("/x", "x", require_api_key(lambda: (current_api_key.id, 201)))
    answer = app.test_client().get("/x", headers={"Authorization": f"Bearer {secret}"})
    assert (answer.status_code, answer.text) == (201, secret.split("_")[1])
    assert statuses(app, keys) == [201]


@pytest.mark.parametrize("wrap", ["after"], indirect=True)
def test_a_middleware_that_asks_twice_with_one_environment(wrap: Any) -> None:
    app, keys, secret = wrap(Twice)
    answers = iter([503, 200])
    app.add_url_rule("/x", "x", require_api_key(lambda: (current_api_key.id, next(answers))))
    assert app.test_client().get("/x", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    assert statuses(app, keys) == [503, 200]


def test_a_stream_has_its_key_to_the_end(wrap: Any) -> None:
    app, keys, secret = wrap(Copying)

    @app.get("/x")
    @require_api_key
    def x() -> Response:
        return Response(stream_with_context(current_api_key.id for _ in range(2)))

    answer = app.test_client().get("/x", headers={"Authorization": f"Bearer {secret}"})
    assert answer.text == secret.split("_")[1] * 2
    assert statuses(app, keys) == [200]
