"""The memory that a call takes beside its arrays: none of the input's size, however large that is."""

import subprocess
import sys
import textwrap

import pytest

MEGABYTES = 256

# The peak of the resident memory, which the kernel resets on demand.
SCRIPT = """
    import sys
    import numpy as np
    from softmax import log_softmax, softmax

    def memory(name):
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(name))

    function, axis, place, rows, columns = sys.argv[1:]
    function = {"softmax": softmax, "log_softmax": log_softmax}[function]
    shape = (int(rows), int(columns))
    function(np.ones((64, 20_000), np.float32), int(axis))  # threads, their stacks and whatever is set up once
    function(np.ones((20_000, 64), np.float32), int(axis))
    x = np.full(shape, 0.5, np.float32)
    out = x if place == "in place" else np.zeros_like(x)
    out[...] = x
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")
    before = memory("VmRSS")
    function(x, int(axis), out=out)
    print(memory("VmHWM") - before)
"""


def extra_kilobytes(*arguments):
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, arguments)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("place", ["in place", "elsewhere"])
@pytest.mark.parametrize(("axis", "rows"), [(1, 16), (1, 1), (1, 10**6), (1, 2**23), (0, 1000), (0, 64)])
@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_a_call_with_out_takes_less_than_a_megabyte(function, axis, rows, place, measured):
    columns = MEGABYTES * 2**20 // 4 // rows
    extra = extra_kilobytes(function, axis, place, rows, columns)
    measured(f"memory of {function} of {MEGABYTES} MB, {rows}x{columns}, axis={axis}, {place}: {extra} kB")
    assert extra < 1024
