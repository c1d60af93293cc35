"""How the tests measure an error, what they measure it against, and the table of worst errors that ends a run.

Errors are counted in units in the last place (ulp) of the exact value, in the dtype of the result; below the normal
range a unit is one subnormal step.

Two oracles compute the exact values, from the entries and temperatures as given:

* `exact`, in long double, for volume. On x86 it has 64 bits of significand, 11 more than float64. That alone would not
  do: exp turns an absolute error of (x - m) / T into a relative one, and rounding (x - m) / T = -700 to 64 bits is
  already a quarter of a float64 ulp. So the quotient is carried as a pair (`two_sum`, `divide`), and its second part
  enters as exp(q + e) = exp(q) (1 + e). What is left are a handful of roundings of 2^-64: below 0.01 float64 ulp, which
  test_accuracy.py measures against the other oracle.
* `exact_by_mpmath`, with 300 bits, one entry at a time, for hard cases; also where long double is no wider than double.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import NamedTuple

import mpmath
import numpy as np
from ml_dtypes import finfo  # NumPy's, and that of bfloat16

from softmax import _native

WIDE = np.longdouble
LONG_DOUBLE_IS_WIDE = np.finfo(WIDE).nmant >= 63
VOLUME = float(os.environ.get("SOFTMAX_TEST_VOLUME", "1"))  # fraction of rows and examples; sizes and cases stay
DTYPES = (np.float32, np.float64)
BITS = 300
TABLE = "worst errors"  # name of the plugin that prints the table, and of the property that tests hand it


def two_sum(a, b):
    """a + b as an unevaluated sum (Knuth); the second part is 0 where the sum is infinite."""
    total = a + b
    with np.errstate(invalid="ignore"):
        back = total - a
        rest = (a - (total - back)) + (b - back)
    return total, np.where(np.isfinite(total), rest, 0)


def divide(high, low, divisor):
    """(high + low) / divisor as an unevaluated sum: the quotient and what its exact product leaves (Dekker)."""
    halves = WIDE(2 ** ((np.finfo(WIDE).nmant + 2) // 2) + 1)

    def split(a):
        upper = a * halves - (a * halves - a)
        return upper, a - upper

    quotient = high / divisor
    with np.errstate(invalid="ignore"):
        (q1, q2), (d1, d2) = split(quotient), split(divisor)
        product = quotient * divisor
        product_error = ((q1 * d1 - product) + q1 * d2 + q2 * d1) + q2 * d2
        rest = ((high - product) - product_error + low) / divisor
    return quotient, np.where(np.isfinite(quotient), rest, 0)


class Exact(NamedTuple):
    """Exact values of slices along the last axis.

    `others` is the sum of exp((x - m) / T) over all entries but one maximum, `log_sum` the logarithm of 1 + others.
    """

    maximum: np.ndarray
    others: np.ndarray
    log_sum: np.ndarray
    probs: np.ndarray
    log_probs: np.ndarray

    @property
    def logsumexp(self):
        """Of the entries themselves, so only for temperature 1."""
        with mpmath.workprec(BITS):
            return self.maximum + self.log_sum

    @property
    def logsumexp_unit(self):
        """What the error of logsumexp is an ulp of: max(|m|, |log s|, |result|)."""
        return np.maximum(np.maximum(abs(self.maximum), abs(self.log_sum)), abs(self.logsumexp))

    def loss(self, targets):
        return -np.take_along_axis(self.log_probs, targets[..., np.newaxis], -1)[..., 0]

    def gradient(self, targets):
        """probs - onehot. At a target that holds more than half, minus the share of the others: p - 1 would cancel."""
        with mpmath.workprec(BITS):
            slope = self.probs.copy()
            hit = targets[..., np.newaxis]
            p = np.take_along_axis(slope, hit, -1)
            rest = np.asarray(self.others / (1 + self.others))[..., np.newaxis]
            np.put_along_axis(slope, hit, np.where(p > 0.5, -rest, p - 1), -1)
            return slope


def exact(x, temperature=1.0):
    """The exact values for finite or -inf entries, slices along the last axis with a finite maximum each."""
    if not LONG_DOUBLE_IS_WIDE:
        return exact_by_mpmath(x, temperature)
    x = np.asarray(x)
    temperature = np.asarray(temperature, np.float64).astype(WIDE)
    top = x.max(axis=-1, keepdims=True).astype(WIDE)
    q, q_error, exps = (np.empty(x.shape, WIDE) for _ in range(3))
    for start in range(0, x.shape[-1], 4096):  # by parts that stay in the cache
        part = (..., slice(start, start + 4096))
        q[part], q_error[part] = divide(*two_sum(x[part].astype(WIDE), -top), temperature)
        exps[part] = np.exp(q[part]) * (1 + q_error[part])
    winner = np.argmax(x, axis=-1)[..., np.newaxis]
    winning = np.take_along_axis(exps, winner, -1)
    np.put_along_axis(exps, winner, 0, -1)
    others = exps.sum(axis=-1, keepdims=True)
    np.put_along_axis(exps, winner, winning, -1)
    log_sum = np.log1p(others)
    exps /= 1 + others
    q -= log_sum
    q += q_error
    return Exact(top[..., 0], others[..., 0], log_sum[..., 0], exps, q)


def exact_by_mpmath(x, temperature=1.0):
    """`exact` with 300 bits, as arrays of mpmath numbers."""
    x = np.asarray(x)
    rows = x.reshape(-1, x.shape[-1])
    temperatures = np.broadcast_to(np.asarray(temperature, np.float64), (*x.shape[:-1], 1)).ravel()
    results = [_exact_row(row, t) for row, t in zip(rows, temperatures, strict=True)]
    per_row = [_objects([result[i] for result in results], x.shape[:-1]) for i in range(3)]
    per_entry = [_objects([v for result in results for v in result[i]], x.shape) for i in (3, 4)]
    return Exact(*per_row, *per_entry)


def _exact_row(row, temperature):
    with mpmath.workprec(BITS):
        entries = [mpmath.mpf(float(v)) for v in row]
        top = max(entries)
        q = [(v - top) / mpmath.mpf(float(temperature)) for v in entries]
        exps = [mpmath.exp(v) if v > -(2**20) else mpmath.mpf(0) for v in q]
        winner = entries.index(top)
        others = mpmath.fsum(e for i, e in enumerate(exps) if i != winner)
        log_sum = mpmath.log1p(others)
        return top, others, log_sum, [e / (1 + others) for e in exps], [v - log_sum for v in q]


def _objects(values, shape):
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def ulp(value, dtype):
    """The unit in the last place of `dtype` at a value: one subnormal step below the normal range. float64."""
    info = finfo(dtype)
    with np.errstate(over="ignore"):
        magnitude = np.clip(abs(np.asarray(value, np.float64)), info.tiny, info.max)
    _, exponent = np.frexp(magnitude)  # the mantissa is in [1/2, 1)
    return np.ldexp(1.0, exponent - info.nmant - 1)


def errors_in_ulp(got, exact_value, unit=None):
    """|got - exact| in ulps of `unit` (the exact value itself by default), in got's dtype; infinite where got is NaN.

    Infinity counts as the first power of two out of range, and so does an exact value beyond that: infinity is right
    for what rounds to it.
    """
    got, exact_value = np.asarray(got), np.asarray(exact_value)
    step = ulp(exact_value if unit is None else unit, got.dtype)
    exponent = int(finfo(got.dtype).maxexp)
    with mpmath.workprec(BITS):
        if exact_value.dtype == object:
            wide, step, limit = _AS_MPF(got), _AS_MPF(step), mpmath.mpf(2) ** exponent
        else:
            wide, limit = got.astype(WIDE), np.ldexp(WIDE(1), exponent)
        difference = np.clip(wide, -limit, limit) - np.clip(exact_value, -limit, limit)
        errors = np.asarray(abs(difference) / step).astype(np.float64)
    return np.where(np.isnan(errors), np.inf, errors)


@contextmanager
def threads_limited_to(threads):
    before = _native.num_threads()
    _native.set_num_threads(threads)
    try:
        yield
    finally:
        _native.set_num_threads(before)


def same_bits(a, b):
    """Of one dtype and shape, and equal to the sign of a zero; NaNs are all alike."""
    a, b = np.asarray(a), np.asarray(b)
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and bool(((a == b) & (np.signbit(a) == np.signbit(b)) | (np.isnan(a) & np.isnan(b))).all())
    )


def as_mpf(value):
    """A long double as an mpmath number, exactly."""
    if isinstance(value, mpmath.mpf) or not np.isfinite(value):
        return mpmath.mpf(value)
    mantissa, exponent = np.frexp(value)
    with mpmath.workprec(BITS):
        high = float(mantissa)
        return mpmath.ldexp(mpmath.mpf(high) + mpmath.mpf(float(mantissa - WIDE(high))), int(exponent))


_AS_MPF = np.vectorize(as_mpf, [object])


class Tally:
    """Worst errors of one test, a context manager: `add` never fails, the end does, when every case has been seen."""

    def __init__(self, properties=None, isa=None):
        self.properties = properties  # of the test's report
        self.isa = isa or _native.isa()
        self.worst = {}  # (function, dtype, bound) -> [ulp in the normal range, steps below it]
        self.failures = []

    def __enter__(self):
        return self

    def add(self, function, got, exact_value, bound, case, unit=None):
        """Bound: (ulp of `unit`, the exact value by default; steps below the normal range)."""
        got, exact_value = np.asarray(got), np.asarray(exact_value)
        assert got.shape == exact_value.shape, (function, case)
        errors = errors_in_ulp(got, exact_value, unit)
        normal = np.asarray(abs(exact_value if unit is None else unit) >= float(finfo(got.dtype).tiny), bool)
        entry = self.worst.setdefault((function, got.dtype.name, *bound), [0.0, 0.0])
        entry[0] = max(entry[0], float(errors.max(where=normal, initial=0)))
        entry[1] = max(entry[1], float(errors.max(where=~normal, initial=0)))
        wrong = errors > np.where(normal, *bound)
        if wrong.any():
            at = np.unravel_index(np.argmax(np.where(wrong, errors, -1)), errors.shape)
            place = tuple(map(int, at))
            value = exact_value[at]
            value = mpmath.nstr(value, 20) if isinstance(value, mpmath.mpf) else value
            self.failures.append(
                f"{function} {got.dtype}, {case}: {errors[at]:.4g} ulp at {place}: got {got[at]}, exact {value}"
            )

    def __exit__(self, kind, error, traceback):
        if self.properties is not None:
            rows = ([self.isa, key, errors] for key, errors in self.worst.items())
            self.properties.extend((TABLE, json.dumps(row)) for row in rows)
        if kind is None:
            self.check()

    def check(self):
        assert not self.failures, f"{len(self.failures)} cases:\n" + "\n".join(self.failures[:8])


class TableOfWorstErrors:
    """Pytest plugin: gathers what tallies recorded and prints one table, a column for each instruction set."""

    def __init__(self):
        self.worst = {}

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            for name, value in report.user_properties:
                if name == TABLE:
                    isa, key, errors = json.loads(value)
                    row = self.worst.setdefault(tuple(key), {})
                    row[isa] = np.maximum(row.get(isa, 0), errors)

    def pytest_terminal_summary(self, terminalreporter):
        if not self.worst:
            return
        terminalreporter.section("worst errors: ulp / subnormal steps below the normal range", "-")
        isas = sorted({isa for row in self.worst.values() for isa in row}, key="baseline avx2 avx512".find)
        terminalreporter.write_line(f"{'':33}{'bound':>9}" + "".join(f"{isa:>16}" for isa in isas))
        for (function, dtype, *bound), row in sorted(self.worst.items()):
            cells = ("{:#.4g} / {:.2f}".format(*row[isa]) if isa in row else "" for isa in isas)
            bounds = "{:g} / {:g}".format(*bound)
            line = f"{function:24}{dtype:9}{bounds:>9}" + "".join(f"{cell:>16}" for cell in cells)
            terminalreporter.write_line(line)


def print_table_at_the_end(config):
    """Registers the plugin, once a run."""
    if not config.pluginmanager.has_plugin(TABLE):
        config.pluginmanager.register(TableOfWorstErrors(), TABLE)
