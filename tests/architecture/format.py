"""Checks that the C++ files of the checkout have the form that clang-format gives them.

    format.py ROOT      prints one line for each place that differs; exits 1 when there are any

Versions of clang-format differ in what they write, so that one version decides: where another or none is found, the check is
skipped. It is that of Debian 12.
"""
import os
import re
import shutil
import subprocess
import sys

VERSION = 14


def clang_format():
    """The program of that version, or None."""
    for name in (f"clang-format-{VERSION}", "clang-format"):
        program = shutil.which(name)
        if program is None:
            continue
        text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if re.search(rf"version {VERSION}\.", text):
            return program
    return None


def files(root):
    for top in ("src", "include", "apps", "bench", "tests"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith((".cpp", ".h")))


def main():
    program = clang_format()
    if program is None:
        print(f"SKIPPED: clang-format {VERSION} is not installed")
        return
    found = list(files(sys.argv[1]))
    assert found
    done = subprocess.run([program, "--dry-run", "-Werror", *found], capture_output=True, text=True, check=False)
    places = [line for line in done.stderr.splitlines() if ": error: " in line]
    print("\n".join([*places, f"{len(found)} files read, {len(places)} places differ; clang-format -i FILE mends a file"]))
    sys.exit(1 if done.returncode != 0 or places else 0)


if __name__ == "__main__":
    main()
