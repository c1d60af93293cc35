"""Threads of every kind: Python's around a call, the pool's inside it, signals, forks, exits and subinterpreters."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

import numpy as np
import pytest
from numerics import DTYPES, VOLUME, same_bits

from softmax import _native, log_softmax, logsumexp, softmax

PROMPT = 0.3  # seconds from a signal to its exception
POSIX = os.name == "posix"


def run(script, **environment):
    """What a script prints, in lines."""
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    environment = {**os.environ, **environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout.splitlines()


def scores(shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(0, 10, shape).astype(dtype)


@pytest.fixture
def restored_threads():
    before = _native.num_threads()
    yield
    _native.set_num_threads(before)


# Inputs without memory of their own make calls that take many seconds.
SIGNALS = """
    import os, signal, threading, time
    import numpy as np
    from softmax import _native, log_softmax, logsumexp, softmax

    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell in the background takes away
    one = np.float32(1)
    ones, square = np.broadcast_to(one, (10**8, 500)), np.empty((60_000, 500), np.float32)
    sent = []
    right = softmax(np.ones((300, 10000), np.float32))

    def signal_after(seconds):
        def send():
            time.sleep(seconds)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=send)
        thread.start()
        return thread

    def works():
        return np.array_equal(softmax(np.ones((300, 10000), np.float32)), right)
"""

LONG_CALLS = {
    "many rows": "logsumexp(np.broadcast_to(np.ones(100_000, np.float32), (400_000, 100_000)))",
    "many strided rows": "logsumexp(np.broadcast_to(np.ones((100_000, 1), np.float32), (100_000, 400_000)), axis=0)",
    "one row": "logsumexp(np.broadcast_to(one, 10**10))",
    "few classes": "logsumexp(np.broadcast_to(np.float64(1), (10**7, 48)))",
    "many loop calls": "logsumexp(np.broadcast_to(np.ones((1, 3, 7)), (2 * 10**6, 3, 7))[:, :2])",
    "several results": "log_softmax(large, out=large, temperature=0.7)",
}
if _native.isa() != "baseline":
    LONG_CALLS |= {
        "a product of few rows": "_native.multiply(np.broadcast_to(one, (200, 10**8)), ones, square[:200], 0)",
        "a product of many rows": "_native.multiply(ones[:60_000], ones[:500], square, 0)",
    }


@pytest.mark.skipif(not POSIX, reason="signals that a process sends itself")
@pytest.mark.parametrize("call", LONG_CALLS)
def test_ctrl_c_ends_a_long_call(call, measured):
    """Soon, with nothing left behind: the pool works as before. A call that ends too early is made again.

    The best of three, for the sake of busy machines.
    """
    script = f"""
    large = np.zeros((8, 2_000_000), np.float32)
    latencies = []
    for _ in range(3):
        thread = signal_after(0.15)
        try:
            while True:
                {LONG_CALLS[call]}
        except KeyboardInterrupt:
            latencies.append(time.perf_counter() - sent.pop())
        thread.join()
    print(min(latencies))
    print(works())
    """
    latency, pool_works = run(SIGNALS + script)
    measured(f"Ctrl-C to KeyboardInterrupt, {call}: {float(latency) * 1000:.0f} ms")
    assert float(latency) < PROMPT
    assert pool_works == "True"


@pytest.mark.skipif(not POSIX, reason="signals that a process sends itself")
def test_a_handler_decides_whether_a_call_ends():
    """Its own exception comes through; one that returns lets the call go on, whatever it computed itself."""
    rows = int(20_000 * VOLUME)
    script = f"""
    def handler(number, frame):
        assert works()
        sent.append("handled")
        if len(sent) == 4:
            raise LookupError("of the handler")
    signal.signal(signal.SIGINT, handler)
    rows = np.broadcast_to(np.linspace(0, 1, 100_000), ({rows}, 100_000))
    thread = signal_after(0.1)
    result = logsumexp(rows)
    thread.join()
    print(len(sent), np.array_equal(result, np.full({rows}, logsumexp(rows[0]))))
    signal_after(0.1)
    try:
        while True:
            logsumexp(rows)
    except LookupError as error:
        print(error)
    print(works())
    """
    assert run(SIGNALS + script) == ["2 True", "of the handler", "True"]


@pytest.mark.skipif(not POSIX, reason="signals that a process sends itself")
def test_ctrl_c_leaves_calls_of_other_threads_alone():
    """The main thread is interrupted, in a call of its own and outside of one; theirs end with the right result."""
    rows = int(15_000 * VOLUME)
    script = f"""
    rows = np.broadcast_to(np.linspace(0, 1, 100_000), ({rows}, 100_000))
    results = []
    threads = [threading.Thread(target=lambda: results.append(logsumexp(rows))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for wait in (lambda: time.sleep(60), lambda: logsumexp(np.broadcast_to(one, 10**10))):
        sender = signal_after(0.1)
        try:
            wait()
        except KeyboardInterrupt:
            print(time.perf_counter() - sent.pop() < 1, all(thread.is_alive() for thread in threads))
        sender.join()
    for thread in threads:
        thread.join()
    print([np.array_equal(result, np.full(len(rows), logsumexp(rows[0]))) for result in results])
    """
    assert run(SIGNALS + script) == ["True True", "True True", "[True, True]"]


def test_long_calls_release_the_gil():
    """Also where NumPy would keep it, which it does for up to 500 results."""
    x = np.broadcast_to(np.ones(100_000, np.float32), (400, 100_000))
    began, turns, ended = Event(), [], Event()

    def call():
        began.set()
        for _ in range(20):
            logsumexp(x)
        ended.set()

    switch = sys.getswitchinterval()
    sys.setswitchinterval(60)  # who has the GIL keeps it, unless it is given away
    try:
        thread = Thread(target=call)
        thread.start()
        began.wait()
        while not ended.is_set():
            turns.append(ended.wait(0.0001))
        thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert turns.count(False) >= 10


@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_threads_get_the_bits_of_one_while_the_limit_changes(dtype, restored_threads):
    inputs = [scores(shape, dtype) for shape in ((300, 1000), (2, 90_000), (3000, 17), (1, 200_001))]

    def everything(_=None):
        return [f(x) for x in inputs for f in (softmax, log_softmax, logsumexp)]

    _native.set_num_threads(1)
    expected = everything()
    done = Event()

    def change():
        limit = 0
        while not done.wait(0.0005):
            limit = limit % 7 + 1
            _native.set_num_threads(limit)

    changer = Thread(target=change)
    changer.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            for results in pool.map(everything, range(40)):
                assert all(map(same_bits, results, expected))
    finally:
        done.set()
        changer.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_while_another_thread_is_inside_a_call():
    """The child has none of the parent's threads, and whatever lock they held: it computes with a pool of its own."""
    script = """
    import os, signal, threading, warnings
    import numpy as np
    from softmax import _native, softmax
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads: what is tested here
    _native.set_num_threads(3)
    x = np.random.default_rng(0).normal(0, 10, (30, 20_000)).astype(np.float32)
    expected, done = softmax(x), threading.Event()

    def work():
        while not done.is_set():
            softmax(x)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    statuses = set()
    for _ in range(25):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            right = all(np.array_equal(softmax(x), expected) for _ in range(5)) and _native.num_threads() == 3
            os._exit(0 if right else 1)
        statuses.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    for thread in threads:
        thread.join()
    print(statuses, np.array_equal(softmax(x), expected))
    """
    assert run(script, SOFTMAX_NUM_THREADS="3") == ["{0} True"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_ctrl_c_works_in_a_child_that_another_thread_forked():
    """That thread is the child's main thread."""
    script = """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    def fork():
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            signal_after(0.2)
            try:
                logsumexp(np.broadcast_to(one, 10**10))
            except KeyboardInterrupt:
                os._exit(7 if works() else 1)
            os._exit(2)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    """
    assert run(SIGNALS + script) == ["7"]


@pytest.mark.skipif(not POSIX, reason="what limits a stack there")
def test_workers_have_room_for_the_kernels_buffers():
    """Where threads begin with a small stack (musl, macOS); here it is that of the process."""
    script = """
    import resource
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (2**23 if hard < 0 else min(hard, 2**23), hard))  # of this thread
    import numpy as np
    from softmax import _native, softmax
    for _ in range(10):
        softmax(np.ones((2000, 2000), np.float32), axis=0)
        if _native.isa() != "baseline":
            _native.multiply(np.ones((500, 500)), np.ones((500, 500)), np.empty((500, 500)), False)
    print("end")
    """
    small = 'ulimit -S -s 160 && exec "$@"'
    command = ["sh", "-c", small, "sh", sys.executable, "-c", textwrap.dedent(script)]
    environment = {**os.environ, "SOFTMAX_NUM_THREADS": "4"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "end\n"), done.stderr[-3000:]


@pytest.mark.parametrize("thread", ["", "; threading.Thread(target=forever, daemon=True).start(); time.sleep(0.05)"])
def test_exit_is_clean_while_workers_are_awake(thread):
    """Right after a call; and while a thread that nobody waits for is inside one."""
    script = f"""
    import threading, time
    import numpy as np
    from softmax import softmax
    x = np.ones((300, 10000), np.float32)
    def forever():
        while True:
            softmax(x)
    softmax(x){thread}
    print("end")
    """
    for _ in range(5):
        assert run(script, SOFTMAX_NUM_THREADS="4") == ["end"]


def test_a_subinterpreter_computes_or_cannot_import():
    """NumPy itself allows one interpreter only, or warns: what counts is that nothing crashes or hangs."""
    script = """
    import sys
    try:
        if sys.version_info >= (3, 13):
            import _interpreters as interpreters
        else:
            import _xxsubinterpreters as interpreters
    except ImportError:
        sys.exit(print("no interpreters"))
    import numpy as np
    from softmax import softmax
    x = np.ones((300, 10000), np.float32)
    right = softmax(x)
    code = '''if True:
        import warnings
        warnings.simplefilter("ignore")
        try:
            import numpy as np
            from softmax import logsumexp, softmax
        except ImportError:
            pass
        else:
            x = np.ones((300, 10000), np.float32)
            assert abs(softmax(x) - 1e-4).max() < 1e-9
            assert logsumexp(x).shape == (300,)
    '''
    for _ in range(2):
        interpreter = interpreters.create()
        assert interpreters.run_string(interpreter, code) is None
        interpreters.destroy(interpreter)
    assert np.array_equal(softmax(x), right)
    print("fine")
    """
    assert run(script) in (["fine"], ["no interpreters"])
