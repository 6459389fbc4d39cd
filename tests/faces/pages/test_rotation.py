"""The pages of a rotation, request by request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from .conftest import Console, MakeConsole, User, secret_in


def test_a_key_is_rotated(console: Console, admin: User) -> None:
    made = console.host.create("Old")
    form = admin.get(f"/api-keys/{made.key.id}/rotate").text
    assert '<option value="86400" selected>1 day</option>' in form
    answer = admin.post(f"/api-keys/{made.key.id}/rotate", overlap="3600", request_id="r-1")
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    new = secret_in(answer)
    assert f"/api-keys/{made.key.id}/rotation" in answer.text
    assert [console.host.get("/me", secret).status_code for secret in (made.secret, new)] == [200, 200]
    again = admin.post(f"/api-keys/{made.key.id}/rotate", overlap="3600", request_id="r-1")
    assert again.status_code == 409 and new not in again.text
    other = admin.post(f"/api-keys/{made.key.id}/rotate", overlap="3600", request_id="r-2")
    assert other.status_code == 409
    assert "was rotated before" in other.text


@pytest.mark.parametrize("overlap", ["", "x", "-1", "1.5", "٣", "9" * 12])
def test_an_overlap_that_cannot_be(console: Console, admin: User, overlap: str) -> None:
    made = console.host.create("Old")
    answer = admin.post(f"/api-keys/{made.key.id}/rotate", overlap=overlap)
    assert answer.status_code == 409
    assert 'class="archie-mistake" role="alert"' in answer.text
    with console.host.app.app_context():
        assert console.host.keys.service.get(made.key.id).status == "active"


def test_no_overlap_ends_the_old_key_now(console: Console, admin: User) -> None:
    made = console.host.create("Old")
    admin.post(f"/api-keys/{made.key.id}/rotate", overlap="0")
    assert console.host.get("/me", made.secret).status_code == 401


def rotated(console: Console) -> tuple[Any, Any]:
    """The old key and the new one."""
    old = console.host.create("Old")
    with console.host.app.app_context():
        return old, console.host.keys.service.rotate(old.key.id)


def test_both_are_watched(console: Console, admin: User) -> None:
    old, new = rotated(console)
    console.host.get("/me", old.secret, headers={"User-Agent": "cron/1"})
    for secret in (new.secret, new.secret):
        console.host.get("/me", secret)
    for key in (old.key, new.key):  # the page is the same from both
        seen = admin.get(f"/api-keys/{key.id}/rotation.json").json
        assert [(seen[side]["requests"], seen[side]["status"]) for side in ("old", "new")] == [
            (1, "retiring"),
            (2, "active"),
        ]
        assert seen["old"]["label"] == "1 request in 24 hours"
        caller = seen["lastCaller"]
        assert (caller["userAgent"], caller["remoteAddress"], caller["path"]) == ("cron/1", "127.0.0.1", "/me")
        assert (seen["step"], seen["safeToDelete"]) == (2, False)
        assert seen["sentence"].startswith("The old key is still used: last ")
        page = admin.get(f"/api-keys/{key.id}/rotation").text
        assert "cron/1" in page and seen["sentence"].split(":")[0] in page
    assert old.secret not in str(seen) and new.secret not in str(seen)


def test_the_steps(make_console: MakeConsole) -> None:
    console = make_console(ARCHIE_KEYS_QUIET_PERIOD=timedelta(seconds=0))
    user = console.user()
    old, _ = rotated(console)
    at = f"/api-keys/{old.key.id}/rotation"
    seen = user.get(f"{at}.json").json
    assert (seen["step"], seen["lastCaller"]) == (3, None)
    assert seen["sentence"].endswith("safe to delete.")
    assert 'aria-current="step">See that the old one has gone quiet' in user.get(at).text
    user.post(f"/api-keys/{old.key.id}/delete")
    seen = user.get(f"{at}.json").json
    assert (seen["step"], seen["sentence"]) == (4, "The old key is deleted. The rotation is done.")
    page = user.get(at).text
    assert page.count("archie-done") == 4 and "Delete the old key" not in page


def test_the_first_moment_of_a_rotation(console: Console, admin: User) -> None:
    old, _ = rotated(console)
    seen = admin.get(f"/api-keys/{old.key.id}/rotation.json").json
    assert seen["sentence"] == "The old key was never used so far; it is too early to say more."


def test_a_key_that_was_not_rotated_has_no_such_page(console: Console, admin: User) -> None:
    key = console.host.create("Alone").key
    answer = admin.get(f"/api-keys/{key.id}/rotation")
    assert answer.status_code == 404


def test_the_last_caller_is_for_readers_of_the_audit_log(console: Console) -> None:
    old, _ = rotated(console)
    console.host.get("/me", old.secret, headers={"User-Agent": "cron/1"})
    user = console.user("reader")
    page = user.get(f"/api-keys/{old.key.id}/rotation").text
    assert "cron/1" not in page
    assert user.get(f"/api-keys/{old.key.id}/rotation.json").json["lastCaller"] is None
