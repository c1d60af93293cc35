"""`softmax evaluate`: how good a saved model is on a table that has the target column."""

from __future__ import annotations

import numpy as np

from .._text import count, percent, table
from ..metrics import Interval, bootstrap_intervals
from .models import load
from .reporting import check_report, write_report
from .tables import read_table
from .training import find_labels, image_files_of, rows_to_test

NAMES = {
    "accuracy": "accuracy",
    "log_loss": "log-loss",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
}


def evaluate(model_file: str, data: str, target: str | None, report: str | None) -> None:
    """Print the scores of a model on every row of a table, and write the report."""
    check_report(report)
    model = load(model_file)
    source = read_table(data, layout=model.facts.layout)
    _, labels = find_labels(source, target or model.facts.target, model.classes)
    rows = rows_to_test(len(labels), len(model.classes))
    labels, frame = labels[rows], model.features(source)[rows]
    intervals = bootstrap_intervals(model.probabilities(frame), np.searchsorted(model.classes, labels))
    print(f"Tested {model_file} on {count(len(labels), 'row')} of {source.name}")
    print("\n".join(table([["  score", "", "95 % interval"], *_rows(intervals)], left=(0, 2))))
    if report is not None:
        files = image_files_of(source, rows)
        write_report(report, model, frame, labels, rows + 1, f"of {source.name}", files=files)
        print(f"Wrote {report}")


def _rows(intervals: dict[str, Interval]) -> list[list[str]]:
    rows = []
    for key, interval in intervals.items():
        spell = percent if key in ("accuracy", "expected_calibration_error") else "{:.4f}".format
        value, low, high = map(spell, interval)
        rows.append([f"  {NAMES[key]}", value, f"{low} to {high}"])
    return rows
