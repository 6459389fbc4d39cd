"""How errors are shown: JSON below ``/api/``, a page everywhere else."""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import BadRequest, HTTPException, UnprocessableEntity


class Problem(NamedTuple):
    """One refused field and a sentence that says what it must be."""

    field: str
    message: str


class BadQuery(BadRequest):
    """The query string of a URL was refused."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("The query string was not understood.")
        self.problems = problems


class InvalidInput(UnprocessableEntity):
    """The fields of a JSON body were refused; nothing was changed."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("Some fields were refused.")
        self.problems = problems


def init_app(app: Flask) -> None:
    """Show every HTTP error of this application in the caller's language."""
    app.register_error_handler(HTTPException, show)


def show(error: HTTPException) -> ResponseReturnValue:
    """An HTTP error in the caller's language."""
    if error.response is not None:
        return error.get_response()
    answer = _json(error) if request.path.startswith("/api/") else _page(error)
    response = error.get_response()
    response.data = answer
    response.mimetype = "application/json" if request.path.startswith("/api/") else "text/html"
    return response


def _json(error: HTTPException) -> bytes:
    content: dict[str, object] = {
        "code": error.name.lower().replace(" ", "_"),
        "message": error.description,
    }
    if isinstance(error, (BadQuery, InvalidInput)):
        content["fields"] = [problem._asdict() for problem in error.problems]
    return jsonify({"error": content}).get_data()


def _page(error: HTTPException) -> bytes:
    problems = error.problems if isinstance(error, (BadQuery, InvalidInput)) else []
    return render_template("error.html", error=error, problems=problems).encode()
