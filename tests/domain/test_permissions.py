from __future__ import annotations

import pytest

from flask_archie_keys.domain.permissions import Denied, Requirement, is_role_name
from flask_archie_keys.domain.principals import Principal


def key(*roles: str) -> Principal:
    return Principal("key", "i" * 12, "name", "p", "e", roles=roles)


@pytest.mark.parametrize(
    ("required", "match", "held", "allowed"),
    [
        (None, "any", (), True),
        (("viewer",), "any", (), False),
        (("viewer",), "any", ("viewer",), True),
        (("viewer", "editor"), "any", ("editor",), True),
        (("viewer", "editor"), "all", ("editor",), False),
        (("viewer", "editor"), "all", ("editor", "viewer", "admin"), True),
        (("viewer",), "all", (), False),
        (("viewer",), "any", ("viewers",), False),
        ((), "all", (), False),
        ((), "any", ("viewer",), False),
    ],
)
def test_requirements(required: tuple[str, ...] | None, match: str, held: tuple[str, ...], allowed: bool) -> None:
    decision = Requirement(required, match).check(key(*held))  # type: ignore[arg-type]
    assert bool(decision) is allowed
    if isinstance(decision, Denied):
        assert decision.reason == "missing_role" and decision.scope == " ".join(required or ())


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("viewer", True),
        ("a", True),
        ("a_1", True),
        ("", False),
        ("A", False),
        ("1a", False),
        ("a-b", False),
        ("a" * 63, True),
        ("a" * 64, False),
        ("a\n", False),
        ("a b", False),
    ],
)
def test_role_names(name: str, good: bool) -> None:
    assert is_role_name(name) is good


def test_a_principal_is_read_only_and_says_who_acts() -> None:
    assert key().actor == "key:" + "i" * 12
    assert Principal.system("p", "e").actor == "system"
    with pytest.raises(AttributeError):
        key().roles = ("admin",)  # type: ignore[misc]
    with pytest.raises(TypeError):
        key().context["region"] = "us"  # type: ignore[index]
