"""Moves the lines of a spool into the database.

Each batch is committed first and its place in the file noted after that; a batch that is read twice changes nothing,
because events have ids. So every line arrives, once. One drainer at a time works on a folder, elected by ``flock``.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DataError, IntegrityError

from ..errors import AuditUnavailable, StoreUnavailable
from ..store import audit as store
from ..store.database import Database
from .event import BadLine, parse, parse_all, to_ending, to_row
from .spool import SUFFIX, open_directory

LOCK = "drainer.lock"
QUARANTINE = "quarantine.log"
_OFFSET = ".offset"
_CHUNK = 2**20  # bytes read at once; also the batch of one transaction
logger = logging.getLogger("flask_archie_keys.audit")


@dataclass(slots=True)
class Drained:
    """What a drain did.

    :ivar lines: lines taken into the database.
    :ivar quarantined: lines that could not be, now in ``quarantine.log`` with the reason.
    :ivar files: spool files that were finished and removed.
    """

    lines: int = 0
    quarantined: int = 0
    files: int = 0


class Drainer:
    """Drains one spool folder into one database."""

    def __init__(self, directory: Path, database: Database) -> None:
        self._directory = directory
        self._database = database

    def drain(self, *, wait: float = 0.0) -> Drained | None:
        """Take in all that is in the spool now.

        :param wait: seconds to wait for another drainer of this folder to finish.
        :returns: what was done; ``None`` if another drainer is at work.
        :raises StoreUnavailable: if the database cannot be written; the lines stay in the spool.
        """
        done = Drained()
        if not self._directory.is_dir():
            return done
        open_directory(self._directory)
        with self._elected(wait) as elected:
            if not elected:
                return None
            for path in sorted(self._directory.glob(f"*{SUFFIX}")):  # by time, so beginnings before ends
                try:
                    self._drain_file(path, done)
                except OSError as error:  # a folder, a link, somebody else's: not a file of ours
                    logger.error("%s cannot be drained: %s", path, error)
            for offset in self._directory.glob(f"*{SUFFIX}{_OFFSET}"):
                if not offset.with_suffix("").exists():  # left by a drainer that was killed
                    offset.unlink(missing_ok=True)
        return done

    @contextmanager
    def _elected(self, wait: float) -> Iterator[bool]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            lock = os.open(self._directory / LOCK, flags, 0o600)
        except OSError as error:
            raise AuditUnavailable("the audit spool cannot be drained") from error
        _held.add(lock)
        try:
            yield _locked(lock, wait)
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)  # also of the copies that a fork in this moment has made
            _held.discard(lock)
            os.close(lock)

    def _drain_file(self, path: Path, done: Drained) -> None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise IsADirectoryError("not a file")
        with open(fd, "rb") as file:
            writer_is_gone = _locked(fd, 0)  # before the last read: what a dead writer wrote is all there
            offset = _read_offset(path)
            file.seek(offset)
            while chunk := file.read(_CHUNK):
                end = chunk.rfind(b"\n") + 1
                if not end and (writer_is_gone or len(chunk) == _CHUNK):
                    self._quarantine(chunk, "not a whole line", done)
                    end = len(chunk)
                elif end:
                    self._take(chunk[:end].splitlines(), done)
                if not end:
                    break  # the writer is at it
                offset += end
                _write_offset(path, offset)
                file.seek(offset)
            if writer_is_gone:
                path.unlink(missing_ok=True)
                Path(f"{path}{_OFFSET}").unlink(missing_ok=True)
                done.files += 1

    def _take(self, lines: Sequence[bytes], done: Drained) -> None:
        at_once = parse_all(lines)
        if at_once is not None:
            self._merge(list(zip(lines, at_once, strict=True)), done)
            return
        records = []
        for line in lines:
            try:
                records.append((line, parse(line)))
            except BadLine as error:
                if line:
                    self._quarantine(line, str(error), done)
        if records:
            self._merge(records, done)

    def _merge(self, records: Sequence[tuple[bytes, dict[str, Any]]], done: Drained) -> None:
        """Store a batch; halve one that holds a record that the database refuses until that one is found."""
        try:
            with self._database.write() as connection:
                rows, endings = _pair(record for _, record in records)
                store.merge(connection, rows, endings)
                store.set_last_used(connection, _last_used(rows))
        except (StoreUnavailable, ValueError, TypeError, OverflowError) as error:
            if isinstance(error, StoreUnavailable) and not isinstance(error.__cause__, (DataError, IntegrityError)):
                raise
            if len(records) == 1:
                self._quarantine(records[0][0], str(error.__cause__ or error), done)
                return
            half = len(records) // 2
            self._merge(records[:half], done)
            self._merge(records[half:], done)
        else:
            done.lines += len(records)

    def _quarantine(self, line: bytes, why: str, done: Drained) -> None:
        entry = {"at": time.time(), "error": why[:500], "line": line[:65536].decode("utf-8", "backslashreplace")}
        done.quarantined += 1
        logger.error("audit record quarantined in %s: %s", self._directory / QUARANTINE, why[:500])
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with open(os.open(self._directory / QUARANTINE, flags, 0o600), "wb") as file:
                file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:  # the disk is full: the log is what is left
            logger.error("the quarantine cannot be written (%s); the record was %s", error, entry)


def _pair(records: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """First lines as rows, with their endings where both are here; and the endings of earlier batches' rows."""
    rows: dict[str, dict[str, Any]] = {}
    endings = []
    for record in records:
        if record["phase"] != "completed":
            rows[record["id"]] = to_row(record)
            continue
        ending = to_ending(record)
        row = rows.get(record["id"])
        if row is None:
            endings.append(ending)
        else:
            if ending["details"] is not None:
                ending["details"] = store.merged(row["details"], ending["details"])
            row.update({name: value for name, value in ending.items() if value is not None})
    return list(rows.values()), endings


def _last_used(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    newest: dict[str, int] = {}
    for row in rows:
        key_id = row["key_id"]
        if key_id is not None and row["kind"] == "request" and row["outcome"] in store.USES:
            newest[key_id] = max(newest.get(key_id, 0), row["occurred_at"])
    return newest


def _locked(fd: int, wait: float) -> bool:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)


def _read_offset(path: Path) -> int:
    try:
        return max(int(Path(f"{path}{_OFFSET}").read_text()), 0)
    except (FileNotFoundError, ValueError):
        return 0


def _write_offset(path: Path, offset: int) -> None:
    new = Path(f"{path}{_OFFSET}.new")
    try:
        new.write_text(str(offset))
        os.replace(new, f"{path}{_OFFSET}")
    except OSError as error:  # the disk is full: reading the lines again changes nothing
        new.unlink(missing_ok=True)
        logger.warning("the place in %s could not be noted: %s", path, error)


def waiting(directory: Path) -> dict[Path, int]:
    """The spool files that hold bytes which are not drained yet, and how many."""
    found = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            left = path.stat().st_size - _read_offset(path)
        except FileNotFoundError:  # drained and removed meanwhile
            continue
        if left > 0:
            found[path] = left
    return found


def count_quarantined(directory: Path) -> int:
    """How many records wait in quarantine for somebody to look at them."""
    try:
        with open(directory / QUARANTINE, "rb") as file:
            return sum(1 for _ in file)
    except FileNotFoundError:
        return 0


_held: set[int] = set()


def _let_go() -> None:
    """In the child after a fork: a copy of the parent's lock would keep everybody out after the parent's death."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go)
