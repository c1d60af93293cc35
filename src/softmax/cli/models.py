"""A trained pipeline and the facts that its use needs: built from a table, tested, saved, loaded without pickle."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import polars as pl
import skops.io
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .. import __version__
from .._text import count, listing
from ..learn import SoftmaxClassifier
from ..metrics import accuracy, expected_calibration_error, log_loss
from .console import Problem, note, replacing, warnings_as_notes
from .tables import Table, first, read_bytes

FORMAT = 1
# What a model holds beyond the types that skops trusts of its own accord, none of which can run code of the file's own:
# array types, the list of a ColumnTransformer's remaining columns (older scikit-learn), and our classifier.
TRUSTED = (
    "numpy.dtype",
    "sklearn.compose._column_transformer._RemainderColsList",
    "softmax.learn.SoftmaxClassifier",
)

Labels = NDArray[Any]


@dataclass(frozen=True)
class Facts:
    """What a model has to know of the table that it was trained on."""

    target: str
    numeric: list[str]
    categorical: list[str]
    format: int = FORMAT
    softmax: str = __version__
    sklearn: str = version("scikit-learn")


@dataclass(frozen=True)
class Scores:
    """How a model did on `rows` rows that it had not seen."""

    rows: int
    accuracy: float
    log_loss: float
    calibration_error: float


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
        frame = features(table, self.facts.numeric, self.facts.categorical)
        self.note_unseen(table, frame)
        return frame

    def note_unseen(self, table: Table, frame: pl.DataFrame) -> None:
        """Say which categories among the features of a table the model has not seen."""
        for column, known in zip(self.facts.categorical, self.categories, strict=True):
            values, texts = frame[column], [category for category in known if category is not None]
            unseen = (~values.is_in(texts)).fill_null(len(texts) == len(known))
            row = first(unseen)
            if row is not None:
                value = "a missing value" if values[row] is None else repr(values[row])
                rows = count(int(unseen.sum()), "such row")
                note(f"{table.place(row, column)}: {value} was not in the training data and is ignored ({rows})")

    def probabilities(self, frame: pl.DataFrame) -> NDArray[np.float64]:
        """(N, K) probabilities of the classes for the rows of `features`."""
        with warnings_as_notes():
            return np.asarray(self.pipeline.predict_proba(frame), np.float64)

    def test(self, frame: pl.DataFrame, labels: Labels) -> Scores:
        """Scores on the rows of `features` whose true labels, (N,), are all among the classes."""
        targets = np.searchsorted(self.classes, labels)
        probs = self.probabilities(frame)
        calibration_error = expected_calibration_error(probs, targets)
        return Scores(len(targets), accuracy(probs, targets), log_loss(probs, targets), calibration_error)

    def save(self, path: str) -> None:
        """Write a skops file: data and the names of types, but no code."""
        with replacing(path) as file:
            content = {"pipeline": self.pipeline, "facts": vars(self.facts)}
            skops.io.dump(content, file, compression=ZIP_DEFLATED)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The fitted transformers of "numeric" and "categorical" columns, where there are such columns."""
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
    """Train on rows of `features` and their labels, (N,); `report` hears the iteration and the loss."""
    model = Model(Pipeline([("columns", _preprocessing(facts)), ("classifier", classifier)]), facts)
    # An attribute of the instance hides the method of the same name. It must not stay: a function cannot be saved.
    classifier.__dict__["_report"] = lambda iteration, loss, validation_loss: report(iteration, loss)
    try:
        with warnings_as_notes():
            # The command line says in its own words that the iterations ran out.
            warnings.filterwarnings("ignore", ".*max_iter")
            model.pipeline.fit(frame, labels)
    finally:
        del classifier.__dict__["_report"]
    return model


def features(table: Table, numeric: Sequence[str], categorical: Sequence[str]) -> pl.DataFrame:
    """The columns of a table as a model takes them: numbers as floats and the rest as texts, null where missing."""
    absent = [column for column in [*numeric, *categorical] if column not in table.frame.columns]
    if absent:
        raise Problem(
            f"{table.name}: column {absent[0]!r} is missing"
            + (f" (and {count(len(absent) - 1, 'other')})" if len(absent) > 1 else "")
            + f"; the columns are {listing(table.frame.columns, 20)}"
        )
    numbers = [table.numbers(column) for column in numeric]
    for series in numbers:
        row = first(series.is_infinite())
        if row is not None:
            raise Problem(f"{table.place(row, series.name)}: the number must be finite")
    return pl.DataFrame([*numbers, *map(table.texts, categorical)])


def load(path: str) -> Model:
    """The model in a file that `Model.save` wrote. Nothing is loaded of a file that holds any other type of object."""
    data = read_bytes(path)
    if data[:1] == b"\x80":
        raise Problem(f"{path}: a pickle can run any code and is not opened; give a model of softmax train")
    try:
        strangers = set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED)
        if not strangers:
            with warnings_as_notes():
                content = skops.io.loads(data, trusted=list(TRUSTED))
            facts = Facts(**content["facts"])
            pipeline = content["pipeline"]
    except Exception as error:  # whatever a damaged file makes of zip, JSON or NumPy readers
        raise Problem(f"{path}: not a model of softmax train, or a damaged one") from error
    if strangers:
        raise Problem(f"{path}: not loaded, it holds types that are not trusted: {', '.join(sorted(strangers))}")
    if not isinstance(pipeline, Pipeline) or facts.format != FORMAT:
        raise Problem(f"{path}: not a model of softmax train {__version__}")
    return Model(pipeline, facts)


def _preprocessing(facts: Facts) -> ColumnTransformer:
    numbers = Pipeline(
        [("missing", SimpleImputer(strategy="median", keep_empty_features=True)), ("scale", StandardScaler())]
    )
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    steps = [("numeric", numbers, facts.numeric), ("categorical", texts, facts.categorical)]
    return ColumnTransformer([step for step in steps if step[2]])
