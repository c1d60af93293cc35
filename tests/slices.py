"""Slices that have broken one implementation or another, or that reach an edge of this one."""

import numpy as np

INF, NAN = np.inf, np.nan

# What a slice holds, options, and what becomes of it: softmax, log_softmax, logsumexp (None: not defined). The table of
# degenerate slices in the documentation, each limit with its neighbours. More entries of -inf change none of them.
DEGENERATE = {
    "all -inf": ([-INF, -INF, -INF], {}, [0, 0, 0], [-INF, -INF, -INF], -INF),
    "all masked": ([1, 2, 3], {"where": [False] * 3}, [0, 0, 0], [-INF, -INF, -INF], -INF),
    "all masked, none finite": ([NAN, INF, -INF], {"where": [False] * 3}, [0, 0, 0], [-INF, -INF, -INF], -INF),
    "-inf or masked": ([5, -INF, NAN], {"where": [False, True, False]}, [0, 0, 0], [-INF, -INF, -INF], -INF),
    "one left by the mask": ([NAN, 3, INF], {"where": [False, True, False]}, [0, 1, 0], [-INF, 0, -INF], 3),
    "one left by -inf": ([-INF, 3, -INF], {}, [0, 1, 0], [-INF, 0, -INF], 3),
    "one +inf": ([1, INF, -INF], {}, [0, 1, 0], [-INF, 0, -INF], INF),
    "two +inf": ([INF, 3, INF], {}, [0.5, 0, 0.5], [-np.log(2), -INF, -np.log(2)], INF),
    "two +inf, one masked": (
        [INF, 3, INF], {"where": [False, True, True]}, [0, 0, 1], [-INF, -INF, 0], INF,
    ),
    "four +inf": ([INF] * 4, {}, [0.25] * 4, [-np.log(4)] * 4, INF),
    "NaN": ([1, NAN, 2], {}, [NAN] * 3, [NAN] * 3, NAN),
    "NaN and -inf": ([-INF, NAN, -INF], {}, [NAN] * 3, [NAN] * 3, NAN),
    "NaN and +inf": ([INF, NAN, INF], {}, [NAN] * 3, [NAN] * 3, NAN),
    "NaN under the mask": ([2, NAN, 2], {"where": [True, False, True]}, [0.5, 0, 0.5],
                           [-np.log(2), -INF, -np.log(2)], None),
    "+inf under the mask": ([2, INF, 2], {"where": [True, False, True]}, [0.5, 0, 0.5],
                            [-np.log(2), -INF, -np.log(2)], None),
    "one entry": ([7], {}, [1], [0], 7),
    "one -inf": ([-INF], {}, [0], [-INF], -INF),
    "one +inf alone": ([INF], {}, [1], [0], INF),
    "one NaN": ([NAN], {}, [NAN], [NAN], NAN),
    "T=0": ([3, 5, 5, -INF], {"temperature": 0}, [0, 0.5, 0.5, 0], [-INF, -np.log(2), -np.log(2), -INF], None),
    "T=-0.0": ([3, 5, 4], {"temperature": -0.0}, [0, 1, 0], [-INF, 0, -INF], None),
    "T=0, one ulp of bfloat16 apart": ([1, 1.0078125], {"temperature": 0.0}, [0, 1], [-INF, 0], None),
    "T=0, all -inf": ([-INF, -INF], {"temperature": 0}, [0, 0], [-INF, -INF], None),
    "T=0, +inf": ([1, INF, INF], {"temperature": 0}, [0, 0.5, 0.5], [-INF, -np.log(2), -np.log(2)], None),
    "T=0, masked": ([3, 5, 5], {"temperature": 0, "where": [True, True, False]}, [0, 1, 0], [-INF, 0, -INF], None),
    "T=0, NaN": ([3, NAN, 5], {"temperature": 0}, [NAN] * 3, [NAN] * 3, None),
    "T=inf": ([3, 5, -INF], {"temperature": INF}, [0.5, 0.5, 0], [-np.log(2), -np.log(2), -INF], None),
    "T=inf, all -inf": ([-INF, -INF], {"temperature": INF}, [0, 0], [-INF, -INF], None),
    "T=inf, +inf": ([1, INF, INF], {"temperature": INF}, [0, 0.5, 0.5], [-INF, -np.log(2), -np.log(2)], None),
    "T=inf, masked": (
        [3, 5, NAN, -9], {"temperature": INF, "where": [True, False, False, True]}, [0.5, 0, 0, 0.5],
        [-np.log(2), -INF, -INF, -np.log(2)], None,
    ),
    "T=inf, NaN": ([3, NAN, 5], {"temperature": INF}, [NAN] * 3, [NAN] * 3, None),
    "any T, two +inf": ([INF, 3, INF], {"temperature": 0.5}, [0.5, 0, 0.5], [-np.log(2), -INF, -np.log(2)], None),
    "any T, all -inf": ([-INF, -INF], {"temperature": 3.0}, [0, 0], [-INF, -INF], None),
    "any T, NaN": ([1, NAN], {"temperature": 3.0}, [NAN, NAN], [NAN, NAN], None),
}  # fmt: skip


def hard_slices(dtype):
    """Name and entries, finite or -inf, for float32 or float64."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(5)
    eps, tiny, step, huge = (float(v) for v in (info.eps, info.tiny, info.smallest_subnormal, info.max / 4))
    underflow = -np.log(tiny)  # e^-underflow is the smallest normal number, e^-smallest the smallest number
    smallest = -np.log(step)
    octaves = {np.float32: 186, np.float64: 1140}[dtype] * np.log(2)  # entries further down are moved up to there
    below = np.nextafter(dtype(2048), dtype(0))
    return {
        "one": [3.7],
        "two ties": [0.1, 0.1],
        "all tie": [-7.3] * 21,
        "ties on top": [5, 1, 5, 4.9, 5, 0],
        "one huge": [1e4, 0, 1, -1, 2, 3],
        "one enormous": [huge, 0, 1, -1],
        "one very negative": [-huge, 0, 1, -1],
        "all very negative": [-huge, -huge, -huge / 2],
        "sure": [20, 0],
        "very sure": [underflow + 1, 0, 0],
        "beyond doubt": [smallest + 2, 0],
        "neighbours": [1, 1 + eps, 1 - eps / 2, 1 + 2 * eps],
        "neighbours at 1000": np.nextafter(dtype(1000), np.array([0, 9999, 1000], dtype)),
        "subnormal probabilities": [0, *-np.linspace(underflow - 3, smallest + 3, 40)],
        "around the smallest normal": [0, *(-underflow + np.arange(-8, 9) * 16 * eps * underflow)],
        "around half the smallest subnormal": [0, *(-smallest - np.log(2) + np.arange(-8, 9) * 16 * eps * smallest)],
        "around the lowest octave": [0, *(-octaves + np.linspace(-2, 2, 17))],
        "tiny tail": [0, *rng.uniform(-smallest, -underflow + 20, 33)],
        "subnormal scores": [0, step, -step, tiny, -tiny, 5 * step],
        "-inf among finite": [-INF, 1, -INF, 2, 0.5, -INF, -100],
        "half a logarithm of 2 either side": [(n + 0.5) * np.log(2) for n in range(-8, 9)],
        "one ulp from a change of octave": np.nextafter(
            np.array((np.arange(-40, 0) + 0.5) * np.log(2), dtype), dtype(0)
        ),
        "multiples of log 2": [n * np.log(2) for n in range(-20, 21)],
        "quantised to quarters": np.round(rng.normal(0, 3, 50) * 4) / 4,
        "quantised to 8 bits": rng.integers(-128, 128, 60) * 0.0941,
        "alternating magnitudes": [1e-30, 1e4, -1e-5, -1e4, 1e4 - 3, 1e-30, 9999.99, 12.5],
        "alternating signs": [(-1) ** i * 1.7**i * 1e-4 for i in range(30)],
        "just inside the range that is not shifted": below - np.array([0, 1, 2.5, 40], dtype),
        "at the range that is not shifted": 2048 - np.array([0, 1, 2.5, 40]),
        "just outside the range that is not shifted": np.nextafter(dtype(2048), dtype(9999))
        - np.arange(0, 40, 3, dtype),
        "just inside, negative": -2048 - np.array([0, 1, 2.5, 40]) * (1 - eps),
        "just outside, negative": -2048 - np.array([0.5, 1, 2.5, 40]),
        "steps of a thousand": np.arange(-20, 21) * 1000.0,
        "geometric": np.log(0.5) * np.arange(60),
        # As much beside the maximum as tells a sum of the others from a sum of all, in a row that is no tile's.
        "a fifth beside the maximum": [0.3, *(0.3 + np.log(0.2 / 150) + rng.normal(0, 0.1, 150))],
        "a quarter beside the maximum": [-0.7, *(-0.7 + np.log(0.251 / 150) + rng.normal(0, 0.1, 150))],
        "half beside the maximum": [0.9, *(0.9 + np.log(0.5 / 150) + rng.normal(0, 0.1, 150))],
    }
