"""A trained pipeline and the facts that its use needs: built from a table, tested, saved, loaded without pickle."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.metadata import version
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import polars as pl
import sklearn.utils
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .. import __version__, softmax
from .._text import count, listing
from ..ensemble import average
from ..learn import SoftmaxClassifier
from ..network import class_logits
from ..words import WordWeights
from .columns import PARTS, date_numbers
from .console import Problem, note, replacing, warnings_as_notes
from .tables import Layout, Table, first
from .textfiles import read_bytes

FORMAT = 2  # 1 had no dates, texts, lines, images and temperature
# What a model holds beside what skops trusts of its own accord, none of which can run code of the file's own.
# _RemainderColsList holds a ColumnTransformer's remaining columns in older versions of scikit-learn.
TRUSTED = (
    "numpy.dtype",
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.impute._base.SimpleImputer",
    "sklearn.pipeline.Pipeline",
    "sklearn.preprocessing._data.StandardScaler",
    "sklearn.preprocessing._encoders.OneHotEncoder",
    "softmax.learn.SoftmaxClassifier",
    "softmax.words.WordWeights",
)

Labels = NDArray[Any]


def _import_skops_io() -> Any:
    """skops.io, without the list of all estimators that it would trust.

    For that list it imports all of scikit-learn, and what that imports in turn: 2 to 4 s of every command.
    """
    every = sklearn.utils.all_estimators
    sklearn.utils.all_estimators = list
    try:
        return import_module("skops.io")
    finally:
        sklearn.utils.all_estimators = every


skops_io = _import_skops_io()


@dataclass(frozen=True)
class Facts:
    """What a model has to know of the table that it was trained on.

    Attributes:
        target: the column that holds the class.
        numeric, categorical, text: the columns of these kinds.
        dates: the form of each column of dates, "" where the file had dates of its own.
        lines: whether the rows were lines of text.
        image: width, height and channels, where the rows were images.
        interrupted: whether the training was stopped before its end.
        temperature: what the last layer was divided by.
        calibration: a sentence on how that was found; "" where it was not looked for.
    """

    target: str
    numeric: list[str]
    categorical: list[str]
    dates: dict[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    lines: bool = False
    image: list[int] | None = None
    interrupted: bool = False
    temperature: float = 1.0
    calibration: str = ""
    format: int = FORMAT
    softmax: str = __version__
    sklearn: str = version("scikit-learn")

    @property
    def numbers(self) -> list[str]:
        """The features that are numbers: those of columns, then those of dates."""
        return [*self.numeric, *(f"{column} {part}" for column in self.dates for part in PARTS)]

    @property
    def columns(self) -> list[str]:
        """The columns that a table must have."""
        return [*self.numeric, *self.dates, *self.categorical, *self.text]

    @property
    def layout(self) -> Layout:
        """How to read files for the model."""
        return Layout(self.image, self.lines)


@dataclass
class Unseen:
    """Categories that are new to a model: of each column the first of them, and how many rows have one."""

    found: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, column: str, value: str, rows: int) -> None:
        """Count `rows` more rows; `value` says where the first of them is, and what it holds."""
        first_value, before = self.found.get(column, (value, 0))
        self.found[column] = first_value, before + rows

    def merge(self, later: Unseen) -> None:
        """Add those of later rows."""
        for column, (value, rows) in later.found.items():
            self.add(column, value, rows)

    def tell(self) -> None:
        """A note for each column."""
        for value, rows in self.found.values():
            note(f"{value} was not in the training data and is ignored ({count(rows, 'such row')})")


@dataclass(frozen=True)
class Model:
    """A fitted scikit-learn pipeline, from a polars table to classes, and its facts."""

    pipeline: Pipeline
    facts: Facts

    @property
    def classes(self) -> Labels:
        """The classes, (K,), in the order of the probabilities."""
        return np.asarray(self.pipeline.classes_)

    def features(self, table: Table) -> pl.DataFrame:
        """The columns of a table that the model was trained on; notes say which categories it has not seen."""
        frame = features(table, self.facts)
        self.unseen(table, frame).tell()
        return frame

    def unseen(self, table: Table, frame: pl.DataFrame) -> Unseen:
        """Which categories among the features of a table the model has not seen."""
        found = Unseen()
        for column, known in zip(self.facts.categorical, self.categories, strict=True):
            values, texts = frame[column], [category for category in known if category is not None]
            unseen = (~values.is_in(texts)).fill_null(len(texts) == len(known))
            row = first(unseen)
            if row is not None:
                value = "a missing value" if values[row] is None else repr(values[row])
                found.add(column, f"{table.place(row, column)}: {value}", int(unseen.sum()))
        return found

    def logits(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(N, K) logits of the classes for the rows of `features`."""
        with warnings_as_notes():
            outputs = np.asarray(self.pipeline.decision_function(frame), np.float64)
        return class_logits(outputs.reshape(len(frame), -1))

    def probabilities(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(N, K) probabilities of the classes for the rows of `features`."""
        with warnings_as_notes():
            return np.asarray(self.pipeline.predict_proba(frame), np.float64)

    def uncalibrated(self, logits: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """The probabilities that these logits of ours had before their temperature; None where it is 1."""
        temperature = self.facts.temperature
        return None if temperature == 1 else np.asarray(softmax(logits, temperature=1 / temperature))

    def save(self, path: str) -> None:
        """Write a skops file: data and the names of types, but no code."""
        with replacing(path) as file:
            content = {"pipeline": self.pipeline, "facts": vars(self.facts)}
            skops_io.dump(content, file, compression=ZIP_DEFLATED)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fitted transformers of "numeric", "categorical" and "text 0" and later columns, where there are any."""
        return dict(self.pipeline[0].named_transformers_)

    @property
    def categories(self) -> list[Labels]:
        """What each categorical column may be, None for a missing value."""
        return list(self.preprocessing["categorical"].categories_) if self.facts.categorical else []


def fit(
    frame: pl.DataFrame,
    labels: Labels,
    facts: Facts,
    classifier: SoftmaxClassifier,
    report: Callable[[int, float], None] = lambda iteration, loss: None,
) -> Model:
    """Train on rows of `features` and their labels, (N,); `report` hears the iteration and the loss.

    Ctrl-C ends the training after the present iteration, with the best weights so far; once more, it ends all.
    """
    pipeline = Pipeline([("columns", _preprocessing(facts)), ("classifier", classifier)])
    with _stopping_on_ctrl_c() as stopped:

        def hear(iteration: int, loss: float, validation_loss: float | None) -> None:
            report(iteration, loss)
            if stopped():
                raise StopIteration

        # An attribute of the instance hides the method of the same name. It must not stay: no function is saved.
        classifier.__dict__["_report"] = hear
        try:
            with warnings_as_notes():
                # The command line says in its own words that the iterations ran out.
                warnings.filterwarnings("ignore", ".*max_iter")
                pipeline.fit(frame, labels)
        finally:
            del classifier.__dict__["_report"]
        return Model(pipeline, replace(facts, interrupted=stopped()))


@contextmanager
def _stopping_on_ctrl_c() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C was pressed, which would otherwise be a KeyboardInterrupt."""
    pressed = False

    def press(*_: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        note("stopping after this iteration; Ctrl-C once more gives up")

    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)


def features(table: Table, facts: Facts) -> pl.DataFrame:
    """The columns of a table as a model takes them: numbers as floats and the rest as texts, null where missing."""
    absent = [column for column in facts.columns if column not in table.frame.columns]
    if absent:
        raise Problem(
            f"{table.name}: column {absent[0]!r} is missing"
            + (f" (and {count(len(absent) - 1, 'other')})" if len(absent) > 1 else "")
            + f"; the columns are {listing(table.frame.columns, 20)}"
        )
    numbers = [table.numbers(column) for column in facts.numeric]
    for series in numbers:
        row = first(series.is_infinite())
        if row is not None:
            raise Problem(f"{table.place(row, series.name)}: the number must be finite")
    dates = [part for column, form in facts.dates.items() for part in date_numbers(table, column, form)]
    return pl.DataFrame([*numbers, *dates, *map(table.texts, [*facts.categorical, *facts.text])])


def load(path: str) -> Model:
    """The model in a file that `Model.save` wrote. Nothing is loaded of a file that holds any other type of object."""
    data = read_bytes(path)
    if data[:1] == b"\x80":
        raise Problem(f"{path}: a pickle can run any code and is not opened; give a model of softmax train")
    try:
        strangers = set(skops_io.get_untrusted_types(data=data)) - set(TRUSTED)
        if not strangers:
            with warnings_as_notes():
                content = skops_io.loads(data, trusted=list(TRUSTED))
            pipeline, facts = content["pipeline"], content["facts"]
    except Exception as error:  # whatever a damaged file makes of zip, JSON or NumPy readers
        raise Problem(f"{path}: not a model of softmax train, or a damaged one") from error
    if strangers:
        raise Problem(f"{path}: not loaded, it holds types that are not trusted: {', '.join(sorted(strangers))}")
    if isinstance(facts, dict) and facts.get("format", 0) > FORMAT:
        newer = facts.get("softmax")
        raise Problem(f"{path}: was written by softmax {newer}, which is newer than this one ({__version__}): upgrade")
    try:
        return Model(_checked(pipeline), Facts(**facts))
    except TypeError as error:
        raise Problem(f"{path}: not a model of softmax train, or a damaged one") from error


def load_several(paths: Sequence[str]) -> list[Model]:
    """The models in files, which must know the same classes and read the same kind of file, to be averaged."""
    models = [load(path) for path in paths]
    for path, model in zip(paths[1:], models[1:], strict=True):
        if not np.array_equal(model.classes, models[0].classes):
            ours, theirs = (listing(map(str, m.classes)) for m in (models[0], model))
            raise Problem(f"{path}: has other classes than {paths[0]}: {theirs}, not {ours}")
        if model.facts.layout != models[0].facts.layout:
            raise Problem(f"{path}: was trained on another kind of file than {paths[0]}, or images of another size")
    return models


def averaged(models: Sequence[Model], frames: Sequence[pl.DataFrame]) -> NDArray[np.float64]:
    """(N, K): the mean of the models' probabilities, each from the rows of its own `features`."""
    probs = [model.probabilities(frame) for model, frame in zip(models, frames, strict=True)]
    return probs[0] if len(probs) == 1 else average(probs)


def _checked(pipeline: Any) -> Pipeline:
    if not isinstance(pipeline, Pipeline):
        raise TypeError
    return pipeline


def _preprocessing(facts: Facts) -> ColumnTransformer:
    numbers = Pipeline(
        [("missing", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    # Many zeros, as words and categories make them, are never written down: the classifier takes sparse rows.
    categories = OneHotEncoder(handle_unknown="ignore")
    steps: list[tuple[str, Any, Any]] = [
        ("numeric", numbers, facts.numbers),
        ("categorical", categories, facts.categorical),
    ]
    steps += [(f"text {i}", WordWeights(), column) for i, column in enumerate(facts.text)]
    return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=1.0 if facts.text else 0.3)
