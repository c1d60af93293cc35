"""`softmax export`: a model as one ONNX graph, from the columns of a table to classes and probabilities.

The graph computes in float64, as the model does, so that columns of large numbers lose nothing:

    numbers (n,)     ->  missing filled in, scaled      one input a column; NaN is a missing value
    categories (n,)  ->  one-hot, zeros where unknown   one input a column; "" is a missing value
    free text (n,)   ->  words, weighted                one input a column; "" is a missing value
    all beside each other  ->  layers  ->  softmax  ->  probabilities (n, K) in float32, and prediction (n,)
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .. import __version__
from .._text import count, listing
from .columns import PARTS
from .console import Problem, Status, check_writable, replacing
from .models import Model, load
from .onnxwords import ONNXRUNTIME, word_product

OPSET = 17  # of 2022: what runs it need not be new
TOLERANCE = 1e-6  # of the probabilities: they are float32
COMPARED = 1000  # rows
OUTPUTS = ("prediction", "probabilities")
PREFIX = "softmax/"  # of names inside the graph, which columns are not to have

Array = NDArray[Any]


def export(model: str, output: str) -> None:
    """Write the model in a file as ONNX, once onnxruntime has given the same probabilities."""
    check_writable(output, (".onnx",))
    import onnx
    import onnxruntime

    loaded = load(model)
    for column in [*loaded.facts.numbers, *loaded.facts.categorical, *loaded.facts.text]:
        if column in OUTPUTS:
            raise Problem(f"{model}: column {column!r} has the name of an output of the file: rename it and train")
    graph = Graph(onnx, loaded).model()
    data = graph.SerializeToString()
    worst = difference(onnxruntime, data, loaded, examples(loaded))
    if not worst <= TOLERANCE:
        message = f"onnxruntime's probabilities differ from the model's by {worst:.1g}, more than {TOLERANCE:g}"
        raise Problem(f"{model}: {message}: nothing was written, please report it with the model", Status.FAILED)
    with replacing(output) as file:
        file.write(data)
    facts = loaded.facts
    columns = [count(len(facts.numbers), "column") + " of numbers (float64)"] if facts.numbers else []
    parts = f" (of {listing(facts.dates)}: {', '.join(PARTS)}, the days since 1970)" if facts.dates else ""
    texts = [*facts.categorical, *facts.text]
    columns += [count(len(texts), "column") + " of texts"] if texts else []
    print(f"Inputs: {' and '.join(columns)}, each of shape (n,){parts}; a missing value is NaN, or an empty text.")
    print(f"Outputs: prediction (n,), and probabilities (n, {len(loaded.classes)}): {listing(labels(loaded), 10)}.")
    print(f"onnxruntime gives the same probabilities, within {worst:.1g}, on {COMPARED} rows like the training data.")
    print(f"Saved {output} ({len(data) / 1000:.1f} kB).")


class Graph:
    """The nodes of a model's graph. A step adds nodes and returns the name of its result."""

    def __init__(self, onnx: Any, model: Model) -> None:
        self.onnx, self.loaded = onnx, model
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def model(self) -> Any:
        """The checked ONNX model."""
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        facts, classes = self.loaded.facts, self.loaded.classes
        logits = self._layers()
        probs = self.node("Softmax", logits, axis=1)
        self.node("Cast", probs, to=kinds.FLOAT, output="probabilities")
        index = self.node("ArgMax", probs, axis=1, keepdims=0)
        names = self.constant(np.array(labels(self.loaded), object))
        self.node("Gather", names, index, output="prediction")
        texts = [*facts.categorical, *facts.text]
        inputs = [helper.make_tensor_value_info(column, kinds.DOUBLE, ["n"]) for column in facts.numbers]
        inputs += [helper.make_tensor_value_info(column, kinds.STRING, ["n"]) for column in texts]
        outputs = [
            helper.make_tensor_value_info("prediction", kinds.STRING, ["n"]),
            helper.make_tensor_value_info("probabilities", kinds.FLOAT, ["n", len(classes)]),
        ]
        graph = helper.make_graph(self.nodes, "softmax", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", 3)]
        opsets += [helper.make_opsetid(ONNXRUNTIME, 1)] if facts.text else []
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="softmax", producer_version=__version__
        )
        helper.set_model_props(model, {"classes": json.dumps(labels(self.loaded)), "target": facts.target})
        self.onnx.checker.check_model(model)
        return model

    def _numbers(self) -> str:
        imputer, scaler = (step for _, step in self.loaded.preprocessing["numeric"].steps)
        columns = [self.node("Unsqueeze", column, self.ints(1)) for column in self.loaded.facts.numbers]
        x = self.node("Concat", *columns, axis=1)
        filled = self.node("Where", self.node("IsNaN", x), self.floats(imputer.statistics_), x)
        centred = self.node("Sub", filled, self.floats(scaler.mean_))
        return self.node("Div", centred, self.floats(scaler.scale_))

    def _one_hot(self, column: str, categories: Array) -> str:
        known = ["" if category is None else category for category in categories]
        hot = self.node("OneHotEncoder", column, domain="ai.onnx.ml", cats_strings=known, zeros=1)
        flat = self.node("Reshape", hot, self.ints(-1, len(known)))
        return self.node("Cast", flat, to=self.onnx.TensorProto.DOUBLE)

    def _layers(self) -> str:
        classifier = self.loaded.pipeline[-1]
        activation = {"relu": "Relu", "tanh": "Tanh"}[classifier.activation]
        coefs, intercepts = classifier.coefs_, classifier.intercepts_
        x = self.node("Add", self._first_products(coefs[0]), self.floats(intercepts[0]))
        for coef, intercept in zip(coefs[1:], intercepts[1:], strict=True):
            product = self.node("MatMul", self.node(activation, x), self.floats(coef))
            x = self.node("Add", product, self.floats(intercept))
        if coefs[-1].shape[1] == 1:  # the logit of the first of two classes is 0
            x = self.node("Concat", self.node("Sub", x, x), x, axis=1)
        return x

    def _first_products(self, coef: Array) -> str:
        """The features of all columns times the first layer's weights, of which each kind has some rows."""
        facts, steps = self.loaded.facts, self.loaded.preprocessing
        parts = [self._numbers()] if facts.numbers else []
        parts += map(self._one_hot, facts.categorical, self.loaded.categories)
        texts = [steps[f"text {i}"] for i in range(len(facts.text))]
        ends = np.cumsum([len(coef) - sum(len(words.idf_) for words in texts), *(len(words.idf_) for words in texts)])
        dense, *sparse = np.split(coef, ends[:-1])
        products = [self.node("MatMul", self.node("Concat", *parts, axis=1), self.floats(dense))] if parts else []
        products += [
            word_product(self, column, words, rows)
            for column, words, rows in zip(facts.text, texts, sparse, strict=True)
        ]
        return self.node("Sum", *products)

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; the name of its result."""
        output = output or f"{PREFIX}{operator}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [output], **attributes))
        return output

    def unique(self, values: str) -> tuple[str, str, str]:
        """Add a node that sorts: the different values, which of them each value is, and how often each one stands."""
        name = f"{PREFIX}Unique_{len(self.nodes)}"
        outputs = name, f"{name}_of", f"{name}_count"
        self.nodes.append(self.onnx.helper.make_node("Unique", [values], [outputs[0], "", *outputs[1:]]))
        return outputs

    def constant(self, values: Array) -> str:
        """Add a constant; its name."""
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(values, name))
        return name

    def floats(self, values: Array) -> str:
        """Add a constant in float64."""
        return self.constant(np.asarray(values, np.float64))

    def ints(self, *values: int) -> str:
        """Add a constant vector in int64."""
        return self.constant(np.array(values, np.int64))


def labels(model: Model) -> list[str]:
    """The classes as texts: an output of an ONNX graph has one type."""
    return [str(label) for label in model.classes]


def examples(model: Model) -> pl.DataFrame:
    """Rows like those that the model was trained on, missing and unknown values among them."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    if model.facts.numbers:
        scaler = model.preprocessing["numeric"].steps[1][1]
        for column, mean, scale in zip(model.facts.numbers, scaler.mean_, scaler.scale_, strict=True):
            numbers = mean + scale * 2 * rng.standard_normal(COMPARED)
            columns[column] = pl.Series(np.where(rng.random(COMPARED) < 0.05, np.nan, numbers)).fill_nan(None)
    for column, categories in zip(model.facts.categorical, model.categories, strict=True):
        known = [*categories, None, "a text that no table has"]
        columns[column] = pl.Series([known[i] for i in rng.integers(len(known), size=COMPARED)], dtype=pl.String)
    for i, column in enumerate(model.facts.text):
        columns[column] = texts_of(model.preprocessing[f"text {i}"].get_feature_names_out(), rng)
    return pl.DataFrame(columns)


def texts_of(words: Array, rng: np.random.Generator) -> pl.Series:
    """Texts that hold every word at least once, some of them more often or in capitals, and a word of no other."""
    places = np.append(np.arange(len(words)), rng.integers(len(words), size=len(words) + 5 * COMPARED))
    rows = rng.integers(COMPARED, size=len(places))
    texts: list[list[str]] = [["unheard-of"] for _ in range(COMPARED)]
    spell = str, str.upper, str.title
    for row, place, kind in zip(rows, places, rng.integers(len(spell), size=len(places)), strict=True):
        texts[row] += [spell[kind](words[place])] * int(1 + place % 3)
    lines = [rng.choice([" ", ", ", "!\n"]).join(text) for text in texts]
    return pl.Series([None if i % 20 == 0 else line for i, line in enumerate([*lines])], dtype=pl.String)


def difference(onnxruntime: Any, data: bytes, model: Model, frame: pl.DataFrame) -> float:
    """The largest difference of a probability between onnxruntime and the model; infinite where a class differs."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    feed = {column: frame[column].fill_null(np.nan).to_numpy() for column in model.facts.numbers}
    texts = [*model.facts.categorical, *model.facts.text]
    feed |= {column: frame[column].fill_null("").to_numpy().astype(object) for column in texts}
    predictions, probs = session.run(["prediction", "probabilities"], feed)
    expected = model.probabilities(frame)
    top = np.sort(expected, axis=1)
    clear = top[:, -1] - top[:, -2] > TOLERANCE
    winners = np.array(labels(model))[expected.argmax(axis=1)]
    if (winners != predictions)[clear].any():
        return np.inf
    return float(np.abs(probs - expected).max())
