"""What having a library costs: seconds to import it, above those of NumPy, and megabytes on disk.

    python benchmarks/bench_import.py [--rounds N] [--wheel FILE]

Each import happens in a fresh interpreter, the libraries in turn; medians. The megabytes are a library's own, without
those of what it depends on. Libraries that are not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, NamedTuple

from harness import environment, machine, processors
from report import grid, number, save_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results")
PROGRAM = """
from time import perf_counter
start = perf_counter()
import numpy
middle = perf_counter()
{statement}
print(middle - start, perf_counter() - middle)
"""


class Package(NamedTuple):
    """A module to import, the distributions that were installed for its sake, and the statement."""

    module: str
    distributions: tuple[str, ...]
    statement: str = "import {module}"


PACKAGES = [
    # `import softmax` alone would import nothing.
    Package("softmax", ("softmax",), "from softmax import *"),
    Package("scipy.special", ("scipy",)),
    Package("sklearn.linear_model", ("scikit-learn",)),
    Package("torch", ("torch",)),
    Package("onnxruntime", ("onnxruntime",)),
    Package("jax", ("jax", "jaxlib")),
]


class Cost(NamedTuple):
    """Medians in seconds, and bytes without compiled Python files."""

    numpy: float
    above_numpy: float
    installed: int


def import_times(package: Package) -> tuple[float, float]:
    """Seconds to import NumPy, and then the module, in a fresh interpreter."""
    statement = package.statement.format(module=package.module)
    command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    done = subprocess.run(command, env=environment(processors()), capture_output=True, text=True, check=True)
    numpy, above = done.stdout.split()
    return float(numpy), float(above)


def installed_size(distributions: Sequence[str]) -> int:
    """Bytes on disk of what the distributions' wheels brought."""
    paths = [Path(str(file.locate())) for name in distributions for file in distribution(name).files or []]
    return sum(path.stat().st_size for path in paths if path.suffix != ".pyc" and path.is_file())


def measure(packages: Sequence[Package], rounds: int) -> dict[str, Cost]:
    """The cost of each package, after one import of each that fills the file cache."""
    times: dict[str, list[tuple[float, float]]] = {package.module: [] for package in packages}
    for _ in range(rounds + 1):
        for package in packages:
            times[package.module].append(import_times(package))
    return {
        package.module: Cost(
            statistics.median(numpy for numpy, _ in times[package.module][1:]),
            statistics.median(above for _, above in times[package.module][1:]),
            installed_size(package.distributions),
        )
        for package in packages
    }


def table(costs: dict[str, Cost], wheel: Path | None) -> str:
    """One row for each package: time in ms and size in MB."""
    rows = [["import", "NumPy ms", "above NumPy ms", "installed MB", "wheel MB"]]
    for module, cost in costs.items():
        figures = [cost.numpy * 1e3, cost.above_numpy * 1e3, cost.installed / 1e6]
        figures.append(wheel.stat().st_size / 1e6 if wheel and module == "softmax" else math.nan)
        rows.append([module, *map(number, figures)])
    return grid(rows)


def latest_wheel() -> Path | None:
    """The wheel that was built last, if there is one."""
    wheels = [path for folder in ("dist", "build/wheel") for path in (ROOT / folder).glob("softmax-*.whl")]
    return max(wheels, key=lambda path: path.stat().st_mtime, default=None)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11, help="how often each is imported (default: %(default)s)")
    parser.add_argument("--wheel", type=Path, default=latest_wheel(), help="our wheel (default: the newest built)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (default: %(default)s)")
    chosen = parser.parse_args(argv)
    installed = [package for package in PACKAGES if importlib.util.find_spec(package.module.split(".")[0])]
    if missing := [package.module for package in PACKAGES if package not in installed]:
        print(f"Not installed, left out: {', '.join(missing)}")
    costs = measure(installed, chosen.rounds)
    print(table(costs, chosen.wheel))
    data: dict[str, Any] = machine(processors()) | {"rounds": chosen.rounds}
    data["wheel_mb"] = chosen.wheel.stat().st_size / 1e6 if chosen.wheel else None
    data["packages"] = {module: cost._asdict() for module, cost in costs.items()}
    save_json(data, chosen.results / "import.json")
    print(f"Written: {chosen.results / 'import.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
