"""What survives: processes that are killed, forked and many at once. All of them real."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..support.processes import Application


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path)
    yield application
    application.close()


def make_key(application: Application) -> str:
    done = application.flask("keys", "create", "x", "--role", "viewer", "--quiet")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def events(application: Application, *filters: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: list[str] = []
    while True:
        done = application.flask("keys", "audit", "--json", "--limit", "200", *filters, *cursor)
        assert done.returncode == 0, done.stderr
        page = json.loads(done.stdout)
        found += [event for event in page["data"] if event["kind"] == "request"]
        if not page["meta"]["pagination"]["hasNextPage"]:
            return found
        cursor = ["--cursor", page["meta"]["pagination"]["nextCursor"]]


def test_every_request_before_a_kill_is_in_the_log(application: Application) -> None:
    """kill -9 in the middle of the load: each answered request is there, and the one that was running as well."""
    secret = make_key(application)
    server = application.serve("--workers", "1", "--threads", "4")
    assert server.get("/x", secret)[0] == 200
    worker = int(server.get("/pid")[1])
    answered = [1]
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            try:
                if server.get("/x", secret)[0] == 200:
                    answered.append(1)
            except Exception:
                if not stop.is_set():
                    time.sleep(0.01)

    threads = [threading.Thread(target=load) for _ in range(3)]
    slow = threading.Thread(target=lambda: _ignore(lambda: server.get("/slow", secret)))
    for thread in [*threads, slow]:
        thread.start()
    time.sleep(1)
    os.kill(server.process.pid, signal.SIGSTOP)  # the master must not start another worker meanwhile
    os.kill(worker, signal.SIGKILL)
    stop.set()
    server.process.kill()
    for thread in [*threads, slow]:
        thread.join()
    found = events(application)
    completed = [event for event in found if event["status"] == 200]
    assert len(answered) > 10
    assert len(completed) >= len(answered), "an answered request is missing"
    assert len(completed) <= len(answered) + 4, "more than could have been under way"
    assert [event["status"] for event in found if event["route"] == "/slow"] == [None]
    assert len({event["id"] for event in found}) == len(found)


def _ignore(job: Any) -> None:
    try:
        job()
    except Exception:
        return


@pytest.mark.parametrize("used_before_fork", ["", "1"])
def test_preloaded_workers_lose_and_double_nothing(application: Application, used_before_fork: str) -> None:
    secret = make_key(application)
    server = application.serve("--workers", "3", "--preload", USED_BEFORE_FORK=used_before_fork)
    pids: set[str] = set()
    sent = 0

    def files() -> set[str]:
        return {path.name.split("-")[-3] for path in application.instance.glob("archie_keys/spool/*/*.jsonl")}

    with ThreadPoolExecutor(6) as pool:  # at once, so that more than one worker is busy
        while sent < 60 or len(pids & files()) < 2:  # a file for each process
            answers = [pool.submit(server.get, path, secret) for path in ("/x", "/pid") * 6]
            assert {answer.result()[0] for answer in answers} == {200}
            pids |= {answer.result()[1] for answer in answers[1::2]}
            sent += 6
    assert len(events(application, "--status", "200")) == sent
    server.process.terminate()
    server.process.wait(20)
    assert len(events(application, "--status", "200")) == sent
    spools = application.instance.glob("archie_keys/spool/*/*.jsonl")
    assert list(spools) == [], "the files of processes that ended are finished and removed"


def test_a_deletion_holds_at_the_next_request_in_every_process(application: Application) -> None:
    secret = make_key(application)
    server = application.serve("--workers", "3")
    for _ in range(12):
        assert server.get("/x", secret)[0] == 200
    key_id = secret.split("_")[1]
    assert application.flask("keys", "delete", key_id, "--yes").returncode == 0
    assert {server.get("/x", secret)[0] for _ in range(12)} == {401}


FORK_IN_THE_MIDDLE = """
import os, signal, sys, threading, time
from served import create_app
from flask_archie_keys.audit.event import Request
app = create_app()
header = {"Authorization": "Bearer " + sys.argv[1]}
def get():
    return app.test_client().get("/x", headers=header).status_code == 200
assert get()
with app.app_context():
    log = app.extensions["archie_keys"].environment("master").audit
stop = False
def load():
    while not stop:
        log.received(time.time_ns(), Request("GET", None, "/thread", None, None, None), sys.argv[1].split("_")[1])
        time.sleep(0.001)
threads = [threading.Thread(target=load) for _ in range(3)]
for t in threads: t.start()
children = []
for _ in range(40):
    time.sleep(0.02)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # a child that hangs is ended, and seen
        os._exit(0 if get() else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
stop = True
for t in threads: t.join()
print(codes)
"""


def test_a_fork_at_any_moment_neither_hangs_nor_loses(application: Application) -> None:
    """Threads write to the spool and drain it into SQLite while the process forks."""
    secret = make_key(application)
    script = application.folder / "fork.py"
    script.write_text(FORK_IN_THE_MIDDLE)
    # Python 3.12 warns of forks in processes with threads, which is what this is about
    process = application.start("-W", "ignore::DeprecationWarning", str(script), secret)
    output = process.communicate(timeout=60)[0]
    assert json.loads(output.splitlines()[-1]) == [0] * 40, output
    found = events(application, "--status", "200")
    assert len(found) == 41 and len({event["id"] for event in found}) == 41


WRITE = """
import sys
from served import create_app
app = create_app()
with app.app_context():
    service = app.extensions["archie_keys"].environment("master").service
    for n in range(20):
        key = service.create(name=f"{sys.argv[1]} {n}").key
        service.update(key.id, name="renamed")
print("done")
"""


def test_many_processes_write_at_once_and_none_is_told_that_the_database_is_locked(application: Application) -> None:
    """Eight processes, the first of them making the file and its tables."""
    script = application.folder / "write.py"
    script.write_text(WRITE)
    processes = [application.start("-W", "error", str(script), str(n)) for n in range(8)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [output.strip() for output in outputs] == ["done"] * 8
    listed = application.flask("keys", "list", "--limit", "200", "--json")
    assert len(json.loads(listed.stdout)["data"]) == 160
