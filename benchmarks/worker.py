"""One library in a process of its own: answers the harness over its standard input and output.

    python worker.py MODULE:CLASS THREADS

A request is a pickled (method name, arguments), a reply a pickled (whether it worked, value, seconds of spinning): both
ends are ours. Between requests the process is blocked on the pipe; it replies only when its threads have gone to sleep.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import sys
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import cases
from cases import Case, Missing
from numpy.typing import NDArray


class Session:
    """The requests that the harness can make: each public method is one."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.call: Callable[[], object] = lambda: None

    def describe(self) -> dict[str, str]:
        """The library's version, and whatever else it knows about itself."""
        described: dict[str, str] = self.library.describe()
        return described

    def prepare(self, case: Case) -> list[NDArray[Any]]:
        """Make the input and the call for a case, call once, and return the part of the answer that is checked."""
        self.forget()
        operation = getattr(self.library, case.op, None)
        if operation is None or (case.out and not self.library.has_out):
            raise Missing(f"{case.op}{' with out=' if case.out else ''}")
        arrays = cases.inputs(case)
        if case.temperature != 1 and not self.library.has_temperature:
            arrays["logits"] /= arrays["logits"].dtype.type(case.temperature)
        self.call = operation(case, **arrays)
        answer = self.library.arrays(self.call())
        wanted = cases.numpy_dtype(case.dtype)
        for part in answer:
            if part.ndim and part.dtype != wanted:
                raise TypeError(f"returns {part.dtype} for {wanted}")
        return cases.select(case, answer)

    def calibrate(self, seconds: float) -> int:
        """How many calls take at least about `seconds`."""
        calls = 1
        while (taken := self._time(calls)) < seconds:
            # A few calls say little about many, hence at most tenfold at once.
            calls = max(calls + 1, min(10 * calls, round(1.1 * calls * seconds / taken)))
        return calls

    def sample(self, calls: int) -> float:
        """Seconds for one call, the mean over `calls`, after a quarter as many that wake threads and fill caches."""
        if calls > 1:  # a single call is so long that this does not show
            self._time(max(1, calls // 4))
        return self._time(calls) / calls

    def memory(self) -> tuple[int, int]:
        """How many pages one more call makes the system map, and how many bytes beyond those held before it holds.

        Linux only. The two calls before it are for what the memory allocator learns from them.
        """
        import resource

        self.call()
        self.call()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        held = held_by(self.call)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults, held

    def forget(self) -> None:
        """Drop the case's arrays."""
        self.call = lambda: None
        gc.collect()

    def _time(self, calls: int) -> float:
        call = self.call
        gc.disable()
        start = time.perf_counter()
        for _ in repeat(None, calls):
            call()
        taken = time.perf_counter() - start
        gc.enable()
        return taken


def held_by(call: Callable[[], Any]) -> int:
    """The most bytes that a call holds beyond those held before it. Linux only."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    call()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    """What the system knows about this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def settle(limit: float = 2.0) -> float:
    """Wait until this process's threads sleep, but not over `limit`; return for how many seconds they kept spinning.

    Thread pools poll for more work after a call: OpenMP's for some 20 ms, ONNX Runtime's for 50, OpenBLAS's for 100, on
    the core that the next library is then timed on. `process_time` counts all threads, so that it shows them.
    """
    start = time.perf_counter()
    while (wall := time.perf_counter()) - start < limit:
        cpu = time.process_time()
        time.sleep(0.005)
        if time.process_time() - cpu < 0.1 * (time.perf_counter() - wall):
            return wall - start
    return limit


def use_processors(count: int) -> None:
    """Keep to the first `count` processors, where the system can: not every library has a setting for its threads."""
    if hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        if count < len(available):
            os.sched_setaffinity(0, available[:count])


def main(library: str, threads: int) -> None:
    """Serve one library until standard input ends."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the replies
    use_processors(threads)
    module, name = library.split(":")
    session = Session(getattr(importlib.import_module(module), name)(threads))
    while True:
        try:
            method, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            reply = True, getattr(session, method)(*arguments)
        except Exception as error:  # whatever a library raises is an answer to show, not the end of the run
            reply = False, f"{type(error).__name__}: {error}"
        pickle.dump((*reply, settle()), replies)
        replies.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
