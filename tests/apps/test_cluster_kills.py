"""Ranks killed at random moments: no checkpoint is lost, no process is left, and the run goes on to the same bits.

Run as: FACET_PROGRAM=path/to/facet FACET_MPIEXEC=path/to/mpirun /usr/bin/python3 test_cluster_kills.py [class]
FACET_TEST_KILLS is the number of kills, 10 unless set; FACET_TEST_SEED draws the ranks and moments of an earlier test.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import time
import unittest

from program import HANGING, end_without_ranks, launcher_keeps_status, ranks_of, rows, tensors
from test_cluster import ClusterTest

KILLS = int(os.environ.get("FACET_TEST_KILLS", "10"))
SEED = int(os.environ.get("FACET_TEST_SEED") or random.SystemRandom().randrange(1_000_000))

# Six steps per epoch, with a checkpoint after each, so that many kills hit one that is being written.
EPOCHS = 4
WORDS = ["--size", 48, "--stem", 16, "--blocks", "16x1,32x1,64x1", "--hidden", 64, "--batch", 8, "--threads", 1,
         "--precision", "f32", "--no-tune", "--epochs", EPOCHS, "--ema-decay", 0.9, "--keep", 2, "--log-every", 1,
         "--checkpoint-minutes", 0.00001, "--rank-timeout", 10]

# Columns of metrics.csv and steps.csv that are measured, so that they differ between any two runs.
MEASURED = {"images_per_s", "seconds", "peak_resident_bytes", "waited", "communication_waited"}

MARK = "FACET_TEST_MARK"  # the environment variable of a run's processes


def processes_of(mark):
    """The numbers and names of the processes that mpirun, which had that mark, has started, and of mpirun itself."""
    found = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "comm").read_text().strip()
        except OSError:  # it has ended
            pass
    return found


def metadata_of(file):
    """The metadata of a safetensors file, which must be as long as its header says."""
    data = file.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    metadata = header.pop("__metadata__")
    end = begin + max(tensor["data_offsets"][1] for tensor in header.values())
    if len(data) != end:
        raise AssertionError(f"{file} has {len(data)} bytes instead of {end}")
    return metadata


def temporaries(run):
    return {file for file in run.rglob("*") if ".tmp-" in file.name}


def results(file):
    """The lines of metrics.csv or steps.csv without what is measured."""
    return [{name: value for name, value in row.items() if name not in MEASURED} for row in rows(file)]


class Kills(ClusterTest):
    """Runs of which a rank is killed, one time after the other, and that the same command starts again."""

    def test_random_ranks_at_random_moments(self):
        self.random = random.Random(SEED)
        self.phases = collections.Counter()
        self.hanging = 0
        self.whole, self.seconds = {}, {}  # of each number of ranks, an undisturbed run and the time that it took
        began = time.monotonic()
        runs = 0
        while self.phases.total() < KILLS and runs < 5 * KILLS:
            ranks = 2 + runs % 3
            runs += 1
            with self.subTest(run=runs, ranks=ranks, seed=SEED):
                self.check_run(self.folder / f"run-{runs}", ranks)
        phases = ", ".join(f"{phase} {count}" for phase, count in sorted(self.phases.items()))
        print(f"{self.phases.total()} kills in {runs} runs and {time.monotonic() - began:.0f} s: {phases}; "
              f"mpirun hung {self.hanging} times")
        self.assertGreaterEqual(self.phases.total(), KILLS, f"seed {SEED}")
        self.assertGreater(self.phases["training"] + self.phases["saving"], 0, f"seed {SEED}")

    def check_run(self, run, ranks):
        if ranks not in self.whole:
            began = time.monotonic()
            whole = self.folder / f"whole-{ranks}"
            self.trains(ranks, *self.data, *WORDS, "--out", whole)
            self.whole[ranks], self.seconds[ranks] = whole, time.monotonic() - began
        for attempt in range(self.random.randint(1, 4)):
            if not self.kills_rank(run, ranks, f"{os.getpid()}-{run.name}-{attempt}"):
                break
        self.trains(ranks, *self.data, *WORDS, "--resume", "--out", run)
        self.assert_same(run, self.whole[ranks])
        shutil.rmtree(run)

    def kills_rank(self, run, ranks, mark):
        """Begins or resumes a run and kills a rank of it; returns whether that rank was still running."""
        step, older = self.saved_step(run), temporaries(run)
        process = self.start((ranks, [], ["train", *self.data, *WORDS, "--resume", "--out", run]), **{MARK: mark})
        self.wait_for_random_moment(process, mark, run, ranks)
        running = ranks_of(process)
        victim = self.random.randrange(ranks)
        if victim in running:
            try:
                os.kill(running[victim], signal.SIGKILL)
            except ProcessLookupError:  # it has ended
                del running[victim]
        status, output, error = self.end_of_killed(process, mark)
        told = f"rank {victim}, exit status {status}:\n{output}{error}"
        if victim not in running:
            self.assertIn(status, (0, HANGING), told)
        elif "\ndone: " in output:
            self.phases["leaving"] += 1
        else:
            begun = "saving" if temporaries(run) - older else "training"
            self.phases[begun if "\nrun  " in output else "starting"] += 1
            self.assertTrue(status != 0 or not launcher_keeps_status(), told)

        deadline = time.monotonic() + 10
        while processes_of(mark) and time.monotonic() < deadline:  # what was killed may not have ended yet
            time.sleep(0.01)
        self.assertEqual(processes_of(mark), {}, told)
        for file in run.glob("checkpoints/*.safetensors"):
            metadata_of(file)
        self.assertGreaterEqual(self.saved_step(run), step, told)
        self.assertLessEqual(len(temporaries(run)), 2, told)  # of this kill alone
        return victim in running

    def end_of_killed(self, process, mark):
        """As end_of(); the status is HANGING where mpirun itself doesn't end after all of its processes have ended."""
        self.wait_until(lambda: set(processes_of(mark)) <= {process.pid}, process, mark)
        status, output, error = end_without_ranks(process)
        self.hanging += status == HANGING
        return status, output, error

    def wait_for_random_moment(self, process, mark, run, ranks):
        """Waits for a moment of the time that a whole run takes, or of an epoch's time after one of the epochs."""
        self.wait_until(lambda: len(ranks_of(process)) == ranks, process, mark)
        seconds = self.seconds[ranks]
        if self.random.random() < 0.5:
            epoch = self.random.randrange(EPOCHS)
            metrics = run / "metrics.csv"
            self.wait_until(lambda: metrics.exists() and len(rows(metrics)) >= epoch, process, mark)
            seconds /= EPOCHS
        moment = time.monotonic() + self.random.uniform(0, seconds)
        self.wait_until(lambda: time.monotonic() >= moment, process, mark)

    def wait_until(self, is_reached, process, mark):
        """Waits until something is reached or mpirun has ended."""
        deadline = time.monotonic() + 120
        while not is_reached() and process.poll() is None:
            if time.monotonic() > deadline:
                self.fail(f"no progress of {processes_of(mark)}")
            time.sleep(0.005)

    def saved_step(self, run):
        """The step of the last checkpoint, which must be complete; 0 where there is none yet."""
        last = run / "checkpoints/last.safetensors"
        if not last.exists():
            return 0
        training = json.loads(metadata_of(last)["training"])
        for name in ("optimizer_file", "average_file"):
            self.assertTrue((last.parent / training[name]).exists(), training)
        return training["step"]

    def assert_same(self, run, whole):
        names = sorted(str(file.relative_to(whole)) for file in whole.rglob("*"))
        self.assertEqual(sorted(str(file.relative_to(run)) for file in run.rglob("*")), names)
        for name in names:
            if name.endswith(".safetensors"):
                self.assertTrue(tensors(run / name) == tensors(whole / name), f"{name} has other bits")
        for name in ("metrics.csv", "steps.csv"):
            self.assertEqual(results(run / name), results(whole / name))


if __name__ == "__main__":
    unittest.main(verbosity=2)
