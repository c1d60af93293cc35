"""Calibrations as small JSON files. `json` is imported where it is used: `import softmax` is to stay quick."""

from __future__ import annotations

import os
import typing
from typing import Any

import numpy as np

from .._fitted import Fitted

if typing.TYPE_CHECKING:
    from typing_extensions import Self

FORMAT = "softmax.calibration"
VERSION = 1


class Saved(Fitted):
    """What `save` and `load` of a calibration are: all its attributes, numbers to the last bit."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a small JSON file.

        Args:
            path: where to; a file that is there is replaced.

        Raises:
            OSError: the file cannot be written.
        """
        text = self.to_json()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def to_json(self) -> str:
        """What `save` writes."""
        import json

        document = {"format": FORMAT, "version": VERSION, "kind": type(self).__name__}
        for name, value in vars(self).items():
            document[name] = value.tolist() if isinstance(value, np.ndarray) else value
        return json.dumps(document, indent=1, allow_nan=False) + "\n"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` has written.

        Args:
            path: the file.

        Raises:
            ValueError: another file, or one that a newer version of softmax wrote.
            OSError: the file cannot be read.
        """
        document = _document(path, cls.__name__)
        calibration = cls()
        for name in (*vars(calibration), *cls.__annotations__):
            if name not in document:
                raise ValueError(f"path must name a whole file, {os.fspath(path)!r} lacks {name}")
            value = document[name]
            setattr(calibration, name, np.array(value, np.float64) if isinstance(value, list) else value)
        return calibration


def _document(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """The JSON object of a file, after its head was found to be right."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
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
