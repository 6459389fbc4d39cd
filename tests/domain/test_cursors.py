from __future__ import annotations

import pytest

from flask_archie_keys import BadRequest
from flask_archie_keys.domain.cursors import Cursors

CURSORS = Cursors("secret", "shop", "master")


def test_a_cursor_is_read_back() -> None:
    assert CURSORS.load("keys", CURSORS.dump("keys", [7, "x"]), [int, str]) == (7, "x")


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "\0",
        7,
        None,
        Cursors("secret", "shop", "staging").dump("keys", [7, "x"]),
        Cursors("secret", "other", "master").dump("keys", [7, "x"]),
        Cursors("other", "shop", "master").dump("keys", [7, "x"]),
        CURSORS.dump("audit", [7, "x"]),
        CURSORS.dump("keys", [7]),
        CURSORS.dump("keys", ["7", "x"]),
        CURSORS.dump("keys", [True, "x"]),
        CURSORS.dump("keys", [7, "x"])[:-1],
        CURSORS.dump("keys", [7, "x"]) + "x",
    ],
)
def test_any_other_cursor_is_worthless(cursor: object) -> None:
    with pytest.raises(BadRequest, match="cursor is not one that this list has handed out"):
        CURSORS.load("keys", cursor, [int, str])
