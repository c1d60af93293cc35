"""Plain text for people: aligned tables, percentages and bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from unicodedata import combining, east_asian_width

BAR_WIDTH = 24


def table(rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Lines of `rows` in columns two spaces apart, those in `left` aligned to the left and the others to the right.

    >>> print("\\n".join(table([["class", "share"], ["cat", "7 %"]])))
    class  share
    cat      7 %
    """
    cells = [list(row) for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(_pad(cell, widths[i], i in left) for i, cell in enumerate(row)).rstrip() for row in cells]


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal: two for a wide East Asian character, none for a combining one."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def percent(share: float) -> str:
    """A share of 1 as a percentage that never rounds to a certainty it is not.

    >>> percent(0.93148), percent(0.999999), percent(1.0), percent(3.72e-44), percent(0.0)
    ('93.15 %', '>99.99 %', '100 %', '3.7e-42 %', '0 %')
    """
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if 0.99995 <= share < 1:
        return ">99.99 %"
    return f"{100 * share:.2f} %" if not 0 < share < 0.0001 else f"{100 * share:.2g} %"


def bar(share: float) -> str:
    """A bar whose length is `share` of BAR_WIDTH, to an eighth of a character.

    >>> bar(0.25), bar(0.02), bar(0.0)
    ('██████', '▌', '')
    """
    full, eighths = divmod(round(share * BAR_WIDTH * 8), 8)
    return "█" * full + " ▏▎▍▌▋▊▉"[eighths].strip()


def count(number: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(12000, "row"), count(2, "class", "classes")
    ('1 row', '12,000 rows', '2 classes')
    """
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listing(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are.

    >>> listing("abcdefgh"), listing("abc")
    ('a, b, c, d, e, f and 2 more', 'a, b, c')
    """
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _pad(cell: str, width: int, to_left: bool) -> str:
    space = " " * (width - display_width(cell))
    return cell + space if to_left else space + cell
