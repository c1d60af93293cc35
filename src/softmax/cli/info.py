"""`softmax info`: what is installed and what is in use."""

from __future__ import annotations

import os
import platform
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from .. import __version__
from .._text import table

EXTRAS = {
    "cli": ("typer", "rich", "polars", "zstandard"),
    "learn": ("scikit-learn", "scipy", "threadpoolctl", "skops"),
    "report": ("jinja2", "matplotlib"),
    "images": ("pillow",),
    "onnx": ("onnx", "onnxruntime"),
}


def info() -> None:
    """Print it, without importing any of the optional packages."""
    rows = [
        ["softmax", __version__],
        ["Python", f"{platform.python_version()}, NumPy {version('numpy')}"],
        ["machine", f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors"],
        *_kernels(),
        *([f"extra {extra}", _found(packages)] for extra, packages in EXTRAS.items()),
    ]
    print("\n".join(table(rows, left=(0, 1))))


def _kernels() -> list[list[str]]:
    native = import_module("softmax._native")
    isa, num_threads = getattr(native, "isa", None), getattr(native, "num_threads", None)
    rows = [["instructions", isa()]] if isa else []
    return rows + ([["threads", str(num_threads())]] if num_threads else [])


def _found(packages: tuple[str, ...]) -> str:
    return ", ".join(f"{package} {_version(package) or 'not found'}" for package in packages)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
