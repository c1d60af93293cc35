"""Imports point down only: a module imports from the layers below its own, and all below `learn` need NumPy alone."""

import ast
import subprocess
import sys
from importlib.util import resolve_name
from pathlib import Path

import pytest

import softmax

PACKAGE = Path(softmax.__file__).parent

# From top to bottom; a name stands for the module or for the whole package of that name. "softmax" is `__init__.py`,
# which re-exports what needs NumPy alone. A new file gets its place here: the lowest where its imports all point down.
LAYERS = [
    "cli",
    "report",
    "plot",
    "learn",
    "predictor words",
    "solvers attribution",
    "network lbfgs",
    "products",
    "softmax",
    "explanation ensemble",
    "calibration metrics decisions _verdict",
    "_probabilities _text _blocks _fitted",
    "linear binary divergence",
    "attention sampling losses",
    "gradients",
    "partition sparse",
    "functions elementwise",
    "_targets",
    "_arrays",
    "_native reference",
]
# By `__getattr__`, so that they cost nothing before.
ON_FIRST_USE = {("softmax", f"softmax.{name}") for name in softmax.ON_FIRST_USE[""]}
ON_FIRST_USE |= {("softmax.explanation", "softmax.plot.steps")}  # what an explanation's `plot` draws with
LEVEL = {name: -level for level, names in enumerate(LAYERS) for name in names.split()}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def layer(module: str) -> str:
    """The name in LAYERS of a module such as "softmax.cli.train"."""
    return module.removeprefix("softmax.").partition(".")[0]


def imports(module: str, path: Path) -> set[str]:
    """All modules of softmax that a file imports anywhere in it, inside functions and for type-checking too."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            for alias in node.names:
                child = f"{base}.{alias.name}"
                found.add(child if base == "softmax" and layer(child) in LEVEL else base)
    return {name for name in found if name.partition(".")[0] == "softmax"}


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_point_down(name: str) -> None:
    module = "softmax" if name == "__init__" else f"softmax.{name}"
    own = layer(module)
    assert own in LEVEL, f"softmax/{name} has no layer yet: add {own!r} to LAYERS in tests/test_layers.py"
    for imported in sorted(imports(module, MODULES[name])):
        if (module, imported) in ON_FIRST_USE:
            continue
        other = layer(imported)
        assert other in LEVEL, f"{module} imports {imported}, which is not in LAYERS of tests/test_layers.py"
        assert LEVEL[other] < LEVEL[own] or other == own, f"{module} imports {imported}, which is not below it"


def test_everything_below_learn_needs_numpy_alone() -> None:
    names = [name for name in MODULES if LEVEL.get(layer(f"softmax.{name}"), 0) <= LEVEL["softmax"]]
    statements = ["import sys, numpy", "before = {name.partition('.')[0] for name in sys.modules}", "import softmax"]
    statements += [f"import softmax.{name}" for name in sorted(names) if name != "__init__"]
    statements += ["print(*{name.partition('.')[0] for name in sys.modules} - before - sys.stdlib_module_names)"]
    run = subprocess.run([sys.executable, "-c", "\n".join(statements)], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["softmax"]
