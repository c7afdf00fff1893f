"""One process per folder: an advisory lock on a file; the system takes it back however its process ends."""

from __future__ import annotations

import errno
import os
import platform
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import EquipoiseError

NAME = "lock"
TRIES, PAUSE = 5, 0.02  # somebody may hold it for a moment only to see whether it is held
TAKEN = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class Busy(EquipoiseError):
    """Another process holds the lock."""


class Lock:
    """An exclusive lock on ``path``, which is made where it is not there and holds who has it, for people to read.

    By flock(2), on Windows by msvcrt; on a file system that has no locks it holds nothing and refuses nobody.
    ``real``: it is held, and the system sees to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.real = False
        self._handle: int | None = None

    def acquire(self) -> Self:
        """Hold it, or raise `Busy`."""
        while self._handle is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self.real = _lock(handle)
                if _same(handle, self.path):  # else its last holder removed it meanwhile: take the new one
                    os.truncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {platform.node()}\n".encode())
                    self._handle = handle
            finally:
                if self._handle is None:
                    os.close(handle)
        return self

    def release(self) -> None:
        """Let it go; the file stays, for removing it is its folder's business."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle, self.real = None, False

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def held(path: Path) -> bool:
    """Does a process hold the lock on this file? False where there is no such file, and where nothing can be locked."""
    if not path.is_file():
        return False
    try:
        with Lock(path):
            return False
    except Busy:
        return True
    except OSError:  # not ours to write
        return False


def holder(path: Path) -> str:
    """Who has it, as far as the file tells."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip() or "another process"
    except OSError:
        return "another process"


def refuse_in_use(folder: Path) -> None:
    """EquipoiseError where a process trains in ``folder``, or in one below it."""
    for path in sorted(folder.rglob(NAME)):
        if held(path):
            raise Busy(f"{folder} is in use by {holder(path)}: wait for it, stop it, or choose another folder.")


def _lock(handle: int) -> bool:
    """True where it is held, False where there are no locks; raises `Busy`."""
    for left in reversed(range(TRIES)):
        try:
            _system_lock(handle)
            return True
        except OSError as e:
            if e.errno in UNSUPPORTED:
                return False
            if e.errno not in TAKEN:
                raise
            if not left:
                raise Busy("held by another process.") from None
        time.sleep(PAUSE)
    raise AssertionError("unreachable")


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _system_lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        windows: Any = msvcrt
        windows.locking(handle, windows.LK_NBLCK, 1)
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
