"""A file of our own over forks: SQLite's locks and log belong to the process that opened it. All processes are real."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.processes import Application

#: One process makes a key and forks. The child works before and after the parent has ended, or closed what it had open.
SCRIPT = """
import json, os, signal, sys
from served import create_app

app = create_app()
keys = app.extensions["archie_keys"].environment("master")
parent, used = sys.argv[1:]

def make(name):
    with app.app_context():
        return keys.service.create(name=name, roles=["viewer"]).secret

def names():
    return sorted(key.name for key in keys.service.find())

def get(secret):
    return app.test_client().get("/x", headers={"Authorization": "Bearer " + secret}).status_code

first = make("parent")  # leaves a connection in the pool,
if used == "asked":
    assert get(first) == 200  # and this one that is kept for the hot read;
    assert names() == ["parent"]  # another one in the pool
parents_end, childs_end = os.pipe(), os.pipe()
if os.fork():
    for end in (parents_end[0], childs_end[1]):
        os.close(end)
    os.read(childs_end[0], 1)  # until the child has worked beside us
    if parent == "exits":
        sys.exit()
    if parent == "is gone at once":
        os._exit(0)
    keys.close()
    if parent == "closes and goes on":
        assert get(make("parent again")) == 200
        keys.close()
    os.close(parents_end[1])
    os.wait()
else:
    signal.alarm(60)
    for end in (parents_end[1], childs_end[0]):
        os.close(end)
    secrets = [first, make("child beside the parent")]
    os.write(childs_end[1], b"x")
    os.read(parents_end[0], 1)  # until the parent is done
    secrets.append(make("child after the parent"))
    print(json.dumps({"statuses": [get(secret) for secret in secrets], "names": names()}), flush=True)
"""


@pytest.fixture
def application(tmp_path: Path) -> Iterator[Application]:
    application = Application(tmp_path)
    yield application
    application.close()


@pytest.mark.parametrize("used", ["asked", "not asked"])
@pytest.mark.parametrize("parent", ["exits", "is gone at once", "closes", "closes and goes on"])
def test_what_parent_and_child_write_is_there(application: Application, parent: str, used: str) -> None:
    script = application.folder / "fork.py"
    script.write_text(SCRIPT)
    # Python 3.12 warns of forks in processes with threads, and the drain is one
    process = application.start("-W", "ignore::DeprecationWarning", str(script), parent, used)
    output = process.communicate(timeout=120)[0]
    said = json.loads(output.splitlines()[-1])
    names = ["child after the parent", "child beside the parent", "parent"]
    names += ["parent again"] if parent == "closes and goes on" else []
    assert said == {"statuses": [200, 200, 200], "names": names}, output
    listed = json.loads(application.flask("keys", "list", "--json").stdout)["data"]
    assert sorted(key["name"] for key in listed) == names, "a fresh process sees what both of them wrote"


def test_the_file_is_whole_after_many_forks(application: Application) -> None:
    """Children that write and are gone, two at a time, while the parent writes as well."""
    script = application.folder / "forks.py"
    script.write_text(
        """
import os, sqlite3
from served import create_app

app = create_app()
keys = app.extensions["archie_keys"].environment("master")

def make(name):
    with app.app_context():
        keys.service.create(name=name)

make("parent")
for n in range(6):
    children = []
    for m in range(2):
        child = os.fork()
        if not child:
            make(f"child {n} {m}")
            os._exit(0)
        children.append(child)
    make(f"parent {n}")
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
keys.close()
other = sqlite3.connect(os.path.join(app.instance_path, "archie_keys.sqlite"))
print(other.execute("SELECT count(*) FROM archie_api_keys").fetchone()[0])
print(other.execute("PRAGMA integrity_check").fetchone()[0])
other.close()
"""
    )
    process = application.start("-W", "error", str(script))
    assert process.communicate(timeout=120)[0].split() == ["19", "ok"]
