from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from flask_archie_keys import AuditUnavailable
from flask_archie_keys.audit import spool as spool_module
from flask_archie_keys.audit.spool import Spool
from flask_archie_keys.config import AuditConfig

from ..conftest import MakeHost


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.jsonl"))


def make(directory: Path, **config: object) -> Spool:
    return Spool(directory, AuditConfig(**config))  # type: ignore[arg-type]


def test_nothing_is_opened_before_the_first_record(directory: Path) -> None:
    spool = make(directory)
    assert not directory.exists()
    spool.write(b"one\n")
    assert [path.read_bytes() for path in files(directory)] == [b"one\n"]
    spool.close()


def test_the_file_is_its_owners_alone(directory: Path) -> None:
    before = os.umask(0)
    try:
        spool = make(directory)
        spool.write(b"one\n")
    finally:
        os.umask(before)
    assert stat.S_IMODE(files(directory)[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    spool.close()


@pytest.mark.parametrize("wrong", ["link", "open to others", "a file"])
def test_an_unsafe_folder_is_refused(tmp_path: Path, directory: Path, wrong: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if wrong == "link":
        directory.symlink_to(elsewhere)
    elif wrong == "a file":
        directory.touch()
    else:
        directory.mkdir()
        directory.chmod(0o777)
    with pytest.raises(AuditUnavailable):
        make(directory).write(b"one\n")
    assert list(elsewhere.iterdir()) == []


def test_a_link_in_the_place_of_the_file_is_not_followed(
    tmp_path: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(spool_module.secrets, "token_hex", lambda n: "known")  # an attacker who can guess
    monkeypatch.setattr(spool_module.time, "time_ns", lambda: 7)
    name = f".{spool_module.socket.gethostname()}-{os.getpid()}-{7:020d}-known"
    (directory / name).symlink_to(target)
    with pytest.raises(AuditUnavailable):
        make(directory).write(b"one\n")
    assert not target.exists()


def test_many_threads_tear_no_line(directory: Path) -> None:
    spool = make(directory, max_file=4096)
    lines = [b"%d %s\n" % (n, b"x" * 500) for n in range(8)]
    threads = [threading.Thread(target=lambda line=line: [spool.write(line) for _ in range(200)]) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    written = b"".join(path.read_bytes() for path in files(directory)).splitlines(keepends=True)
    assert sorted(written) == sorted(lines * 200)
    spool.close()


def test_a_large_file_is_left_for_a_new_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_CHECK_EVERY", 0)
    spool = make(directory, max_file=4096)
    for _ in range(20):
        spool.write(b"x" * 999 + b"\n")
    assert len(files(directory)) == 4
    assert sum(path.stat().st_size for path in files(directory)) == 20_000
    spool.close()


def test_a_file_that_somebody_removed_is_opened_anew(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_CHECK_EVERY", 0)
    spool = make(directory)
    spool.write(b"one\n")
    files(directory)[0].unlink()
    spool.write(b"two\n")
    assert [path.read_bytes() for path in files(directory)] == [b"two\n"]
    spool.close()


def test_a_child_after_a_fork_writes_a_file_of_its_own(directory: Path) -> None:
    spool = make(directory)
    spool.write(b"parent\n")
    child = os.fork()
    if child == 0:
        spool.write(b"child\n")
        os._exit(0)
    os.waitpid(child, 0)
    spool.write(b"parent again\n")
    assert sorted(path.read_bytes() for path in files(directory)) == [b"child\n", b"parent\nparent again\n"]
    spool.close()


def test_a_full_disk_is_refused_and_leaves_no_joined_lines(directory: Path) -> None:
    """The kernel takes half a record before it says that there is no room: the next one begins a new line."""
    spool = make(directory)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    spool.write(b"x" * 99 + b"\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, before[1]))
    try:
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                spool.write(b"y" * 99 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    spool.write(b"z\n")
    assert files(directory)[0].read_bytes() == b"x" * 99 + b"\n" + b"y" * 50 + b"\nz\n"
    spool.close()


def test_a_full_spool_is_refused_until_it_is_drained(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_CHECK_EVERY", 0)
    spool = make(directory, max_spool=65536)
    with pytest.raises(AuditUnavailable, match="full"):
        for _ in range(100):
            spool.write(b"x" * 999 + b"\n")
    log = [path for path in files(directory) if not locked(path)]
    assert log == files(directory), "the file was closed, so a drainer can finish it"
    for path in files(directory):
        path.unlink()
    spool.write(b"again\n")
    spool.close()


def locked(path: Path) -> bool:
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_open_serves_counts_and_logs_once(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory.touch()
    spool = make(directory, on_failure="open")
    for _ in range(5):
        spool.write(b"lost\n")
    assert spool.dropped == 5
    assert [record.message for record in caplog.records].count("audit records dropped: 1 so far; " + _why()) == 1
    assert len(caplog.records) == 1


def _why() -> str:
    return "the audit spool cannot be made"


@pytest.mark.parametrize(("on_failure", "status"), [("closed", 503), ("open", 200)])
def test_what_a_request_gets_when_its_event_cannot_be_written(
    make_host: MakeHost, tmp_path: Path, on_failure: str, status: int
) -> None:
    blocked = tmp_path / "blocked"
    blocked.touch()
    ran = []
    host = make_host(ARCHIE_KEYS_AUDIT={"directory": str(blocked), "on_failure": on_failure}, views=False)
    from flask_archie_keys import require_api_key

    host.app.add_url_rule("/x", "x", require_api_key(lambda: ran.append(1) or "x"))
    answer = host.get("/x", host.create().secret)
    assert answer.status_code == status
    assert len(ran) == (status == 200), "the view must not run unrecorded"
    if status == 503:
        assert answer.headers["Retry-After"] == "1"
        assert str(blocked) not in answer.text and os.strerror(errno.ENOTDIR) not in answer.text
    assert host.get("/x").status_code == (503 if status == 503 else 401), "refused requests are recorded too"
