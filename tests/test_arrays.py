"""Every dtype, in any memory, along every axis: the bits of a contiguous copy, and nothing written but `out`."""

import inspect
import re
from typing import NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numerics import same_bits

from softmax import hardmax, log_sigmoid, log_softmax, logsumexp, reference, sigmoid, softmax, softmin

FUNCTIONS = (softmax, log_softmax, softmin, hardmax, logsumexp, sigmoid, log_sigmoid)
TAKES = {function: frozenset(inspect.signature(function).parameters) for function in FUNCTIONS}  # names of options
WITH_OUT = [function for function in FUNCTIONS if "out" in TAKES[function]]

HALVES = (np.float16, ml_dtypes.bfloat16)
FLOATS = (*HALVES, np.float32, np.float64, np.longdouble)
INTEGERS = (np.bool_, *(f"{kind}{width}" for kind in ("int", "uint") for width in (8, 16, 32, 64)))
DTYPES = tuple(np.dtype(dtype) for dtype in (*INTEGERS, *FLOATS))
SWAPPED = tuple(dtype.newbyteorder() for dtype in DTYPES if dtype.itemsize > 1)

AXES = (0, 1, -1, -3, (0, 2), (-1, -2), None)
SHAPES = ((3, 4, 5), (2, 3, 40), (2, 1, 4099))  # lanes; a vector and a rest; a block and a rest
EMPTY = ((0, 4, 5), (3, 0, 5), (3, 4, 0))

GUARD = 0xA5


class Layout(NamedTuple):
    """Where the entries of an array with three axes lie, measured in bytes."""

    axes: tuple[int, ...] = (0, 1, 2)  # from the widest stride to the narrowest
    gap: int = 0  # behind each entry and behind each run of an axis
    skew: int = 0  # of the first entry from an aligned address
    sign: int = 1  # of all strides


LAYOUTS = {
    "C": Layout(),
    "Fortran": Layout((2, 1, 0)),
    "transposed": Layout((1, 0, 2)),
    "reversed": Layout(sign=-1),
    "sliced": Layout(gap=64),
    "sliced, transposed and reversed": Layout((0, 2, 1), gap=32, sign=-1),
    "unaligned": Layout(skew=1),
    "packed records": Layout(gap=1, skew=3),
}


class Place:
    """An array of guard bytes, in the middle of memory full of them."""

    def __init__(self, shape, dtype, layout):
        pitch = dtype.itemsize + layout.gap
        strides = [0] * len(shape)
        for axis in reversed(layout.axes):
            strides[axis] = pitch
            pitch = pitch * shape[axis] + layout.gap
        self.memory = np.full(pitch + 256, GUARD, np.uint8)
        where = {"buffer": self.memory, "offset": 128 + layout.skew}
        turn = (slice(None, None, layout.sign),) * len(shape)
        self.array = np.ndarray(shape, dtype, strides=strides, **where)[turn]
        self.bytes = np.ndarray((*shape, dtype.itemsize), np.uint8, strides=(*strides, 1), **where)

    def guards_are_whole(self):
        """Ends the array: its own bytes become guards too."""
        self.bytes[...] = GUARD
        return bool((self.memory == GUARD).all())


def laid_out(x, layout):
    """x in that layout, read-only."""
    place = Place(x.shape, x.dtype, layout)
    place.array[...] = x
    place.array.flags.writeable = False
    return place.array


def contiguous(x):
    return x.astype(x.dtype.newbyteorder("="), order="C", copy=True)


def numbers(shape, dtype):
    x = np.random.default_rng(len(shape) + shape[-1]).normal(0, 3, shape)
    return (abs(x) if dtype.kind in "bu" else x).astype(dtype)


def result_dtype(dtype):
    return np.dtype(np.float64) if dtype.kind in "biu" else dtype.newbyteorder("=")


def widened(x):
    """To the dtype that the computation runs in, which out and dtype get the results of."""
    return x.astype(np.float32) if x.dtype.type in HALVES else x


def calls(functions=FUNCTIONS, axes=AXES):
    """(function, its axis as an option); once where it takes none."""
    for function in functions:
        yield from ((function, {"axis": axis}) for axis in axes) if "axis" in TAKES[function] else [(function, {})]


# Where the input lies


@pytest.mark.parametrize("dtype", [*DTYPES, *SWAPPED], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_gives_the_bits_of_a_contiguous_copy(layout, dtype):
    """Read-only, and native or swapped bytes."""
    for shape in (*SHAPES, *EMPTY):
        x = laid_out(numbers(shape, dtype), LAYOUTS[layout])
        copy = contiguous(x)
        for function, options in calls():
            result = function(x, **options)
            assert result.dtype == result_dtype(dtype)
            assert same_bits(result, function(copy, **options)), (function, options, shape)
        assert same_bits(contiguous(x), copy)


@pytest.mark.parametrize("dtype", [np.int8, *FLOATS])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_masks_and_temperatures_may_lie_anywhere_too(layout, dtype):
    for shape in SHAPES:
        x = numbers(shape, np.dtype(dtype))
        keep = laid_out(x > 0, LAYOUTS[layout])
        temperature = laid_out(np.linspace(0.5, 2, x[..., :1].size).reshape(x[..., :1].shape), LAYOUTS[layout])
        for function, options in calls(axes=(-1, 0)):
            if "where" in TAKES[function]:
                expected = function(x, where=keep.copy(), **options)
                assert same_bits(function(x, where=keep, **options), expected)
            if "temperature" in TAKES[function] and options["axis"] == -1:
                expected = function(x, temperature=temperature.copy(), where=keep.copy())
                assert same_bits(function(x, temperature=temperature, where=keep), expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_broadcast_entries_count_as_often_as_they_appear(dtype):
    """Of stride 0, along the slice, across it, and everywhere."""
    for x in (numbers((3, 1, 5), dtype), numbers((1, 4, 1), dtype), numbers((1, 1, 40), dtype), numbers((1,), dtype)):
        spread = np.broadcast_to(x, (3, 4, *x.shape[-1:]) if x.shape[-1] > 1 else (3, 4, 50))
        for function, options in calls():
            assert same_bits(function(spread, **options), function(spread.copy(), **options)), (function, options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_number_gives_a_number(dtype):
    """A scalar as NumPy's own functions give it, unless there is an out."""
    for function, options in calls(axes=(None, ())):
        for number in (dtype.type(1), np.array(1, dtype)):
            result = function(number, **options)
            assert isinstance(result, np.generic)
            assert same_bits(result, function(np.array([1], dtype), **options).reshape(()))
        if function in WITH_OUT:
            out = np.zeros((), result_dtype(dtype))
            assert function(number, out=out, **options) is out
            assert same_bits(out, result)


# What the values are


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_agrees_with_the_reference(dtype):
    """To the precision of the result, or the reference's own where that is less: of logsumexp, to that of its terms."""
    info = ml_dtypes.finfo(result_dtype(dtype))
    precision, step = max(float(info.eps), 1e-15), float(info.smallest_subnormal)
    for shape in SHAPES:
        x = numbers(shape, dtype)
        wide = x.astype(np.longdouble if dtype == np.longdouble else np.float64)
        for function, options in calls():
            if function is hardmax and not isinstance(options["axis"], int):
                continue  # the reference takes one axis
            expected = getattr(reference, function.__name__)(wide, **options)
            result = function(x, **options).astype(expected.dtype)
            atol = precision if function is logsumexp else step
            np.testing.assert_allclose(result, expected, 4 * precision, atol, err_msg=f"{function.__name__} {options}")


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype):
    """Not softmax of more than 128 entries: see test_halves.py."""
    for shape in SHAPES:
        x = numbers(shape, np.dtype(dtype))
        for function, options in calls():
            if function in (softmax, softmin) and x.size // np.size(logsumexp(x, **options)) > 128:
                continue
            more = {"where": x > -1, "temperature": 0.7}
            more = {name: value for name, value in more.items() if name in TAKES[function]}
            for some in (options, options | more):
                assert same_bits(function(x, **some), function(x.astype(np.float32), **some).astype(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_sums_do_not_overflow(dtype):
    zeros = np.zeros(70000, dtype)
    assert (softmax(zeros) == dtype(1 / 70000)).all()
    assert softmax(zeros)[0] > 0
    assert (log_softmax(zeros) == dtype(-np.log(70000))).all()
    assert logsumexp(zeros) == dtype(np.log(70000))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_converted_to_float64_first(dtype):
    """At the ends of their range too, where x - max would wrap around."""
    info = None if dtype is np.bool_ else np.iinfo(dtype)
    values = [False, True, True] if info is None else [info.min, info.max, 0, 1, info.max - 1]
    x = np.array(values, dtype)
    for function in FUNCTIONS:
        assert same_bits(function(x), function(np.array(values, np.float64)))


def test_int8_does_not_wrap_around():
    np.testing.assert_array_equal(softmax(np.int8([127, -128])), [1, np.exp(-255.0)])


# Other dtypes

NARROW = ("float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu", "float6_e3m2fn", "float4_e2m1fn", "int4", "uint2")
OTHERS = [np.dtype(getattr(ml_dtypes, name)) for name in NARROW] + [np.dtype("V8"), np.dtype([("x", "f8")])]


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_other_dtypes_are_refused_by_name(dtype):
    """As input, as the result's dtype and as out, which stays as it is."""
    memory, named = np.zeros(3, dtype), re.escape(str(dtype))
    for function in FUNCTIONS:
        with pytest.raises(TypeError, match=rf"^x must hold real numbers, got dtype {named}$"):
            function(memory)
    for function in WITH_OUT:
        with pytest.raises(TypeError, match=rf"^out must have a floating-point dtype, got {named}$"):
            function(np.arange(3.0), out=memory)
        assert memory.tobytes() == bytes(memory.nbytes)
        if "dtype" in TAKES[function]:
            with pytest.raises(TypeError, match=rf"^dtype must be a floating-point dtype, got {named}$"):
                function(np.arange(3.0), dtype=dtype)


# Where the output goes


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_out_gets_the_bits_and_nothing_else_is_written(layout, dtype):
    """Whatever its dtype, whatever the input's; native or swapped bytes."""
    for shape in ((3, 4, 5), (2, 3, 40), (3, 0, 5)):
        for x in (numbers(shape, np.dtype(given)) for given in (np.int16, *FLOATS)):
            for function, options in calls(WITH_OUT, axes=(0, -1, (0, 2), None)):
                # 16 bits that stay 16 bits have kernels of their own.
                expected = function(x if x.dtype == dtype else widened(x), **options).astype(dtype)
                for order in "=S":
                    place = Place(shape, np.dtype(dtype).newbyteorder(order), LAYOUTS[layout])
                    assert function(x, out=place.array, **options) is place.array
                    assert same_bits(contiguous(place.array), expected), (function, options, x.dtype)
                    assert place.guards_are_whole()


OVERLAPS = {
    "the same": lambda square: (square, square),
    "the same, sliced": lambda square: (square[::2, 1::3], square[::2, 1::3]),
    "rows turned": lambda square: (square, square[::-1]),
    "columns turned": lambda square: (square, square[:, ::-1]),
    "transposed": lambda square: (square, square.T),
    "a row on": lambda square: (square[:-1], square[1:]),
    "a row back": lambda square: (square[1:], square[:-1]),
    "a column on": lambda square: (square[:, :-1], square[:, 1:]),
    "three columns back": lambda square: (square[:, 3:], square[:, :-3]),
    "one row for all": lambda square: (np.broadcast_to(square[1], square.shape), square),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("overlap", OVERLAPS)
def test_out_may_overlap_the_input(overlap, dtype):
    """As if the input had been copied first."""
    for size in (5, 40, 200):
        for function, options in calls(WITH_OUT, axes=(0, -1, (0, 1))):
            square = numbers((size, size), np.dtype(dtype))
            x, out = OVERLAPS[overlap](square)
            outside = np.ones(square.shape, bool)
            OVERLAPS[overlap](outside)[1][...] = False
            expected, before = function(x.copy(), **options), square[outside]
            assert function(x, out=out, **options) is out
            assert same_bits(out, expected), (function, options, size)
            assert same_bits(square[outside], before)


@pytest.mark.parametrize("function", WITH_OUT)
@pytest.mark.parametrize("size", [5, 40, 5000])
def test_out_may_overlap_the_input_in_another_dtype(function, size):
    for given, taken in ((np.float64, np.float32), (np.float32, np.float64), (np.float16, np.float32)):
        memory = numbers((2 * size,), np.dtype(given))
        x = memory[:size]
        out = memory.view(taken)[:size] if given != np.float32 else memory.view(taken)
        expected = function(widened(x.copy())).astype(taken)
        assert same_bits(function(x, out=out), expected)


@pytest.mark.parametrize("function", [function for function in WITH_OUT if "where" in TAKES[function]])
@pytest.mark.parametrize("size", [5, 40, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out_may_overlap_the_mask_and_the_temperature(function, size, dtype):
    x = numbers((3, size), np.dtype(dtype))
    out = np.zeros(x.shape, dtype)
    keep = out.view(np.bool_)[:, -size:]
    keep[...] = x > 0
    expected = function(x, where=keep.copy())
    assert same_bits(function(x, where=keep, out=out), expected)
    temperature = out[:, 1:2]
    temperature[...] = [[0.5], [1.5], [2.5]]
    expected = function(x, temperature=temperature.copy())
    assert same_bits(function(x, temperature=temperature, out=out), expected)
