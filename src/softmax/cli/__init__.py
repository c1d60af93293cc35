"""The command line: `softmax apply`, `explain`, `train`, `predict`, `evaluate`, `calibrate`, `export` and others."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from io import TextIOWrapper

from .console import FULL, Problem, Status, complain

__all__ = ["main"]

# The packages that may be missing, by the extra that brings them.
CLI = ("joblib", "polars", "rich", "scipy", "skops", "sklearn", "threadpoolctl", "typer", "zstandard")
OPTIONAL = dict.fromkeys(CLI, "cli") | {"PIL": "images"}
OPTIONAL |= dict.fromkeys(("jinja2", "matplotlib"), "report") | dict.fromkeys(("onnx", "onnxruntime"), "onnx")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command, `words` or else the process's own arguments, and return its exit status (see `Status`).

    Whatever goes wrong ends in one line on stderr. `--traceback`, anywhere among the words, shows the rest.
    """
    given = list(sys.argv[1:] if words is None else words)
    words = [word for word in given if word != "--traceback"] or ["--help"]
    _say_what_can_be_said()
    try:
        from .app import run

        run(words)
        sys.stdout.flush()
        return Status.DONE
    except (BrokenPipeError, SystemExit):  # typer makes the second of the first
        _forget_stdout()  # the reader (`| head`) has all it wanted
        return Status.DONE
    except (Exception, KeyboardInterrupt) as error:
        if "--traceback" in given:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in FULL:
            _forget_stdout()
        status, line = _judge(error)
        complain(line)
        return status


def _say_what_can_be_said() -> None:
    """Let a terminal without the characters of a table or a name show a question mark rather than fail."""
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def _forget_stdout() -> None:
    """Point stdout elsewhere, or Python ends with a status of its own where what is left in it cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _judge(error: BaseException) -> tuple[Status, str]:
    """The exit status that an exception stands for, and the one line to say."""
    if isinstance(error, Problem):
        return error.status, str(error)
    if hasattr(error, "format_message"):  # typer on a wrong command line: the class has moved between versions
        command = getattr(getattr(error, "ctx", None), "command_path", "softmax")
        message = error.format_message()
        if getattr(getattr(error, "param", None), "name", "") == "models":  # the parser gives a single word to DATA
            message = "Missing argument: expected MODEL and DATA."
        return Status.WRONG_INPUT, f"{message} Try: {command} --help"
    if isinstance(error, ModuleNotFoundError) and (package := str(error.name).partition(".")[0]) in OPTIONAL:
        extra, package = OPTIONAL[package], {"PIL": "pillow"}.get(package, package)
        return Status.WRONG_INPUT, f"this needs {package}, which is not installed: pip install 'softmax[{extra}]'"
    if isinstance(error, KeyboardInterrupt) or type(error).__name__ == "Abort":
        return Status.INTERRUPTED, "interrupted"
    if isinstance(error, OSError) and error.errno in FULL:
        return Status.FAILED, f"cannot write: {str(error.strerror).lower()}"
    if isinstance(error, MemoryError):
        return Status.FAILED, "not enough memory"
    return Status.FAILED, f"unexpected {type(error).__name__}: {error} (--traceback shows where)"
