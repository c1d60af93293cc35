"""`softmax evaluate`: how good a saved model is on a table that has the target column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._text import count, percent, table
from ..metrics import Interval, bootstrap_intervals
from .console import Problem
from .models import averaged, load_several
from .reporting import check_report, write_report
from .tables import read_table
from .training import find_labels, image_files_of, rows_to_test

NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
}


def evaluate(model_files: Sequence[str], data: str, target: str | None, report: str | None) -> None:
    """Print the scores of a model, or of the mean of several, on every row of a table, and write the report."""
    check_report(report)
    models = load_several(model_files)
    if report is not None and len(models) > 1:
        raise Problem(f"--report: is about one model, got {len(models)}")
    model = models[0]
    source = read_table(data, layout=model.facts.layout)
    _, labels = find_labels(source, target or model.facts.target, model.classes)
    rows = rows_to_test(len(labels), len(model.classes))
    labels, frames = labels[rows], [model.features(source)[rows] for model in models]
    intervals = bootstrap_intervals(averaged(models, frames), np.searchsorted(model.classes, labels))
    tested = model_files[0] if len(models) == 1 else f"the mean of {', '.join(model_files)}"
    print(f"Tested {tested} on {count(len(labels), 'row')} of {source.name}")
    print("\n".join(table([["  score", "", "95 % interval"], *_rows(intervals)], left=(0, 2))))
    if report is not None:
        files = image_files_of(source, rows)
        write_report(report, model, frames[0], labels, rows + 1, f"of {source.name}", files=files)
        print(f"Wrote {report}")


def _rows(intervals: dict[str, Interval]) -> list[list[str]]:
    rows = []
    for key, interval in intervals.items():
        spell = percent if key in ("accuracy", "expected_calibration_error") else "{:.4f}".format
        value, low, high = map(spell, interval)
        rows.append([f"  {NAMES[key]}", value, f"{low} to {high}"])
    return rows
