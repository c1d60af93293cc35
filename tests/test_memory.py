"""The memory that a call takes: none of the input's size beside its arrays, and that of large results again."""

import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from softmax import softmax

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
    # Threads, their stacks and whatever is set up once, the pages of the code included.
    for shape_before in ((64, 20_000), (20_000, 64), (1000, 1000)):
        function(np.ones(shape_before, np.float32), int(axis))
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


# Large new results

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads faults and sizes from the system")
ITS_OWN_MEMORY = pytest.mark.skipif("ASAN_OPTIONS" in os.environ, reason="the sanitizer holds freed memory back")


def run(script):
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split()


CALLS = {
    "softmax": "softmax(x)",
    "axis 0": "softmax(x, 0)",
    "where": "softmax(x, where=x == x)",
    "gradient": "value_and_grad(cross_entropy)(x, np.zeros(len(x), int))",
}


@LINUX
@ITS_OWN_MEMORY
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_pages_of_a_large_result_are_used_again(call):
    """Not mapped and cleared anew: 256 MB have 128 huge pages, or 65536. A mask of 64 MB is NumPy's own."""
    faults = run(f"""
        import resource
        import numpy as np
        from softmax import cross_entropy, softmax, value_and_grad

        x = np.ones((64, 2**20), np.float32)
        for _ in range(4):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            {call}
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    assert int(faults[0]) > 128
    assert int(faults[-1]) < (2**26 // 4096 if "where" in call else 64)


@LINUX
def test_the_system_may_take_what_is_kept():
    (lazy,) = run("""
        import numpy as np
        from softmax import softmax

        softmax(np.ones((64, 2**20), np.float32))
        smaps = open("/proc/self/smaps").read().splitlines()
        print(sum(int(line.split()[1]) for line in smaps if line.startswith("LazyFree:")))
    """)
    assert int(lazy) >= 256 * 1024


def test_large_results_are_arrays_like_any_other():
    """Alive together, resized, freed on other threads, of sizes that do not fit what is kept, and copied."""
    x = np.zeros((2, 2**21), np.float32)
    first, second = softmax(x), softmax(x + 1)
    second[:] = 7
    assert (first == 2.0**-21).all()
    first.resize(2**22 + 5)
    assert (first[:-5] == 2.0**-21).all()
    assert not first[-5:].any()
    first.resize(10)
    assert (first == 2.0**-21).all()
    del second
    shapes = [(rows, 2**21) for rows in (1, 2, 3, 4, 8, 16, 1, 2)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda shape: softmax(np.zeros(shape, np.float32)), shapes * 2))
    for result, shape in zip(results, shapes * 2, strict=True):
        assert result.shape == shape
        assert (result == 2.0**-21).all()
    with pytest.raises(ValueError, match="where must broadcast"):
        softmax(x, where=np.ones(3, bool))
    assert np.array_equal(pickle.loads(pickle.dumps(results[0])), results[0])
