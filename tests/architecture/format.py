"""Checks that clang-format leaves the C++ files of the checkout unchanged.

    format.py ROOT      prints one line for each place that differs; exits 1 if there are any

Versions of clang-format differ in their output. The check needs the version of Debian 12, and is skipped where that is
not installed.
"""
import os
import re
import shutil
import subprocess
import sys

VERSION = 14


def clang_format():
    """The path of clang-format of that version, or None."""
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
    summary = f"{len(found)} files read, {len(places)} places differ; clang-format -i FILE formats a file"
    print("\n".join([*places, summary]))
    sys.exit(1 if done.returncode != 0 or places else 0)


if __name__ == "__main__":
    main()
