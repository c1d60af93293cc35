"""The package as it is installed: its public names and their documentation, what importing it costs, what it ships."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import files, version
from importlib.util import find_spec
from pathlib import Path

import pytest

import softmax

PACKAGE = Path(softmax.__file__).parent
CHECKOUT = Path(__file__).parents[1]
# What users import from; all of it is documented with examples.
SUBMODULES = ["calibration", "decisions", "ensemble", "learn", "metrics", "plot", "reference"]
PUBLIC = ["softmax"] + [f"softmax.{name}" for name in SUBMODULES if find_spec(f"softmax.{name}")]


@pytest.mark.parametrize("name", PUBLIC)
def test_all_is_sorted_and_true(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__all__ == sorted(set(module.__all__))
    assert [entry for entry in module.__all__ if not hasattr(module, entry)] == []


def test_everything_of_ours_in_the_package_is_in_its_all() -> None:
    ours = {name for name, value in vars(softmax).items() if getattr(value, "__module__", "").startswith("softmax.")}
    assert {name for name in ours if name[0] != "_"} - set(softmax.__all__) == set()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_function_and_class_shows_an_example(name: str) -> None:
    module = importlib.import_module(name)
    documented = {entry: getattr(module, entry) for entry in module.__all__ if callable(getattr(module, entry))}
    assert [entry for entry, value in documented.items() if ">>> " not in (inspect.getdoc(value) or "")] == []


def test_the_stub_names_what_the_extension_holds() -> None:
    native = importlib.import_module("softmax._native")
    stub = ast.parse((PACKAGE / "_native.pyi").read_text(encoding="utf-8"))
    declared = {node.name for node in stub.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    declared |= {node.target.id for node in stub.body if isinstance(node, ast.AnnAssign)}
    assert {name for name in declared if name[0] != "_"} == {name for name in vars(native) if name[0] != "_"}


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    shipped = [
        file for file in files("softmax") or [] if file.parts[0] == "softmax" and "__pycache__" not in file.parts
    ]
    assert {"py.typed", "_native.pyi", "__init__.py"} <= {file.name for file in shipped}
    assert {file.suffix for file in shipped} - {".so", ".pyd"} <= {".py", ".pyi", ".typed", ".html"}
    assert len([file for file in shipped if file.suffix in {".so", ".pyd"}]) == 1


def test_the_version_is_the_same_everywhere() -> None:
    assert softmax.__version__ == version("softmax")
    assert f"## [{softmax.__version__}]" in (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_import_time(measured: Callable[[str], None]) -> None:
    program = "import time, numpy; t = time.perf_counter(); from softmax import *; print(time.perf_counter() - t)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", program])) for _ in range(5)]
    measured(f"from softmax import * adds {1e3 * min(seconds):.1f} ms to import numpy")


def test_the_tests_named_for_wheels_exist() -> None:
    named = re.findall(r"\{project\}/(\S+\.py)", (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if not (CHECKOUT / path).is_file()] == []
