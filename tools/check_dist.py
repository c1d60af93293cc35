"""Checks what `make dist` built, and prints the sizes: python tools/check_dist.py DIST WHEEL_OF_THE_TREE

The sdist holds every file under version control but a checkout's own set-up, and no other. The wheel in DIST was built
from that sdist; it holds the same files as the one built from the source tree.
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


def differences(what: str, found: set[str], expected: set[str]) -> list[str]:
    lines = [f"{what} lacks {name}" for name in sorted(expected - found)]
    return lines + [f"{what} holds {name}: commit it, or name it in .gitignore" for name in sorted(found - expected)]


def main(dist: Path, tree: Path) -> int:
    sdist, wheel, other = only(dist, "*.tar.gz"), only(dist, "*.whl"), only(tree, "*.whl")
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(other) as other_archive:
        from_sdist, from_tree = set(archive.namelist()), set(other_archive.namelist())
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    expected = {name for name in tracked if not name.startswith((".", "docs/images/"))}
    problems = differences(sdist.name, packed, expected) + differences(f"dist/{wheel.name}", from_sdist, from_tree)
    for path in (sdist, wheel):
        print(f"{path}  {path.stat().st_size / 1000:.0f} kB")
    for line in problems:
        print(line, file=sys.stderr)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
