"""Write the reference part of docs/command-line.md from what the commands say of themselves.

Run it after a change of an option: .venv/bin/python tools/write_reference.py. tests/test_docs.py runs the page, and so
fails where it and the commands differ.
"""

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "command-line.md"
MARK = "## Reference\n"
COMMANDS = ("apply", "explain", "train", "predict", "evaluate", "calibrate", "export", "demo", "info")


def reference() -> str:
    """The section: each command's help, as a block that the tests run."""
    blocks = [block(["--help"]), *(f"### softmax {name}\n\n{block([name, '--help'])}" for name in COMMANDS)]
    return MARK + "\n" + "\n".join(blocks)


def block(words: list[str]) -> str:
    """One command line and what it prints on a terminal 100 columns wide."""
    command = Path(sys.executable).with_name("softmax")
    run = subprocess.run(
        [command, *words], env=os.environ | {"COLUMNS": "100"}, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    lines = "\n".join(line.rstrip() for line in run.stdout.strip().split("\n"))
    return f"```console\n$ softmax {' '.join(words)}\n{lines}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(PAGE.read_text(encoding="utf-8").partition(MARK)[0] + reference(), encoding="utf-8")
