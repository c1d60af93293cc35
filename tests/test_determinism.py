"""The same row gives the same bits: whatever the threads, its place in the batch, its memory, and what is beside it."""

import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import ml_dtypes
import numpy as np
import pytest
from numerics import DTYPES, same_bits, threads_limited_to

from softmax import (
    Partition,
    _native,
    cross_entropy,
    log_sigmoid,
    log_softmax,
    logsumexp,
    sigmoid,
    softmax,
    softmin,
    value_and_grad,
    vjp,
)

LONG = 20 * 4096 + 7  # a row of many blocks, which threads share
SHAPES = ((3000, 17), (300, 1000), (9, 5000), (2, LONG), (1, LONG))


def scores(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(0, 10, shape).astype(dtype)


def everything(x):
    """Every kernel on the rows of x: name and result, whose first axis is the rows'."""
    rows, size = x.shape
    rng = np.random.default_rng(size)
    keep = np.broadcast_to(rng.random(size) < 0.7, x.shape)
    targets = np.full(rows, size // 2)
    z = Partition.of(x)
    return {
        "softmax": softmax(x),
        "softmax, tempered": softmax(x, temperature=0.7),
        "softmax, masked": softmax(x, where=keep),
        "log_softmax": log_softmax(x),
        "log_softmax, tempered": log_softmax(x, temperature=0.7),
        "log_softmax, masked": log_softmax(x, where=keep),
        "logsumexp": logsumexp(x),
        "logsumexp, masked": logsumexp(x, where=keep),
        "Partition.maximum": z.maximum,
        "Partition.others": z.others,
        "Partition.others_low": z.others_low,
        "Partition of two": (z | Partition.of(x[:, ::-1] + 1)).others_low,
        "Partition.softmax": z.softmax(x),
        "Partition.log_softmax": z.log_softmax(x),
        "Partition, masked": Partition.of(x, where=keep).others,
        "cross_entropy": cross_entropy(x, targets, reduction="none"),
        "gradient": value_and_grad(cross_entropy)(x, targets, reduction="none")[1],
        "sigmoid": sigmoid(x),
        "log_sigmoid": log_sigmoid(x),
        "softmin": softmin(x),
        "logsumexp, weighted": logsumexp(x, weights=np.cos(np.arange(size)), return_sign=True)[0],
        "vjp of softmax": vjp(softmax, x, temperature=0.7)[1](x),
        "vjp of log_softmax": vjp(log_softmax, x)[1](x),
        "vjp of logsumexp": vjp(logsumexp, x)[1](x[:, 0]),
        "vjp of sigmoid": vjp(sigmoid, x)[1](x),
    }


def differing(a, b):
    assert a.keys() == b.keys()
    return [name for name in a if not same_bits(a[name], b[name])]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_number_of_threads_changes_no_bit(shape, dtype):
    x = scores(shape, dtype)
    results = []
    for threads in (1, 2, 3, 7):
        with threads_limited_to(threads):
            assert _native.num_threads() == threads
            results.append(everything(x))
    for result in results[1:]:
        assert differing(result, results[0]) == []


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_over_the_batch_do_not_depend_on_threads(dtype):
    x, targets = scores((3000, 17), dtype), np.arange(3000) % 17
    results = []
    for threads in (1, 2, 3):
        with threads_limited_to(threads):
            results.append([value_and_grad(cross_entropy)(x, targets, reduction=r) for r in ("mean", "sum")])
    for result in results[1:]:
        for (loss, slope), (first_loss, first_slope) in zip(result, results[0], strict=True):
            assert same_bits(loss, first_loss)
            assert same_bits(slope, first_slope)


SCRIPT = """
    import hashlib
    import numpy as np
    from softmax import Partition, _native, cross_entropy, log_softmax, logsumexp, softmax, value_and_grad
    print(_native.num_threads())
    for dtype in (np.float32, np.float64):
        for shape in ((300, 1000), (1, 90000)):
            x = np.random.default_rng(0).normal(0, 10, shape).astype(dtype)
            for result in (softmax(x), softmax(x, 0), log_softmax(x), logsumexp(x), Partition.of(x).others,
                           value_and_grad(cross_entropy)(x, np.zeros(len(x), int))[1]):
                print(hashlib.sha256(result.tobytes()).hexdigest())
"""


def run(script, **environment):
    environment = {**os.environ, **environment}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_omp_num_threads_changes_no_bit():
    threads, *first = run(SCRIPT, OMP_NUM_THREADS="1")
    assert threads == "1"
    assert len(set(first)) == len(first) == 24
    for wanted in ("2", "3"):
        threads, *hashes = run(SCRIPT, OMP_NUM_THREADS=wanted)
        assert threads == wanted
        assert hashes == first


@pytest.mark.parametrize("size", [1, 3, 16, 33, 1000, 4097, 9000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_alone_is_the_row_in_a_batch(size, dtype):
    """At every place of a batch large enough for several threads, and of the same batch in another order."""
    rows = max(6, 60000 // size // 10)
    x = scores((rows, size), dtype)
    batch = everything(x)
    order = np.random.default_rng(1).permutation(rows)
    shuffled = everything(x[order])
    places = range(rows) if rows < 50 else [0, 1, 2, rows // 2, rows - 2, rows - 1]
    for place in places:
        alone = everything(x[place : place + 1])
        again = np.flatnonzero(order == place)[0]
        for name, result in alone.items():
            assert same_bits(result[0], batch[name][place]), name
            assert same_bits(result[0], shuffled[name][again]), name
        assert same_bits(softmax(x[place]), batch["softmax"][place])
        assert same_bits(logsumexp(x[place]), batch["logsumexp"][place])


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_beside_a_row_does_not_matter(dtype):
    x = scores((40, 100), dtype)
    expected = everything(x)
    for beside in (np.nan, np.inf, -np.inf, 1e30, 0.0):
        mixed = x.copy()
        mixed[1::2] = beside
        for name, result in everything(mixed).items():
            assert same_bits(result[::2], expected[name][::2]), name


def strided(x):
    """The same rows in other memory."""
    rows, size = x.shape
    memory = {
        "Fortran": np.asfortranarray(x),
        "every third entry": np.full((rows, 3 * size), 7, x.dtype)[:, ::3],
        "every second row": np.full((2 * rows, size), 7, x.dtype)[::2],
        "entries reversed": np.empty_like(x)[:, ::-1],
        "rows reversed": np.empty_like(x)[::-1],
        "inside": np.full((rows + 2, size + 9), 7, x.dtype)[1:-1, 5:-4],
        "unaligned": np.empty(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape),
    }
    for view in memory.values():
        view[...] = x
    memory["read-only"] = x.copy()
    memory["read-only"].flags.writeable = False
    return memory


def rows_of_every_kind(size, dtype):
    x = scores((12, size), dtype)
    x[1], x[2, size // 2], x[4, 7], x[5], x[9] = -np.inf, np.nan, np.inf, 60000 - 32 * (np.arange(size) % 999), -np.inf
    x[7, 0] = 60  # nearly sure
    x[8, -1] = 300  # quite sure, in what fills no vector
    x[10] = 0.1 * x[10] - 20  # 0, nearly sure: the logarithm is the sum of the others
    x[10, 3] = 0
    return x


ALL_DTYPES = [*DTYPES, np.float16, ml_dtypes.bfloat16]


@pytest.mark.parametrize("size", [129, 300, 5000, 17000])
@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("function", [softmax, log_softmax, logsumexp])
def test_rows_of_every_kind_one_after_the_other(function, dtype, size):
    """Rows are under way three at a time: those that are finished apart must not disturb the ones around them."""
    x = rows_of_every_kind(size, dtype)
    keep = np.random.default_rng(1).random(x.shape) < 0.7
    for options in ({}, {"temperature": 0.7}, {"where": keep}):
        if function is logsumexp and "temperature" in options:
            continue
        rows = [options | {"where": row} if "where" in options else options for row in keep]
        alone = np.stack([function(row, **option) for row, option in zip(x, rows, strict=True)])
        assert same_bits(function(x, **options), alone), options
        if function is logsumexp:
            continue
        each = x.copy()
        for row, option in zip(each, rows, strict=True):
            function(row, out=row, **option)
        assert same_bits(each, alone), options
        in_place = x.copy()
        assert same_bits(function(in_place, out=in_place, **options), alone), options
        rows_of_wider = np.zeros((12, size + 3), dtype)[:, 1:-2]
        assert same_bits(function(x, out=rows_of_wider, **options), alone), options


@pytest.mark.parametrize("rows", [17, 24, 64])
@pytest.mark.parametrize("size", [129, 257, 1030, 2049])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [softmax, log_softmax])
def test_rows_across_memory_have_the_bits_of_rows_along_it(function, dtype, size, rows):
    """Side by side, also in a tile that is partly filled, and beside a row that is not ordinary."""
    x = scores((rows, size), dtype)
    x[3, 0], x[4, -1] = 60, 300
    x[5, ::2] = -np.inf
    x[6] = 1
    x[7, 1:] = 0  # just above 1/2: the maximum's share is one of its own
    x[7, 0] = np.log(size - 1.0) + 0.1
    for beside in (None, np.nan, np.inf, np.full(size, -np.inf), 60000 - 32 * (np.arange(size) % 999)):
        if beside is not None:
            x[rows - 3, : np.size(beside)] = beside
        for temperature in (1.0, 0.7):
            expected = function(x, temperature=temperature).T
            columns = np.ascontiguousarray(x.T)
            assert same_bits(function(columns, 0, temperature=temperature), expected), (beside, temperature)
            assert same_bits(function(columns, 0, temperature=temperature, out=columns), expected), (
                beside,
                temperature,
            )


@pytest.mark.parametrize("size", [5, 33, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_change_no_bit(size, dtype):
    x = scores((6, size), dtype)
    expected = everything(x)
    for memory, view in strided(x).items():
        assert differing(everything(view), expected) == [], memory


@pytest.mark.parametrize("size", [5, 33, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_axis_0_is_the_last_axis_of_the_transpose(size, dtype):
    x = scores((6, size), dtype)
    for memory, view in strided(x).items():
        columns = view.T
        keep = columns > -5
        targets = np.arange(6) % size
        temperature = np.array([0.5, 1, 2, 1, 0.5, 1])
        assert same_bits(softmax(columns, 0).T, softmax(x)), memory
        assert same_bits(softmax(columns, 0, where=keep).T, softmax(x, where=keep.T)), memory
        assert same_bits(
            log_softmax(columns, 0, temperature=temperature).T, log_softmax(x, temperature=temperature[:, None])
        ), memory
        assert same_bits(logsumexp(columns, 0), logsumexp(x)), memory
        z = Partition.of(columns, 0)
        assert same_bits(z.others, Partition.of(x).others), memory
        assert same_bits(z.softmax(columns).T, Partition.of(x).softmax(x)), memory
        loss, slope = value_and_grad(cross_entropy)(columns, targets, 0, reduction="none")
        expected_loss, expected_slope = value_and_grad(cross_entropy)(x, targets, reduction="none")
        assert same_bits(loss, expected_loss), memory
        assert same_bits(slope.T, expected_slope), memory


@pytest.mark.parametrize("size", [5, 33, 5000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_memory_of_every_operand_changes_no_bit(size, dtype):
    """Masks, temperatures, targets and weights that are strided, broadcast or read-only."""
    x = scores((6, size), dtype)
    keep = np.random.default_rng(1).random((6, size)) < 0.6
    temperature = np.linspace(0.5, 2, 6)[:, None]
    targets, weights = np.arange(6) % size, np.linspace(1, 2, 6)
    expected = softmax(x, where=keep, temperature=temperature)
    losses, slope = value_and_grad(cross_entropy)(x, targets, sample_weight=weights)
    for spread in (lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a[::-1].copy()[::-1], np.asfortranarray):
        assert same_bits(softmax(x, where=spread(keep), temperature=spread(temperature)), expected)
        again = value_and_grad(cross_entropy)(x, spread(targets), sample_weight=spread(weights))
        assert same_bits(again[0], losses)
        assert same_bits(again[1], slope)
    one = np.broadcast_to(np.float64(0.5), (6, 1))
    assert same_bits(softmax(x, temperature=one), softmax(x, temperature=0.5))
    row = np.broadcast_to(keep[0], keep.shape)
    assert same_bits(softmax(x, where=row), softmax(x, where=row.copy()))
    same_row = np.broadcast_to(x[0], x.shape)
    assert same_bits(softmax(same_row)[3], softmax(x[0]))


@pytest.mark.parametrize("function", [softmax, log_softmax])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_memory_of_the_result_changes_no_bit(function, dtype):
    """In place, into every layout, long rows with blocks in flight included."""
    for shape in ((3, 5), (3, 33), (3, 5000), (1, LONG)):
        x = scores(shape, dtype)
        expected = function(x)
        for memory, out in strided(np.zeros_like(x)).items():
            if out.flags.writeable:
                assert same_bits(function(x, out=out), expected), memory
        for memory, view in strided(x).items():
            if view.flags.writeable:
                assert same_bits(function(view, out=view), expected), memory


@pytest.mark.parametrize("dtype", DTYPES)
def test_python_threads_do_not_disturb_each_other(dtype):
    """Eight at once, which share the workers."""
    inputs = [scores((20, 2000) if i % 2 else (1, LONG // 2), dtype, seed=i) for i in range(8)]
    expected = [everything(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for got, want in zip(pool.map(everything, inputs), expected, strict=True):
            assert differing(got, want) == []


FORK = """
    import os, signal, warnings
    import numpy as np
    from softmax import _native, log_softmax, softmax
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads: what is tested here
    x = np.random.default_rng(0).normal(0, 10, (2, 90000)).astype(np.float32)
    expected = softmax(x), log_softmax(x)
    threads = _native.num_threads()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        right = all(np.array_equal(got, want) for got, want in zip((softmax(x), log_softmax(x)), expected))
        os._exit(0 if right else 1)
    status = os.waitpid(child, 0)[1]
    assert np.array_equal(softmax(x), expected[0])
    print(threads, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("threads", ["1", "2", "4"])
def test_a_forked_child_computes_the_same_bits(threads):
    """After a parallel call in the parent, whose threads do not exist in the child; nobody hangs."""
    assert run(FORK, OMP_NUM_THREADS=threads) == [threads, "0"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_call_again_gives_the_same_bits(dtype):
    x = scores((20, 3000), dtype)
    first = everything(x)
    for _ in range(3):
        assert differing(everything(x), first) == []
