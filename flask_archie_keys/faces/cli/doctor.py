"""``flask keys doctor``: looks at the set-up and names the mend for what is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from flask import Flask, current_app
from sqlalchemy import text
from werkzeug.middleware.proxy_fix import ProxyFix

from ... import rows
from ...audit.drain import QUARANTINE, count_quarantined, waiting
from ...audit.spool import open_directory
from ...context import Environment
from ...domain.clock import from_micros, now_micros
from ...domain.ids import first_event_id
from ...domain.principals import Principal
from ...errors import ArchieKeysError, AuditUnavailable, PermissionsUnavailable, Unavailable
from ...guarded_views import misplaced, requirements, unguarded_methods
from .. import schemas
from . import keys_command
from .output import FAILED, environment_option, json_option, print_json, print_table

_NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "fuse.glusterfs")
_MOUNTS = Path("/proc/self/mounts")
_EPHEMERAL_FILE_SYSTEMS = ("tmpfs", "overlay", "ramfs")


class Finding(NamedTuple):
    """What one check found: ``mend`` says what to do, and is empty when all is well."""

    check: str
    verdict: Literal["ok", "warning", "problem"]
    found: str
    mend: str = ""


Check = Callable[[Environment, Flask], Iterator[Finding]]


@keys_command.command("doctor")
@json_option
@environment_option
def doctor(environment: Environment, as_json: bool) -> None:
    """Check the set-up. Exit code 1 if anything is a problem; warnings do not count."""
    findings = [finding for check in CHECKS for finding in _run(check, environment)]
    if as_json:
        print_json(schemas.many([finding._asdict() for finding in findings], len(findings)))
    else:
        print_table(
            ["CHECK", "VERDICT", "FOUND", "MEND"], [[f.check, f.verdict, f.found, f.mend or None] for f in findings]
        )
    if any(finding.verdict == "problem" for finding in findings):
        raise click.exceptions.Exit(FAILED)


def _run(check: Check, environment: Environment) -> list[Finding]:
    """A check that cannot be done is a finding, and does not keep the others from being done."""
    try:
        return list(check(environment, current_app._get_current_object()))  # type: ignore[attr-defined]
    except (ArchieKeysError, OSError) as error:
        why = error.cause if isinstance(error, Unavailable) else None
        return [Finding(check.__name__.removeprefix("check_"), "problem", str(why or error), "mend what it says")]


def check_peppers(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Are there peppers, and are they not the application's secret key?"""
    peppers = environment.config.peppers
    if not peppers:
        yield Finding(
            "pepper",
            "warning",
            "ARCHIE_KEYS_PEPPERS is empty: whoever can write rows can make keys",
            "set it to a list with the output of: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    elif not peppers[-1]:
        yield Finding(
            "pepper",
            "warning",
            "digests are made without a pepper, as the last of ARCHIE_KEYS_PEPPERS is empty",
            "put the empty one first, once every process runs with this list",
        )
    elif app.secret_key in peppers:
        yield Finding(
            "pepper",
            "problem",
            "SECRET_KEY is used as a pepper: changing it would end every key",
            "make one of its own",
        )
    elif environment.config.import_schemes:
        schemes = ", ".join(environment.config.import_schemes)
        yield Finding(
            "pepper",
            "warning",
            f"digests of {schemes} are accepted, which do not depend on the pepper",
            "empty ARCHIE_KEYS_IMPORT_SCHEMES once the imported keys have been used",
        )
    else:
        yield Finding("pepper", "ok", f"{len(peppers)} configured")


def check_tables(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Are the tables there, and does SQLite let readers and a writer work at the same time?"""
    missing = environment.database.missing_tables()
    if missing:
        yield Finding("tables", "problem", f"missing: {', '.join(missing)}", "flask keys init-db, or your migrations")
        return
    yield Finding("tables", "ok", f"all there, in {environment.database.engine.dialect.name}")
    if environment.database.is_shared_connection:
        yield Finding(
            "database",
            "warning",
            "one connection for all threads, as for SQLite in memory",
            "for tests only; use a file",
        )
    elif environment.database.is_sqlite:
        with environment.database.read() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        if mode != "wal":
            mend = "once: sqlite3 <file> 'PRAGMA journal_mode=WAL'"
            yield Finding(
                "database", "warning", f"SQLite journal mode {mode}: readers and writers wait for each other", mend
            )


def check_spool(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Can events be written down, on a disk that keeps them, and is somebody draining them?"""
    config = environment.config.audit
    directory = environment.audit.spool.directory
    if not config.enabled:
        yield Finding("spool", "warning", "the audit of requests is off", 'leave out ARCHIE_KEYS_AUDIT["enabled"]')
        return
    try:
        open_directory(directory)
        probe = directory / ".probe"
        probe.touch(mode=0o600)
        probe.unlink()
    except (AuditUnavailable, OSError) as error:
        why = error.cause if isinstance(error, AuditUnavailable) else error
        yield Finding("spool", "problem", str(why or error), 'mend the folder, or set ARCHIE_KEYS_AUDIT["directory"]')
        return
    kind = file_system(directory)
    if kind in _NETWORK_FILE_SYSTEMS:
        yield Finding("spool", "problem", f"{directory} is on {kind}, where appends are not atomic", "use a local disk")
    elif kind in _EPHEMERAL_FILE_SYSTEMS:
        yield Finding(
            "spool", "warning", f"{directory} is on {kind} and may not outlive a restart", "put it on a volume"
        )
    else:
        yield Finding("spool", "ok", f"{directory} ({sum(waiting(directory).values())} bytes wait)")
    oldest = oldest_record(directory)
    if oldest is not None and oldest > 10 * config.interval + timedelta(minutes=1):
        found = f"the oldest spool file has waited for {int(oldest.total_seconds())} s"
        yield Finding("drain", "warning", found, "run flask keys drain, from cron where threads do not run")
    quarantined = count_quarantined(directory)
    if quarantined:
        found = f"{quarantined} records could not be taken in"
        yield Finding("quarantine", "warning", found, f"look into {directory / QUARANTINE}, then remove it")


def file_system(path: Path) -> str | None:
    """The type of the file system that holds ``path``, as Linux names it; ``None`` where that cannot be told."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return None
    mounts = [(line.split()[1], line.split()[2]) for line in lines]
    real = str(path.resolve())
    holding = [(len(at), kind) for at, kind in mounts if at == "/" or real == at or real.startswith(f"{at}/")]
    return max(holding)[1] if holding else None


def oldest_record(directory: Path) -> timedelta | None:
    """How long the spool file that was written to the longest ago has waited; ``None`` when all is drained."""
    moments = []
    for path in waiting(directory):
        with suppress(FileNotFoundError):  # drained and removed meanwhile
            moments.append(path.stat().st_mtime)
    return timedelta(seconds=max(time.time() - min(moments), 0)) if moments else None


def check_clock(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Does this machine's clock agree with the database's, and does it go forward?"""
    with environment.database.read() as connection:
        if environment.database.is_sqlite:
            newest = environment.audit.newest_id(connection)
            ahead = newest is not None and newest > first_event_id(now_micros() + 60_000_000)
            if ahead:
                yield Finding("clock", "problem", "events lie in the future: the clock was set back", "check NTP")
                return
        else:
            theirs = connection.execute(text("SELECT CURRENT_TIMESTAMP")).scalar_one()
            apart = abs((theirs - from_micros(now_micros())).total_seconds()) if theirs.tzinfo else 0.0
            if apart > 5:
                found = f"this machine and the database are {apart:.0f} s apart"
                yield Finding("clock", "problem", found, "check NTP on both: expiry is by this machine's clock")
                return
    yield Finding("clock", "ok", f"{from_micros(now_micros()):%Y-%m-%d %H:%M:%S} UTC")


def check_decorators(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Is every decorator where it protects?"""
    wrong = misplaced(app)
    if wrong:
        found = f"@require_api_key stands above @app.route on {', '.join(wrong)}"
        yield Finding("decorator order", "problem", found, "put it below @app.route, next to the function")
    else:
        yield Finding("decorator order", "ok", "every decorator is around a registered view")


def check_views(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Which views, or methods of views, does no key guard beside others of the same blueprint or path that one does?"""
    lacking = {name: unguarded_methods(app, name) for name in sorted(app.view_functions)}
    asked = requirements(app)
    areas = {area for name in lacking if asked[name] for area in _areas(app, name)}
    beside = [
        name if methods == ["any"] else f"{name} ({', '.join(methods)})"
        for name, methods in lacking.items()
        if methods and (asked[name] or areas & _areas(app, name))
    ]
    if beside:
        shown = ", ".join(beside[:20]) + (f" and {len(beside) - 20} more" if len(beside) > 20 else "")
        yield Finding(
            "views", "warning", f"no key guards these, beside others that one does: {shown}", "add @require_api_key"
        )
    else:
        guarded = sum(not methods for methods in lacking.values())
        yield Finding("views", "ok", f"{guarded} of {len(lacking)} are guarded by a key")


def _areas(app: Flask, endpoint: str) -> set[str]:
    """What a view belongs to: its blueprint, and the first part of its paths."""
    rules = app.url_map.iter_rules(endpoint)
    return {endpoint.rpartition(".")[0] or "-", *(f"/{rule.rule.split('/')[1]}" for rule in rules)} - {"-", "/"}


def check_roles(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Do the grants of saved and declared roles fit the resources and columns that there are?"""
    if environment.owned_permissions is not None:
        yield Finding("roles", "ok", "their grants count for nothing: a decision point decides")
        return
    wrong = environment.roles.wrong()
    for name, errors in wrong.items():
        for error in errors:
            found = f"{name}: {error.field} {error.message}"
            yield Finding("roles", "problem", found, "save the role anew, or change it in ARCHIE_KEYS_ROLES")
    if not wrong:
        yield Finding("roles", "ok", "all grants fit")


def check_decision_point(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Does the decision point answer? Asked for a user whom it does not know."""
    point = environment.owned_permissions
    if point is None:
        return
    config = environment.config
    try:
        point.decide(Principal("user", "doctor", "doctor", config.project, config.environment), "api_keys", "read")
    except PermissionsUnavailable as error:
        mend = "start it, or correct ARCHIE_KEYS_PERMISSIONS_URL, _TOKEN or _TIMEOUT; until then requests get 503"
        yield Finding("decision point", "problem", f"{config.permissions_url}: {error.cause}", mend)
    else:
        yield Finding("decision point", "ok", f"{config.permissions_url} answers")


def check_rows(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Can the mappings of protected models be guarded?"""
    found = rows.problems()
    yield from (
        Finding("rows", "problem", problem, "as it says; until then protected tables are refused") for problem in found
    )
    names = rows.protected()
    if not found:
        yield Finding("rows", "ok", f"protected: {', '.join(names)}" if names else "no model is protected")


def check_row_security(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Where PostgreSQL's row security is on: does it bind the application, and know the filters of all roles?"""
    if not environment.config.row_security or not rows.protected():
        return
    problems = rows.Secured().problems()
    for problem in problems:
        yield Finding("row security", "warning" if problem.stale else "problem", problem.found, problem.mend)
    if not problems:
        yield Finding("row security", "ok", "policies are in force, and know the filters of all roles")


def check_proxies(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Is the client's address known behind a proxy? Allowed networks and the audit log depend on it."""
    part: Any = app.wsgi_app
    while part is not None and not isinstance(part, ProxyFix):
        part = getattr(part, "__wrapped__", None) or getattr(part, "app", None)
    if part is not None:
        yield Finding("proxies", "ok", "ProxyFix is in use; see that its numbers are those of your proxies")
        return
    yield Finding(
        "proxies",
        "warning",
        "ProxyFix is not in use: behind a proxy every request seems to come from it",
        "app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1) if, and only if, there is one proxy",
    )


def check_user(environment: Environment, app: Flask) -> Iterator[Finding]:
    """Does the command line run as another user than the application? Then it cannot read its spool."""
    directory = environment.audit.spool.directory
    if directory.is_dir() and directory.stat().st_uid != os.geteuid():
        yield Finding(
            "user", "problem", f"{directory} belongs to another user", "run flask keys as the application's user"
        )


CHECKS: tuple[Check, ...] = (
    check_peppers,
    check_tables,
    check_spool,
    check_user,
    check_clock,
    check_decorators,
    check_views,
    check_roles,
    check_decision_point,
    check_rows,
    check_row_security,
    check_proxies,
)


def describe() -> list[tuple[str, Any]]:
    """The checks and what each one asks, for the documentation."""
    return [(check.__name__.removeprefix("check_"), check.__doc__) for check in CHECKS]
