"""Calibrations as small JSON files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FORMAT = "softmax.calibration"
VERSION = 1


def write(path: str | os.PathLike[str], kind: str, content: dict[str, Any]) -> None:
    """Write one object; numbers keep every bit."""
    document = {"format": FORMAT, "version": VERSION, "kind": kind} | content
    Path(path).write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """What `write` has written; ValueError for any other file, another kind, or a newer version."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:  # no JSON, or no UTF-8
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError(f"path must name a file that a calibration's save wrote, {os.fspath(path)!r} is none")
    version = document.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise ValueError(
            f"path must name a file of version {VERSION} or older, {os.fspath(path)!r} has version {version}: "
            "a newer softmax wrote it"
        )
    if document.get("kind") != kind:
        raise ValueError(f"path must name a saved {kind}, {os.fspath(path)!r} holds a {document.get('kind')}")
    return document
