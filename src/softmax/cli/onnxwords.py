"""The words of texts in an ONNX graph: the same words and weights as those of `softmax.words`, for any Unicode text.

ONNX has no such operators: its lower case is that of a locale, which a machine may lack, and its counts of words are a
dense array, a column for every word. So texts are cut by onnxruntime's own Tokenizer, a word is known by a sum over its
letters, capitals counting as their small ones, and what is counted are pairs of a row and a word of it:

    texts (n,)  ->  words of each row, the different ones among them  ->  their letters  ->  sums  ->  columns
    row and column of each word  ->  different pairs, counted  ->  weights  ->  weighted rows of the layer, added up
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..words import WordWeights

if TYPE_CHECKING:
    from .export import Graph

ONNXRUNTIME = "com.microsoft"  # the domain of its own operators
NO_WORD = "_"  # of a single letter: it fills rows up, and stands for what is too long to be known
LARGEST_SUM = 2**62
LONGEST = 1000  # letters of a word: what the Tokenizer's expressions can count to

Array = NDArray[Any]


def word_product(graph: Graph, column: str, words: WordWeights, coef: Array) -> str:
    """Add the nodes from a column of texts to its words' weights times the rows of `coef`: (n, n_out) in float64."""
    node, ints, unknown = graph.node, graph.ints, len(coef)
    n = node("Shape", column)
    found = node("Reshape", tokens(graph, column, f"[{word_characters()}]+"), ints(-1))
    found = node("Concat", found, graph.constant(np.array([NO_WORD], object)), axis=0)  # never empty
    different, which, _ = graph.unique(found)
    columns = node("Gather", known_columns(graph, different, words), which)

    one, zero = graph.constant(np.array(1)), graph.constant(np.array(0))
    size = node("Squeeze", node("Shape", found))
    width = node("Max", node("Div", node("Sub", size, one), node("Max", node("Squeeze", n), one)), one)
    row = node("Div", node("Range", zero, size, one), width)
    base = graph.constant(np.array(unknown + 1))
    pairs, _, counts = graph.unique(node("Add", node("Mul", row, base), columns))
    row, entry = node("Div", pairs, base), node("Mod", pairs, base)

    logs = node("Log", node("Cast", counts, to=graph.onnx.TensorProto.DOUBLE))
    idf = graph.floats(np.append(words.idf_, 0))
    weight = node("Mul", node("Add", logs, graph.floats(np.array(1))), node("Gather", idf, entry))
    rows = node("Add", n, ints(1))  # the last for the one word too many
    squares = node("ScatterElements", zeros(graph, rows), row, node("Mul", weight, weight), axis=0, reduction="add")
    length = node("Max", node("Sqrt", node("Gather", squares, row)), graph.floats(np.array(1e-30)))
    scaled = node("Unsqueeze", node("Div", weight, length), ints(1))
    parts = node("Mul", scaled, node("Gather", graph.floats(np.vstack([coef, 0 * coef[:1]])), entry))
    start = zeros(graph, node("Concat", rows, ints(coef.shape[1]), axis=0))
    return node("Slice", node("ScatterND", start, node("Unsqueeze", row, ints(1)), parts, reduction="add"), ints(0), n)


def known_columns(graph: Graph, different: str, words: WordWeights) -> str:
    """The column of each of some words (U,), len(words) where it is not known."""
    names = words.get_feature_names_out()
    spelled = spellings(names)
    longest = min(LONGEST, max(map(len, spelled)))
    codes = {letter: i for i, letter in enumerate(sorted(set().union(*spelled)), 1)}
    strange = len(codes) + 1
    # Different words have the same sum by chance alone: once in 1e10 of those that are not known, with 1e5 that are.
    rng = np.random.default_rng(0)
    factors = rng.integers(1, LARGEST_SUM // (strange * (longest + 1)), longest + 1)
    sums = {sum(codes[letter] * int(factors[i]) for i, letter in enumerate(w)): c for w, c in spelled.items()}

    whole = tokens(graph, different, f"(?s)^.{{1,{longest}}}$")
    node, ints = graph.node, graph.ints
    letters = tokens(graph, node("Reshape", whole, ints(-1)), letters=True)
    keys = {letter: codes[small] for letter, small in small_letters(codes).items()} | codes | {"": 0}
    coded = encoder(graph, letters, "strings", keys, strange)
    width = node("Slice", node("Shape", coded), ints(1), ints(2))
    total = node("MatMul", coded, node("Slice", graph.constant(factors), ints(0), width))
    return encoder(graph, total, "int64s", sums, len(names))


def spellings(names: Array) -> dict[str, int]:
    """The words as they come letter by letter, and their columns: two capitals are not what their small letters are.

    The capital of a final sigma is that of any other, and a Turkish dotted capital is one letter, its small one two.
    """
    columns = {name: i for i, name in enumerate(names)}
    for i, name in enumerate(names):
        for other in (name.replace("i\u0307", "\u0130"), name.replace("ς", "σ")):
            columns.setdefault(other, i)
    return columns


def small_letters(codes: dict[str, int]) -> dict[str, str]:
    """Every letter whose small one is among `codes`."""
    letters = every_character()
    small = letters.str.to_lowercase()
    return dict(pl.DataFrame([letters, small.alias("small")]).filter(small.is_in([*codes])).iter_rows())


def word_characters() -> str:
    r"""What \w is to polars, as the ranges of a regular expression: other libraries have older tables of Unicode."""
    letters = every_character()
    points = np.array([ord(letter) for letter in letters.filter(letters.str.contains(r"^\w$"))])
    ends = np.append(np.flatnonzero(np.diff(points) > 1), len(points) - 1)
    starts = np.append(0, ends[:-1] + 1)
    return "".join(rf"\x{{{points[i]:X}}}-\x{{{points[j]:X}}}" for i, j in zip(starts, ends, strict=True))


def every_character() -> pl.Series:
    """All of Unicode, surrogates aside."""
    return pl.Series("letter", [chr(i) for i in range(1, 0x110000) if not 0xD800 <= i < 0xE000])


def tokens(graph: Graph, texts: str, expression: str = "", letters: bool = False) -> str:
    """Add a node that cuts each text by a regular expression or into letters: (n, most of a text)."""
    cut: dict[str, Any] = {"separators": [""]} if letters else {"tokenexp": expression}
    padding = "" if letters else NO_WORD
    return graph.node("Tokenizer", texts, domain=ONNXRUNTIME, mark=0, mincharnum=1, pad_value=padding, **cut)


def encoder(graph: Graph, values: str, kind: str, keys: dict[Any, int], default: int) -> str:
    """Add a node that looks up `keys`."""
    attributes: dict[str, Any] = {f"keys_{kind}": [*keys], "values_int64s": [*keys.values()], "default_int64": default}
    return graph.node("LabelEncoder", values, domain="ai.onnx.ml", **attributes)


def zeros(graph: Graph, shape: str) -> str:
    """Add an array of zeros."""
    value = graph.onnx.numpy_helper.from_array(np.zeros(1))
    return graph.node("ConstantOfShape", shape, value=value)
