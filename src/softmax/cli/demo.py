"""`softmax demo`: the whole path on scikit-learn's handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from .. import explain, softmax
from .._text import percent, table
from .console import check_writable
from .models import Facts, Model, features
from .predicting import prediction_table
from .tables import Table, write_table
from .training import MODEL_FILE, Training, class_text, describe_test, hold_out, train_and_tell

NEW_ROWS = 10
SHADES = " ░▒▓█"


def demo(output: str) -> None:
    """Train, test, predict, explain and save; then say what was made and what to try next."""
    check_writable(output, MODEL_FILE)
    new_file = str(Path(output).with_suffix("")) + "-new.csv"
    check_writable(new_file, (".csv",))

    source, labels = _digits()
    facts = Facts("digit", source.frame.columns, [])
    frame = features(source, facts)
    held_out = hold_out(labels, seed=0)
    train_labels, test, test_labels = labels[~held_out], frame.filter(held_out), labels[held_out]
    print(f"Data: {len(labels):,} handwritten digits of 8 by 8 pixels, {len(test):,} of them held out for the test")
    model = train_and_tell(frame.filter(~held_out), train_labels, facts, Training(hidden=(128,)))
    print("\n".join(describe_test(model, test, train_labels, test_labels, "held out")), end="\n\n")

    # Most predictions are near certain: the least certain one has more to explain.
    chosen = [*range(NEW_ROWS - 1), int(model.probabilities(test).max(axis=1).argmin())]
    new, truth = test[chosen], test_labels[chosen]
    print("\n".join(_predictions(model, new, truth)), end="\n\n")
    print("\n".join(_explained(model, new.tail(1), truth[-1])), end="\n\n")

    model.save(output)
    write_table(new.cast(pl.Int64), new_file)
    print(_farewell(output, new_file))


def _digits() -> tuple[Table, NDArray[np.int64]]:
    """The pixels, from 0 (paper) to 16 (ink), a column each, and the digits."""
    digits = load_digits()
    names = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]
    frame = pl.DataFrame(digits.data.astype(np.int64), schema=names)
    return Table("digits", frame, frame), np.asarray(digits.target, np.int64)


def _predictions(model: Model, new: pl.DataFrame, truth: NDArray[np.int64]) -> list[str]:
    predictions = prediction_table(model.classes, model.probabilities(new), k=2)
    cells = [
        [str(i), str(first), percent(p_first), str(second), percent(p_second), str(true)]
        for i, (_, _, first, p_first, second, p_second), true in zip(
            range(1, len(new) + 1), predictions.rows(), truth, strict=True
        )
    ]
    header = ["row", "prediction", "confidence", "next best", "confidence", "truth"]
    return ["New rows, and what the model makes of them:", *table([header, *cells], left=())]


def _explained(model: Model, row: pl.DataFrame, truth: int) -> list[str]:
    logits = model.pipeline.decision_function(row)[0]
    return [
        f"Row {NEW_ROWS} up close (in truth: {truth}), and the way from its scores to the prediction:",
        "",
        *_drawing(row.to_numpy().reshape(8, 8)),
        "",
        str(explain(logits, [class_text(label) for label in model.classes])),
    ]


def _drawing(pixels: NDArray[np.float64]) -> list[str]:
    """A digit in characters: one line a row, two characters a pixel, to look about square."""
    shades = (pixels * (len(SHADES) - 1) / 16).round().astype(int)
    return ["    " + "".join(SHADES[shade] * 2 for shade in line).rstrip() for line in shades]


def _farewell(output: str, new_file: str) -> str:
    shares = " ".join(f"{share:.8f}" for share in softmax([0.7, 1.5, 4.8]))
    made = table([[f"  {output}", "the trained model"], [f"  {new_file}", f"the {NEW_ROWS} new rows"]], left=(0, 1))
    return f"""\
The same in your own work, a line each:
  NumPy         softmax.softmax([0.7, 1.5, 4.8])  # {shares}
  classifier    softmax.learn.SoftmaxClassifier((128,)).fit(X, y).predict_proba(X_new)
  command line  softmax train data.csv --target column

Made:
{chr(10).join(made)}

Try next:
  softmax predict {output} {new_file}
  softmax explain 2.33 -1.46 0.56 --labels cat,dog,boat
  softmax train --help"""
