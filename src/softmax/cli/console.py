"""How the commands meet the outside: exit statuses, problems, notes, progress, files that are whole or absent."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

PATIENCE = 2.0  # seconds without a sign of life


# Errors of writing for which nobody at the keyboard is to blame.
FULL = (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT)


class Status(IntEnum):
    """Exit status of the command."""

    DONE = 0
    FAILED = 1
    WRONG_INPUT = 2
    INTERRUPTED = 130


class Problem(Exception):
    """What the user has to be told, in one line: by default that the input or the command line is wrong."""

    def __init__(self, message: str, status: Status = Status.WRONG_INPUT) -> None:
        super().__init__(message)
        self.status = status


def complain(message: str) -> None:
    """Why the command ends, as one line on stderr."""
    print("softmax:", " ".join(message.split()), file=sys.stderr)


def note(message: str) -> None:
    """Something worth knowing that does not end the command, as one line on stderr."""
    print("softmax: note:", " ".join(message.split()), file=sys.stderr)


def is_number(text: str) -> bool:
    """Whether `text` is one number, nan and inf included."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Say what libraries warn of as notes, each of them once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        note(message)


@contextmanager
def progress(title: str, total: float | None) -> Iterator[Callable[[float, str], None]]:
    """A bar with the time left, on stderr where that is a terminal; yields a function of what is done and a remark.

    It appears after PATIENCE seconds: what is over by then needs none. A `total` of None is not known.
    """
    if not sys.stderr.isatty():
        yield lambda done, remark: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = TextColumn(title), BarColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), TextColumn("left")
    bars = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    task, begun = bars.add_task("", total=total), time.monotonic()

    def show(done: float, remark: str = "") -> None:
        bars.update(task, completed=done, description=remark)
        if not bars.live.is_started and time.monotonic() - begun >= PATIENCE:
            bars.start()

    try:
        yield show
    finally:
        if bars.live.is_started:
            bars.stop()


def check_writable(path: str | Path, suffixes: tuple[str, ...]) -> None:
    """Raise Problem, before any work is done, where `path` has none of the suffixes or could not be written."""
    target = Path(path)
    if target.suffix.lower() not in suffixes:
        raise Problem(f"{path}: cannot write this type of file, only {', '.join(suffixes)}")
    if target.is_dir():
        raise Problem(f"{path}: is a directory")
    folder = target.resolve().parent
    if not folder.is_dir():
        raise Problem(f"{path}: the folder {folder} does not exist")
    if not os.access(target if target.exists() else folder, os.W_OK):
        raise Problem(f"{path}: cannot write here, permission denied")


@contextmanager
def replacing(path: str | Path) -> Iterator[BinaryIO]:
    """A binary file that takes the place of `path` when the block ends, and vanishes if the block fails."""
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():  # a device or a pipe, such as /dev/null, cannot be replaced
            with target.open("wb") as device:
                yield device
            return
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            os.chmod(temporary, _mode(target))
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        status = Status.FAILED if error.errno in FULL else Status.WRONG_INPUT
        raise Problem(f"{path}: cannot write: {error.strerror or error}", status) from error


def _mode(target: Path) -> int:
    """The permissions of the file to be replaced, or those that a new file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask
