"""The kernels' error bounds on bodies that this machine's module does not hold: AArch64 NEON, and one lane.

`make kernels` builds each with its compiler and runs it: NEON under QEMU, the lane for compilers without vectors here.

A file of its own, outside of `make test`, because it needs a cross compiler and an emulator.
"""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numerics import DTYPES, Tally, exact, exact_by_mpmath, print_table_at_the_end
from slices import DEGENERATE, hard_slices
from test_accuracy import BOUNDS, LANES, random_targets
from test_halves import BOUND, HALVES, hard_rows

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "src" / "native"
BODIES = {  # compiler, its options, and what runs the program
    "neon": ("aarch64-linux-gnu-g++", ["-static"], ["qemu-aarch64"]),
    "one-lane": ("g++", ["-DSOFTMAX_ONE_LANE"], []),
}
# As in CMakeLists.txt.
OPTIONS = ["-std=c++20", "-O3", "-DNDEBUG", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
OPTIONS.append("-fno-tree-loop-vectorize")
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized", "-Wno-psabi"]
SIZES = (*LANES, 1000, 4097, 16 * 4096 + 1)
FLOATS = ("float32", "float64", "float16", "bfloat16")  # as `kernels_main.cpp` numbers them
TYPES = {"d": np.float64, "q": np.int64, "?": np.bool_}


class Kernels:
    """A program that runs the kernels of one body."""

    def __init__(self, body, folder):
        self.body = body
        compiler, options, emulator = BODIES[body]
        for tool in (compiler, *emulator):
            if shutil.which(tool) is None:
                pytest.fail(f"{tool} not found: apt-get install g++ g++-aarch64-linux-gnu qemu-user", pytrace=False)
        sources = [HERE / "kernels_main.cpp", NATIVE / "kernels.cpp", NATIVE / "parallel.cpp"]
        program = folder / body
        subprocess.run(
            [
                compiler,
                "-DSOFTMAX_ISA=baseline",
                *OPTIONS,
                *WARNINGS,
                *options,
                f"-I{NATIVE}",
                *sources,
                "-o",
                program,
                "-pthread",
            ],
            check=True,
        )
        self.command = [*emulator, program]
        listed = subprocess.run([*self.command, "list"], capture_output=True, text=True, check=True)
        lines = [line.split() for line in listed.stdout.splitlines()]
        self.declared = {name: (i, *rest) for i, (name, *rest) in enumerate(lines)}

    def __call__(self, calls):
        """The outputs of each call (name, operands): x (rows, n) first, each operand broadcast to its shape."""
        request, results = [], []
        for name, x, *operands in calls:
            kernel, signature, types = self.declared[name]
            inputs, outputs = (side.split("),(") for side in signature.split("->"))
            own = x.dtype
            dtypes = [np.dtype(TYPES.get(letter, own)) for letter in types]
            cores = [core.strip("()") for core in inputs + outputs]
            shapes = [(len(x), *{"n": x.shape[1:], "o": (4,)}.get(core, ())) for core in cores]
            request.append(np.array([kernel, FLOATS.index(own.name), *x.shape], np.int64).tobytes())
            for operand, dtype, shape in zip((x, *operands), dtypes, shapes, strict=False):
                request.append(np.broadcast_to(operand, shape).astype(dtype, order="C").tobytes())
            results.append(list(zip(dtypes, shapes, strict=True))[len(inputs) :])
        done = subprocess.run([*self.command, "run"], input=b"".join(request), capture_output=True, check=True)
        place = 0
        for described in results:
            arrays = []
            for dtype, shape in described:
                arrays.append(np.frombuffer(done.stdout, dtype, int(np.prod(shape)), place).reshape(shape))
                place += arrays[-1].nbytes
            yield arrays[0] if len(arrays) == 1 else arrays
        assert place == len(done.stdout)


@pytest.fixture(scope="module", params=BODIES)
def kernels(request, tmp_path_factory):
    return Kernels(request.param, tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="module", autouse=True)
def table(request):
    print_table_at_the_end(request.config)


@pytest.fixture
def tally(request, kernels):
    return Tally(request.node.user_properties, kernels.body)


def check(kernels, tally, cases, oracle):
    """Every kernel on every case (name, rows, temperature) within its bound."""
    rng = np.random.default_rng(7)
    calls, truths = [], []
    for _, x, temperature in cases:
        keep = (rng.random(x.shape) < 0.7) | (x == x.max(-1, keepdims=True))
        targets = random_targets(rng, x)
        ones, plain_loss = np.ones(len(x)), np.zeros(4)
        calls += [
            ("softmax", x, temperature),
            ("log_softmax", x, temperature),
            ("softmax_where", x, temperature, keep),
            ("log_softmax_where", x, temperature, keep),
            ("logsumexp", x),
            ("partition", x),
            ("cross_entropy_gradient", x, targets, ones, plain_loss, True),
            ("cross_entropy", x, targets, ones, plain_loss, True),
        ]
        true = oracle(x, temperature)
        with np.errstate(invalid="ignore"):  # of -inf - -inf, on the way to its right result
            masked = oracle(np.where(keep, x, -np.inf).astype(x.dtype), temperature)
        truths.append((true, masked, true if temperature == 1 else oracle(x), targets))
    results = kernels(calls)
    parts = []
    with tally:
        for (case, x, temperature), (true, masked, plain, targets) in zip(cases, truths, strict=True):
            case = f"{case}, temperature {temperature}"

            def add(function, got, exact_value, unit=None, case=case):
                tally.add(function, got, exact_value, BOUNDS[function], case, unit)

            add("softmax", next(results), true.probs)
            add("log_softmax", next(results), true.log_probs)
            add("softmax", next(results), masked.probs)
            add("log_softmax", next(results), masked.log_probs)
            add("logsumexp", next(results), plain.logsumexp, plain.logsumexp_unit)
            parts.append((x, next(results), plain, case))
            losses, slope = next(results)
            add("cross_entropy", losses.astype(x.dtype), plain.loss(targets))
            add("cross_entropy gradient", slope, plain.gradient(targets))
            assert np.array_equal(next(results), losses), case
        again = kernels(
            (name, x, *partition)
            for x, partition, *_ in parts
            for name in ("partition_softmax", "partition_log_softmax")
        )
        for *_, plain, case in parts:
            tally.add("Partition.softmax", next(again), plain.probs, BOUNDS["Partition.softmax"], case)
            tally.add("Partition.log_softmax", next(again), plain.log_probs, BOUNDS["Partition.log_softmax"], case)


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_are_bounded_on_every_size(kernels, dtype, tally):
    rng = np.random.default_rng(3)
    cases = [
        (f"{size} entries", rng.normal(0, scale, (max(1, 200 // size), size)).astype(dtype), temperature)
        for size in SIZES
        for scale, temperature in ((10, 1.0), (10, 0.7), (1, 1e-3), (100, 1e3))
    ]
    check(kernels, tally, cases, exact)


@pytest.mark.parametrize("dtype", DTYPES)
def test_errors_are_bounded_on_hard_slices(kernels, dtype, tally):
    slices = hard_slices(dtype).items()
    cases = [(name, np.array(x, dtype)[None], temperature) for name, x in slices for temperature in (1.0, 0.37)]
    # Also by blocks, not by lanes: -inf changes nothing.
    cases += [
        (f"{name}, long", np.concatenate([x, np.full((1, 70), -np.inf, dtype)], 1), temperature)
        for name, x, temperature in cases
    ]
    check(kernels, tally, cases, exact_by_mpmath)


@pytest.mark.parametrize("dtype", HALVES)
def test_errors_of_16_bits_are_bounded(kernels, dtype, tally):
    cases = [(hard_rows(n, dtype), t) for n in (*range(129, 146), 1000, 4097, 140000) for t in (1.0, 0.1, 1e-3)]
    with tally:
        for (x, t), got in zip(cases, kernels(("softmax", x, t) for x, t in cases), strict=True):
            tally.add("softmax", got, exact(x, t).probs, BOUND, (x.shape, t))


@pytest.mark.parametrize("padding", [0, 70])
@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_slices_have_their_documented_values(kernels, dtype, padding):
    calls, expected = [], []
    for name, (entries, options, probs, log_probs, total) in DEGENERATE.items():
        x = np.array([entries + [-np.inf] * padding], dtype)
        keep = np.array([options.get("where", [True] * len(entries)) + [True] * padding])
        temperature = options.get("temperature", 1.0)
        nan = np.isnan(probs).any()
        fill = (np.nan, np.nan) if nan else (0, -np.inf)
        for kernel, values, rest in (("softmax", probs, fill[0]), ("log_softmax", log_probs, fill[1])):
            calls.append((f"{kernel}_where", x, temperature, keep))
            expected.append((name, [list(values) + [rest] * padding]))
            if "where" not in options:
                calls.append((kernel, x, temperature))
                expected.append(expected[-1])
        if total is not None:
            calls.append(("logsumexp_where", x, keep))
            expected.append((name, [total]))
    for got, (name, values) in zip(kernels(calls), expected, strict=True):
        np.testing.assert_allclose(got, np.array(values, dtype), rtol=4 * np.finfo(dtype).eps, err_msg=name)
