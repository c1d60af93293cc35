"""Every example runs as typed: the docstrings, and the blocks of README.md and docs/*.md.

In a Markdown file all blocks run in order, in one new folder and one Python session:

- ```python with >>> is a doctest; without, it is a program that has to run through.
- ```console holds lines "$ command", each followed by what it prints on a terminal 100 columns wide, standard error
  included. Nothing is compared where nothing is shown; "..." stands for anything. A command may fail only if it is
  followed by "$ echo $?".

Not run: commands that install or build (SETUP), and a block right after the line <!-- not run: REASON -->.
"""

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import softmax

PACKAGE = Path(softmax.__file__).parent
CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("**/*.md"))]
MODULES = [
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name != "__main__.py"
]
SETUP = ("make", "pip ", "python -m pip ", "python -m venv ", "git ", "uv ", "cd ", "conda ")
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


class Block(NamedTuple):
    line: int
    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a Markdown text that are to be run."""
    fence = re.compile(r"^(?P<skip><!-- not run: .+ -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
    found = []
    for match in fence.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        if match["language"] in {"", "sh", "bash", "shell", "pycon"}:
            raise ValueError(f"line {line}: name the block python or console, which are run, or text, which is not")
        if match["skip"] is None and match["language"] in {"python", "console"}:
            found.append(Block(line, match["language"], match["text"]))
    return found


def run_console(block: Block, page: str, folder: Path) -> None:
    env = os.environ | {"COLUMNS": "100", "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    steps = re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)\n?((?:(?!\$ ).*\n?)*)", block.text, re.M)
    assert steps, f"{page}:{block.line}: no line begins with $"
    status = 0
    for index, (command, shown) in enumerate(steps):
        if command.startswith(SETUP):
            continue
        run = subprocess.run(
            ["bash", "-c", f"(exit {status})\n{command}"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        status = run.returncode
        where = f"{page}:{block.line}: $ {command}"
        examined = index + 1 < len(steps) and steps[index + 1][0] == "echo $?"
        assert status == 0 or examined, f"{where}\nexit status {status}\n{run.stdout}"
        if shown.strip():
            same = doctest.OutputChecker().check_output(shown, run.stdout, FLAGS)
            assert same, f"{where}\nshown:\n{shown}\nprinted:\n{run.stdout}"


def run_python(block: Block, page: str, session: dict[str, object]) -> None:
    if ">>> " not in block.text:
        exec(compile("\n" * (block.line - 1) + block.text, page, "exec"), session)
        return
    test = doctest.DocTestParser().get_doctest(block.text, session, page, page, block.line - 1)
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    report: list[str] = []
    runner.run(test, out=report.append, clear_globs=False)
    session.update(test.globs)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def run_page(text: str, page: str, folder: Path) -> int:
    session: dict[str, object] = {"__name__": "__main__"}
    found = blocks(text)
    for block in found:
        if block.language == "console":
            run_console(block, page, folder)
        else:
            run_python(block, page, session)
    return len(found)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name), optionflags=FLAGS).failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_pages(page: Path, tmp_path: Path) -> None:
    run_page(page.read_text(encoding="utf-8"), page.name, tmp_path)


RIGHT = """
```console
$ printf 'one\\ntwo\\n' > file
$ cat \\
    file
one
...
$ exit 3
$ echo $?
3
$ pip install nothing
```
```python
x = 1
```
```python
>>> x + 1
2
```
<!-- not run: it takes an hour -->
```console
$ exit 1
```
"""


def test_a_right_page_passes(tmp_path: Path) -> None:
    assert run_page(RIGHT, "page", tmp_path) == 3


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("\none\n", "\nzwei\n"), ("$ echo $?\n3\n", ""), ("\n3\n", "\n4\n"), ("\n2\n", "\n3\n"), ("x = 1", "y = 1")],
)
def test_a_wrong_page_fails(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in RIGHT
    with pytest.raises(AssertionError):
        run_page(RIGHT.replace(right, wrong, 1), "page", tmp_path)


def test_a_block_without_a_known_language_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: name the block python or console"):
        blocks("```bash\ntrue\n```\n")
