"""What is not there before `fit` says so."""

from __future__ import annotations

import typing
from typing import Any


class Fitted:
    """Names that end in an underscore are set by `fit`.

    >>> Fitted().temperature_
    Traceback (most recent call last):
        ...
    AttributeError: temperature_ is not there before fit: call Fitted.fit first
    """

    if not typing.TYPE_CHECKING:  # or a name that is spelled wrong would pass for one that fit sets

        def __getattr__(self, name: str) -> Any:
            kind = type(self).__name__
            if name.endswith("_") and not name.startswith("_"):
                raise AttributeError(f"{name} is not there before fit: call {kind}.fit first")
            raise AttributeError(f"{kind!r} object has no attribute {name!r}")
