"""`softmax predict`: a part of the table at a time, so that memory does not grow with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from .._text import count
from ..decisions import decide, top_k
from .console import Problem, check_writable, note, progress
from .models import Labels, Model, Unseen, averaged, features, load_several
from .tables import WRITABLE, Table, read_parts, write_parts
from .textfiles import CSV, JSON_LINES
from .training import class_text

PROBABILITIES = 4_000_000  # that are held at a time: 32 MB


def predict(
    model_files: Sequence[str], data: str, output: str | None, k: int | None, abstain_below: float | None, keep: bool
) -> None:
    """Write the prediction, its confidence and the probabilities for every row of a table; of models, their mean."""
    if output is not None:
        check_writable(output, WRITABLE)
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise Problem(f"--abstain-below {abstain_below:g}: must lie between 0 and 1")
    models = load_several(model_files)
    classes = len(models[0].classes)
    if k is not None and not 1 <= k <= classes:
        raise Problem(f"--top-k {k}: must lie between 1 and {classes}, the number of classes")
    run = Run(models, k, abstain_below, keep)
    with progress("Predicting", _size(data)) as show:
        write_parts(run.frames(data, show), output)
    Unseen({column: found for unseen in run.unseen for column, found in unseen.found.items()}).tell()
    if run.abstained:
        rows = count(run.rows, "row")
        note(f"abstained in {run.abstained:,} of {rows}, whose confidence is below {abstain_below:g}")


class Run:
    """Predictions part by part, and what is to be said of all of them at the end."""

    def __init__(self, models: Sequence[Model], k: int | None, abstain_below: float | None, keep: bool) -> None:
        self.models, self.k, self.abstain_below, self.keep = models, k, abstain_below, keep
        self.rows = self.abstained = 0
        self.unseen = [Unseen() for _ in models]
        self.schema: pl.Schema | None = None

    def frames(self, data: str, show: Callable[[float, str], None]) -> Iterator[pl.DataFrame]:
        """What is to be written, in parts."""
        done = 0.0
        for source in read_parts(data, self.models[0].facts.layout):
            frames = [features(source, model.facts) for model in self.models]
            for unseen, model, frame in zip(self.unseen, self.models, frames, strict=True):
                unseen.merge(model.unseen(source, frame))
            step = max(1, PROBABILITIES // len(self.models[0].classes))
            rows = len(source.frame)
            for start in range(0, rows, step):
                yield self._part(source, [frame.slice(start, step) for frame in frames], start)
            done += len(source.piece.text) if source.piece else rows
            show(done, f"{self.rows:,} rows")

    def _part(self, source: Table, frames: Sequence[pl.DataFrame], start: int) -> pl.DataFrame:
        probs = averaged(self.models, frames)
        predictions = prediction_table(self.models[0].classes, probs, self.k, self.abstain_below)
        self.rows += len(predictions)
        self.abstained += predictions["prediction"].null_count()
        if not self.keep:
            return predictions
        kept = source.raw.slice(start, len(predictions))
        twice = [column for column in predictions.columns if column in kept.columns]
        if twice:
            raise Problem(f"{source.name}: has a column {twice[0]!r} already, which --keep would double")
        return pl.concat([self._like_the_first(source, kept), predictions], how="horizontal")

    def _like_the_first(self, source: Table, kept: pl.DataFrame) -> pl.DataFrame:
        """The columns of the first part: JSON lines may lack some later on, or have others."""
        if self.schema is None:
            self.schema = kept.schema
        elif kept.schema != self.schema:
            for name, dtype in self.schema.items():
                values = kept[name] if name in kept.columns else pl.Series(name, [None] * len(kept))
                cast = values.cast(dtype, strict=False)
                if cast.null_count() != values.null_count() or (cast.cast(values.dtype) != values).any():
                    rows = f"rows {source.first_row + 1:,} on"
                    raise Problem(
                        f"{source.name}, {rows}, column {name!r}: --keep expected {dtype}, got {values.dtype}"
                    )
                kept = kept.with_columns(cast)
            kept = kept.select(self.schema.names())
        return kept


def prediction_table(
    names: Labels, probs: NDArray[np.float64], k: int | None = None, abstain_below: float | None = None
) -> pl.DataFrame:
    """prediction (null where it abstains), confidence, and p_<class> for each class or top_<i>, p_top_<i> up to k."""
    classes = pl.Series(names.tolist())
    decisions = pl.Series(decide(probs, abstain_below=abstain_below))
    columns = {
        "prediction": classes.gather(decisions.set(decisions < 0, None)),
        "confidence": pl.Series(probs.max(axis=1)),
    }
    if k is None:
        columns |= {f"p_{name}": pl.Series(probs[:, i]) for i, name in enumerate(map(class_text, names))}
    else:
        indices, best = top_k(probs, k)
        for i in range(k):
            columns |= {f"top_{i + 1}": classes.gather(indices[:, i]), f"p_top_{i + 1}": pl.Series(best[:, i])}
    return pl.DataFrame(columns)


def _size(data: str) -> float | None:
    """What the bar counts to: about the characters of a text, or the rows of a Parquet file; None if not known."""
    kind = Path(data).suffix.lower()
    if kind in CSV + JSON_LINES and Path(data).is_file():
        return os.path.getsize(data)
    if kind == ".parquet" and Path(data).is_file():
        try:
            return int(pl.scan_parquet(data, glob=False).select(pl.len()).collect().item())
        except pl.exceptions.PolarsError:
            return None  # reading it says what is wrong
    return None
