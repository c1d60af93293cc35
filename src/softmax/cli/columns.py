"""What each column of a table is, detected or said by options: numbers, categories, dates, free text, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from .console import Problem, note
from .tables import Table, first

# Where day and month can be told apart in either order, the first of these that fits is taken.
DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y")
TIMES = (
    "",
    " %H:%M:%S",
    "T%H:%M:%S",
    " %H:%M",
    "T%H:%M",
    " %H:%M:%S%.f",
    "T%H:%M:%S%.f",
    "T%H:%M:%S%.fZ",
    "T%H:%M:%SZ",
)
PARTS = ("year", "month", "day", "weekday", "hour", "day number")
WORDS = 3  # a text of fewer words, in the mean, is a name or a code
MANY = 1000  # different values that are too many for categories


@dataclass(frozen=True)
class Chosen:
    """The columns to learn from, by kind, and those left out with the reason why.

    Attributes:
        dates: the format of each column of dates, "" where the file has dates of its own.
    """

    numeric: list[str] = field(default_factory=list)
    categorical: list[str] = field(default_factory=list)
    dates: dict[str, str] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Said:
    """What the options --numeric, --categorical, --text and --drop say of columns."""

    numeric: Sequence[str] = ()
    categorical: Sequence[str] = ()
    text: Sequence[str] = ()
    drop: Sequence[str] = ()

    def check(self, source: Table, target: str) -> None:
        """Raise Problem at a name that the table lacks, that is the target's, or that two options have."""
        seen: dict[str, str] = {}
        for option, names in vars(self).items():
            for name in names:
                if name not in source.frame.columns:
                    raise Problem(f"--{option} {name}: {source.name} has no such column")
                if name == target and option != "drop":
                    raise Problem(f"--{option} {name}: is the target")
                if seen.setdefault(name, option) != option:
                    raise Problem(f"--{option} {name}: the column is in --{seen[name]}, too")


def choose_columns(source: Table, target: str, said: Said | None = None) -> Chosen:
    """The kind of every column but the target; options go first."""
    said = said or Said()
    said.check(source, target)
    chosen = Chosen()
    for series in source.frame.drop(target, *said.drop, strict=False):
        name = series.name
        if name in said.text:
            chosen.text.append(name)
        elif name in said.categorical:
            chosen.categorical.append(name)
        elif name in said.numeric:
            chosen.numeric.append(name)
        elif not source.image and (reason := _useless(series)):  # a pixel that never changes keeps its place
            chosen.left_out.append((name, reason))
        else:
            _detect(source, series, chosen)
    if not (chosen.numeric or chosen.categorical or chosen.dates or chosen.text):
        reasons = "".join(f"; {name or 'one'} is left out ({reason})" for name, reason in chosen.left_out)
        raise Problem(f"{source.name}: no column to learn from beside the target{reasons}")
    return chosen


def date_numbers(source: Table, column: str, form: str) -> list[pl.Series]:
    """A column of dates as one column of numbers for each of PARTS."""
    values = source.frame[column]
    times: pl.Series
    if values.dtype in (pl.Date, pl.Datetime):
        times = values.cast(pl.Datetime("us"))
    else:
        texts = source.texts(column)
        times = _as_times(texts, form or DATES[0])
        row = first(times.is_null() & texts.is_not_null())
        if row is not None:
            raise Problem(f"{source.place(row, column)}: {texts[row]!r} is not a date of the form {form or DATES[0]}")
    dates = times.dt
    days = times.cast(pl.Date).to_physical()
    numbers = [dates.year(), dates.month(), dates.day(), dates.weekday(), dates.hour(), days]
    return [number.cast(pl.Float64).alias(f"{column} {part}") for part, number in zip(PARTS, numbers, strict=True)]


def _as_times(texts: pl.Series, form: str) -> pl.Series:
    if "%H" in form:
        times: pl.Series = texts.str.to_datetime(form, strict=False, time_unit="us")
        return times
    dates: pl.Series = texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return dates


def _useless(series: pl.Series) -> str | None:
    if not series.name:
        return "without a name"
    if series.null_count() == len(series):
        return "empty"
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Time, pl.Duration, pl.Object):
        return f"holds {series.dtype}"
    different = series.n_unique() if series.dtype == pl.String else series.drop_nulls().n_unique()
    if different == 1 and len(series) > 1:
        value = str(series.drop_nulls()[0])
        return f"always {value if len(value) <= 20 else value[:20] + '…'}"
    return None


def _detect(source: Table, series: pl.Series, chosen: Chosen) -> None:
    name = series.name
    if series.dtype in (pl.Date, pl.Datetime):
        chosen.dates[name] = ""
    elif series.dtype != pl.String:
        chosen.numeric.append(name)
    elif (form := _date_form(source, series)) is not None:
        chosen.dates[name] = form
    elif _is_text(series):
        chosen.text.append(name)
    elif _too_many(series):
        chosen.left_out.append((name, f"{series.n_unique():,} different texts"))
    else:
        chosen.categorical.append(name)
        _note_nearly_numeric(source, series)


def _date_form(source: Table, series: pl.Series) -> str | None:
    """The form of dates that all the texts have, None where there is none; a note where the order is a guess."""
    texts = series.drop_nulls()
    sample = texts[0]
    forms = [date + time for date in DATES for time in TIMES if _fits(texts.head(1), date + time)] if sample else []
    fitting = [form for form in forms if _fits(texts, form)]
    if len({form[:8] for form in fitting}) > 1:
        note(f"{source.name}, column {series.name!r}: {sample!r} is read as day/month/year")
    return fitting[0] if fitting else None


def _fits(texts: pl.Series, form: str) -> bool:
    return _as_times(texts, form).null_count() == 0


def _too_many(series: pl.Series) -> bool:
    different = series.n_unique()
    return different > MANY or different > max(50, len(series) / 2)


def _is_text(series: pl.Series) -> bool:
    """Whether the values are sentences, most of which stand once."""
    sample = series.drop_nulls().head(MANY)
    words = sample.str.count_matches(r"\w\w+").mean() or 0
    different = series.n_unique()
    return float(words) >= WORDS and (different > MANY or different > max(5, len(series) / 2))  # type: ignore[arg-type]


def _note_nearly_numeric(source: Table, series: pl.Series) -> None:
    """One typing error makes a column of numbers a column of texts: that must not pass in silence."""
    wrong = series.cast(pl.Float64, strict=False).is_null() & series.is_not_null()
    row = first(wrong)
    if row is not None and wrong.sum() <= 0.1 * len(series):
        note(f"{source.place(row, series.name)}: {series[row]!r} is not a number, so the column is taken as categories")
