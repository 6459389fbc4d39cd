"""``flask keys doctor``: each thing that can be wrong is found, with its mend."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from werkzeug.middleware.proxy_fix import ProxyFix

from flask_archie_keys import ArchieKeys, require_api_key

from ...conftest import PEPPER, Host, MakeHost


def doctor(host: Host) -> tuple[int, dict[str, dict[str, Any]]]:
    result = host.app.test_cli_runner().invoke(args=["keys", "doctor", "--json"])
    findings = json.loads(result.stdout)["data"]
    for finding in findings:
        assert bool(finding["mend"]) is (finding["verdict"] != "ok"), finding
    return result.exit_code, {finding["check"]: finding for finding in findings}


def verdict(host: Host, check: str) -> tuple[str, str, int]:
    code, findings = doctor(host)
    return findings[check]["verdict"], findings[check]["found"] + " " + findings[check]["mend"], code


def test_a_good_set_up(make_host: MakeHost, url: str) -> None:
    host = make_host(url)
    host.app.wsgi_app = ProxyFix(host.app.wsgi_app)  # type: ignore[method-assign]
    code, findings = doctor(host)
    verdicts = {check: finding["verdict"] for check, finding in findings.items()}
    verdicts.pop("database", None)  # the journal mode of a plain SQLite file, which has a test of its own
    assert code == 0 and set(verdicts.values()) == {"ok"}
    assert set(verdicts) == {
        "pepper",
        "tables",
        "spool",
        "clock",
        "decorator order",
        "views",
        "proxies",
        "roles",
        "rows",
    }


def test_peppers(make_host: MakeHost) -> None:
    found = verdict(make_host(ARCHIE_KEYS_PEPPERS=[]), "pepper")
    assert found[0] == "warning" and "secrets.token_urlsafe(32)" in found[1]
    found = verdict(make_host(SECRET_KEY=PEPPER), "pepper")
    assert (found[0], found[2]) == ("problem", 1)
    assert "put the empty one first" in verdict(make_host(ARCHIE_KEYS_PEPPERS=[PEPPER, ""]), "pepper")[1]
    assert verdict(make_host(ARCHIE_KEYS_IMPORT_SCHEMES=["sha256_crypt"]), "pepper")[0] == "warning"


def test_tables(make_host: MakeHost, url: str) -> None:
    host = make_host(url)
    host.sql("DROP TABLE archie_audit_events")
    found = verdict(host, "tables")
    assert found[0] == "problem" and "archie_audit_events" in found[1] and "flask keys init-db" in found[1]


def test_the_journal_mode_of_sqlite(make_host: MakeHost) -> None:
    host = make_host()
    assert "PRAGMA journal_mode=WAL" in verdict(host, "database")[1]
    with host.app.app_context(), host.db.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    assert "database" not in doctor(host)[1]


def test_a_spool_that_is_open_to_others(make_host: MakeHost) -> None:
    host = make_host()
    with host.app.app_context():
        directory = host.keys.audit.spool.directory
    directory.mkdir(parents=True)
    directory.chmod(0o755)
    found = verdict(host, "spool")
    assert found[0] == "problem" and "chmod 700" in found[1]


def test_a_spool_that_nobody_drains(make_host: MakeHost) -> None:
    host = make_host()
    host.get("/me")
    assert "drain" not in doctor(host)[1]
    with host.app.app_context():
        directory = host.keys.audit.spool.directory
    (path,) = directory.glob("*.jsonl")
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    found = verdict(host, "drain")
    assert found[0] == "warning" and "flask keys drain" in found[1]
    host.events()
    assert "drain" not in doctor(host)[1]


def test_quarantined_records(make_host: MakeHost) -> None:
    host = make_host()
    with host.app.app_context():
        directory = host.keys.audit.spool.directory
    directory.mkdir(parents=True, mode=0o700)
    (directory / "dead.jsonl").write_text("poison\n")
    host.events()
    found = verdict(host, "quarantine")
    assert found[0] == "warning" and "1 records" in found[1] and "quarantine.log" in found[1]


@pytest.mark.parametrize(("kind", "expected"), [("nfs4", "problem"), ("overlay", "warning"), ("ext4", "ok")])
def test_the_file_system_of_the_spool(
    make_host: MakeHost, monkeypatch: pytest.MonkeyPatch, kind: str, expected: str
) -> None:
    from flask_archie_keys.faces.cli import doctor as module

    host = make_host()
    mounts = host.app.instance_path
    monkeypatch.setattr(module, "_MOUNTS", module.Path(mounts) / "mounts")
    module.Path(mounts).mkdir(parents=True, exist_ok=True)
    (module.Path(mounts) / "mounts").write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {mounts} {kind} rw 0 0\n")
    assert verdict(host, "spool")[0] == expected


def test_the_audit_that_is_off(make_host: MakeHost) -> None:
    assert verdict(make_host(ARCHIE_KEYS_AUDIT={"enabled": False}), "spool")[0] == "warning"


def test_a_clock_that_was_set_back(make_host: MakeHost) -> None:
    host = make_host()
    host.get("/me")
    host.events()
    assert verdict(host, "clock")[0] == "ok"
    host.sql("UPDATE archie_audit_events SET id = 'f' || substr(id, 2)")
    assert verdict(host, "clock")[::2] == ("problem", 1)


def test_a_decorator_above_its_route(make_host: MakeHost) -> None:
    host = make_host()

    @require_api_key
    @host.app.get("/x")
    def wrong() -> str:
        return "open"

    found = verdict(host, "decorator order")
    assert (found[0], found[2]) == ("problem", 1) and "wrong" in found[1]


def test_open_views_beside_guarded_ones(make_host: MakeHost) -> None:
    host = make_host()
    blueprint = Blueprint("orders", __name__, url_prefix="/orders")
    blueprint.add_url_rule("/", "index", require_api_key(lambda: "x"))
    blueprint.add_url_rule("/forgotten", "forgotten", lambda: "x")
    host.app.register_blueprint(blueprint)
    host.app.add_url_rule("/login", "login", lambda: "a page for people")

    class Half(MethodView):
        @require_api_key
        def get(self) -> str:
            return "guarded"

        def post(self) -> str:
            return "open"

    host.app.add_url_rule("/half", view_func=Half.as_view("half"))
    found = verdict(host, "views")
    assert found[0] == "warning" and "orders.forgotten" in found[1] and "login" not in found[1]
    assert "half (POST)" in found[1]


def test_a_proxy_fix_that_came_before_the_extension_is_found(tmp_path: Path) -> None:
    app = Flask("x", instance_path=str(tmp_path))
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    keys = ArchieKeys(app)
    findings = json.loads(app.test_cli_runner().invoke(args=["keys", "doctor", "--json"]).stdout)["data"]
    assert {f["check"]: f["verdict"] for f in findings}["proxies"] == "ok"
    keys.close(app)


def test_proxies(make_host: MakeHost) -> None:
    found = verdict(make_host(), "proxies")
    assert found[0] == "warning" and "ProxyFix" in found[1]


def test_it_is_a_table_for_people(make_host: MakeHost) -> None:
    result = make_host().app.test_cli_runner().invoke(args=["keys", "doctor"])
    assert result.stdout.splitlines()[0].split() == ["CHECK", "VERDICT", "FOUND", "MEND"]
