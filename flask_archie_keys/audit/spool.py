"""The spool: a file of JSON lines for each process, written with one ``os.write`` a record.

A record that was written survives the death of the process at any instant: it is the kernel's. (A power cut may take
the last seconds; a record is not forced to the disk.) Measured: two writes cost about a tenth of a bare Flask request.

The writer holds ``flock`` on its file for as long as it writes there. Whoever gets that lock knows that the writer is
gone and may finish and remove the file.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import stat
import threading
import time
import weakref
from pathlib import Path

from ..config import AuditConfig
from ..errors import AuditUnavailable

SUFFIX = ".jsonl"
_CHECK_EVERY = 1_000_000_000  # nanoseconds between two looks at the file and at the size of the spool
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
logger = logging.getLogger("flask_archie_keys.audit")


def open_directory(directory: Path) -> None:
    """Make the spool folder, or see that it is one that nobody else can write to.

    :raises AuditUnavailable: if it is a link, somebody else's or open to others.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise AuditUnavailable("the audit spool cannot be made") from error
    if not stat.S_ISDIR(found.st_mode):
        raise _unsafe(f"{directory} is not a folder, or is a link to one")
    if found.st_uid != os.geteuid():
        raise _unsafe(f"{directory} belongs to another user")
    if found.st_mode & 0o077:
        raise _unsafe(f"{directory} is open to others; chmod 700 it")


def _unsafe(why: str) -> AuditUnavailable:
    error = AuditUnavailable("the audit spool is not safe to write to")
    error.__cause__ = PermissionError(why)
    return error


def spool_size(directory: Path) -> int:
    """The bytes that a spool folder holds."""
    total = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                total += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:  # drained and removed meanwhile
                continue
    return total


class Spool:
    """The file that this process writes. Opened at the first record, so after any fork.

    :ivar dropped: records that could not be written and whose requests were served all the same.
    """

    def __init__(self, directory: Path, config: AuditConfig) -> None:
        self.directory = directory
        self.dropped = 0
        self._config = config
        self._lock = threading.Lock()
        self._fd: int | None = None
        self._size = 0
        self._next_check = 0
        self._torn = False
        self._full = False
        self._complained = 0.0
        _spools.add(self)

    def write(self, line: bytes) -> None:
        """Append one line, whole or not at all.

        :raises AuditUnavailable: if it cannot be written and the setting says ``closed``.
        """
        try:
            with self._lock:
                self._append(line)
        except (OSError, AuditUnavailable) as error:
            self._failed(error)

    def insist(self, line: bytes) -> None:
        """Append one line that must not go missing, whatever the setting says.

        :raises AuditUnavailable: if it cannot be written.
        """
        try:
            with self._lock:
                self._append(line)
        except OSError as error:
            raise AuditUnavailable("the audit event cannot be written") from error

    def note(self, line: bytes, count: int = 1) -> None:
        """Append one line for ``count`` requests that are over: a failure is counted and logged, never raised."""
        try:
            with self._lock:
                self._append(line)
        except (OSError, AuditUnavailable) as error:
            self._drop(error, count)

    def close(self) -> None:
        """Close the file; the next record opens a new one."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """In the child after a fork: leave the parent's file alone. Its lock lives as long as a copy is open."""
        self._lock = threading.Lock()
        self._close(unlock=False)
        self._torn = self._full = False

    def _append(self, line: bytes) -> None:
        now = time.monotonic_ns()
        fd = self._fd
        if fd is None or now >= self._next_check:
            fd = self._check(now)
        if self._full:
            raise AuditUnavailable("the audit spool is full; is it being drained?")
        if self._torn:
            line = b"\n" + line
        written = os.write(fd, line)
        self._size += written
        self._torn = written != len(line)
        if self._torn:  # the disk is full: what was written is half a record, ended by the next one
            raise AuditUnavailable("the audit spool took half a record")

    def _check(self, now: int) -> int:
        """Once a second: is the file still there, is it large, is the spool full?"""
        if self._fd is not None and (os.fstat(self._fd).st_nlink == 0 or self._size >= self._config.max_file):
            self._close()
        fd = self._open() if self._fd is None else self._fd
        self._full = spool_size(self.directory) > self._config.max_spool
        if self._full and self._size:
            self._close()  # so that a drainer can finish the file and make room
        self._next_check = now + _CHECK_EVERY
        return fd

    def _open(self) -> int:
        """Open a new file under a name that no drainer looks at, lock it, then give it its own name."""
        open_directory(self.directory)
        # the time makes names sort as they were made: a request's end may be in the file after its beginning
        name = f"{socket.gethostname()}-{os.getpid()}-{time.time_ns():020d}-{secrets.token_hex(4)}"
        hidden = self.directory / f".{name}"
        fd = os.open(hidden, _FLAGS, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(hidden, self.directory / f"{name}{SUFFIX}")
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._size, self._torn = fd, 0, False
        return fd

    def _close(self, *, unlock: bool = True) -> None:
        if self._fd is not None:
            if unlock:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            os.close(self._fd)
        self._fd = None

    def _failed(self, error: Exception) -> None:
        if self._config.on_failure == "closed":
            if isinstance(error, AuditUnavailable):
                raise error
            raise AuditUnavailable("the audit event cannot be written") from error
        self._drop(error)

    def _drop(self, error: Exception, count: int = 1) -> None:
        self.dropped += count
        if time.monotonic() - self._complained >= 60 or not self._complained:
            self._complained = time.monotonic()
            logger.error("audit records dropped: %d so far; %s", self.dropped, error)

    def __del__(self) -> None:
        if getattr(self, "_fd", None) is not None:
            self._close()


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()


def _forget_all() -> None:
    for spool in list(_spools):
        spool.forget()


os.register_at_fork(after_in_child=_forget_all)
