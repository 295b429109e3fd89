"""Helpers for the tests of the program facet: they run it, read its files and make its input."""

import csv
import functools
import os
import pathlib
import signal
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


MPIEXEC = os.environ.get("FACET_MPIEXEC", "")

# What makes the mpirun of Open MPI 4 and 5 start more ranks than cores, unbound and also as root. MPICH's does.
MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none", "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "PRTE_MCA_hwloc_default_binding_policy": "none",
}



@functools.cache
def launcher_keeps_status():
    """Whether mpirun always fails where a rank is killed. MPICH's, before 4.2.3, may return 0 where several end badly."""
    version = subprocess.run([MPIEXEC, "--version"], capture_output=True, text=True, env={**os.environ, **MPI_ENVIRONMENT})
    return "HYDRA" not in version.stdout


def start_on_ranks(*programs, **variables):
    """Starts the program by mpirun, of Open MPI or MPICH; returns mpirun's process, with its output as text.

    Each of the programs is a number of ranks, options of mpirun for these ranks, and the arguments of the program.
    """
    words = []
    for ranks, options, arguments in programs:
        words += [":"] if words else [MPIEXEC]
        words += ["-n", ranks, *options, PROGRAM, *arguments]
    return subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1,
                            stdin=subprocess.DEVNULL, env={**os.environ, **MPI_ENVIRONMENT, **variables})


def end_of(process, timeout=240):
    """Waits for mpirun; returns exit status, standard output and standard error. A run that hangs is killed."""
    try:
        output, error = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        kill_ranks(process)
        raise
    return process.returncode, output, error


# The status of an mpirun that had to be killed. That of Open MPI 4.1 sometimes waits for ever in PMIx_server_finalize.
HANGING = -signal.SIGKILL


def end_without_ranks(process):
    """As end_of() once all ranks have ended; an mpirun that doesn't end then is killed, and the status is HANGING."""
    try:
        output, error = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        output, error = process.communicate()
    return process.returncode, output, error


def ranks_of(process):
    """The process numbers of the program's ranks that mpirun, which is running, has started, by rank."""
    parents = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            pass
    found = {}
    for number in parents:
        above = number
        while above in parents and above != process.pid:
            above = parents[above]
        try:
            if above != process.pid or not os.path.samefile(f"/proc/{number}/exe", PROGRAM):
                continue
            environment = pathlib.Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        variables = dict(entry.partition(b"=")[::2] for entry in environment)
        for name in (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK", b"PMIX_RANK"):
            if name in variables:
                found[int(variables[name])] = number
                break
    return found


def kill_ranks(process):
    """Kills mpirun and the ranks that it has started, where they are running."""
    for number in ranks_of(process).values():
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.kill()
    process.communicate()


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
