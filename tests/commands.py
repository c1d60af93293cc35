"""The command line in this process, for the tests: `run` of conftest.py returns a `Result`."""

import io
import sys
from typing import NamedTuple


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def line(self):
        """The one line of an error."""
        assert (self.status, self.out, self.err.count("\n")) == (2, "", 1), self
        assert self.err.startswith("softmax: ")
        assert "Traceback" not in self.err
        return self.err.removeprefix("softmax: ").removesuffix("\n")


def runner(capsys, monkeypatch):
    """A function that runs the command line on its words."""
    from softmax.cli import main

    def run(*words, stdin=""):
        monkeypatch.setattr(
            sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())) if isinstance(stdin, str) else stdin
        )
        status = main([str(word) for word in words])
        return Result(status, *capsys.readouterr())

    return run
