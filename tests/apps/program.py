"""Helpers for the tests of the program facet: they run it, read its files and make its input."""

import csv
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.environ.get("FACET_PROGRAM", "facet")

# A quick training run: a model at 16x16 and six steps per epoch, whose results have the same bits each time.
QUICK = ["--size", "16", "--batch", "8", "--threads", "1", "--precision", "f32", "--no-tune"]


def facet(*arguments, folder=None, timeout=240, **options):
    """Runs the program to its end; returns exit status, standard output and standard error."""
    done = subprocess.run([PROGRAM, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=timeout,
                          **options)
    return done.returncode, done.stdout, done.stderr


def start(*arguments, **options):
    """Starts the program; returns the process, with its output as text."""
    return subprocess.Popen([PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            bufsize=1, **options)


def read_until(stream, beginning):
    """Reads lines up to the first one with that beginning; returns all of them."""
    lines = []
    for line in stream:
        lines.append(line)
        if line.startswith(beginning):
            return lines
    raise AssertionError(f"no line begins with {beginning!r} in: {''.join(lines)}")


def tensors(file):
    """The bytes of a safetensors file's tensors, without its header."""
    data = pathlib.Path(file).read_bytes()
    return data[8 + int.from_bytes(data[:8], "little"):]


def rows(file):
    with open(file, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


class AppTest(unittest.TestCase):
    """A test with a temporary folder, which has a synthetic sample of 48 and 16 images in sample/."""

    @classmethod
    def setUpClass(cls):
        cls._temporary = tempfile.TemporaryDirectory(prefix="facet-app-")
        cls.addClassCleanup(cls._temporary.cleanup)
        cls.folder = pathlib.Path(cls._temporary.name)
        status, _, error = facet("synth", cls.folder / "sample", "--train", 48, "--validation", 16, "--size", 32)
        assert status == 0, error
        cls.train_csv = cls.folder / "sample/train.csv"
        cls.validation_csv = cls.folder / "sample/validation.csv"
        cls.data = ["--train", cls.train_csv, "--validation", cls.validation_csv]

    def succeeds(self, *arguments, **options):
        """Runs the program, which must exit with 0; returns its standard output."""
        status, output, error = facet(*arguments, **options)
        self.assertEqual(status, 0, error)
        return output

    def fails(self, status, *arguments, **options):
        """Runs the program, which must exit with that status and one line on standard error; returns that line."""
        found, _, error = facet(*arguments, **options)
        self.assertEqual(found, status, f"{arguments}: {error}")
        self.assertEqual(error.count("\n"), 1, error)
        self.assertTrue(error.startswith("facet"), error)
        return error


class TrainedRunTest(AppTest):
    """A test with a run of two epochs in run_folder; output is what training printed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "runs #1"  # a name that must be quoted in a config file
        status, cls.output, error = facet("train", *cls.data, *QUICK, "--drop-last", "--epochs", 2, "--out",
                                          cls.run_folder)
        assert status == 0, error
