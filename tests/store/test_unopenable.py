"""A database that cannot be opened, or that the settings ask for and the application does not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_archie_keys import ArchieKeys, ConfigurationError, StoreUnavailable
from flask_archie_keys.domain.keytext import mint

from ..conftest import add_views


def make_app(tmp_path: Path, **config: Any) -> Flask:
    app = Flask("app", instance_path=str(tmp_path / "instance"))
    app.config.update(ARCHIE_KEYS_AUDIT={"background": False}, **config)
    return app


@pytest.mark.parametrize("wrong", ["a folder", "not a database", "a link to nowhere", "no place for the folder"])
def test_a_file_of_our_own_that_cannot_be_opened_is_503(tmp_path: Path, wrong: str) -> None:
    """Not 401, which would send a client away for good; and it mends itself when the file can be opened again."""
    app = make_app(tmp_path)
    keys = ArchieKeys(app)
    add_views(app)
    instance = tmp_path / "instance"
    path = instance / "archie_keys.sqlite"
    if wrong == "no place for the folder":
        instance.touch()
    else:
        instance.mkdir()
        if wrong == "a folder":
            path.mkdir()
        elif wrong == "a link to nowhere":
            path.symlink_to(tmp_path / "nowhere" / "x")
        else:
            path.write_bytes(b"this is no database" * 100)
    header = {"Authorization": f"Bearer {mint('archie').text}"}
    for _ in range(2):
        answer = app.test_client().get("/me", headers=header)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert json.loads(answer.data)["type"] == "/errors/unavailable"
        assert str(tmp_path) not in answer.text and "sqlite" not in answer.text
    with app.app_context(), pytest.raises(StoreUnavailable):
        keys.service.create(name="x")
    path.rmdir() if wrong == "a folder" else (instance if wrong.startswith("no place") else path).unlink()
    assert app.test_client().get("/me", headers=header).status_code == 401
    keys.close(app)


def test_an_environment_with_a_bind_needs_a_database_of_the_application(tmp_path: Path) -> None:
    """Found at start-up; else its keys would go into the file of another environment."""
    environments = {"master": {}, "staging": {"BIND_KEY": "other"}}
    with pytest.raises(ConfigurationError, match="BIND_KEY needs a database of the application; pass db=db"):
        ArchieKeys(make_app(tmp_path, ARCHIE_KEYS_ENVIRONMENTS=environments))
    with pytest.raises(ConfigurationError, match="BIND_KEY needs a database of the application; pass db=db"):
        ArchieKeys(make_app(tmp_path, ARCHIE_KEYS_BIND_KEY="other"))
