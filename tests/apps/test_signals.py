"""Signals, two processes in one folder, and output that can't be written.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_signals.py [class]
"""

import ctypes
import os
import shutil
import signal
import subprocess
import time
import unittest

from program import PROGRAM, QUICK, AppTest, facet, read_until, rows, start, tensors

PTRACE = ctypes.CDLL(None).ptrace
PTRACE_ATTACH = 16
PTRACE_DETACH = 17
WAIT_FOR_ANY = 0x40000000  # __WALL: also for threads
FUTEX = "202"  # the number of its system call on x86-64


def other_threads(process):
    """The threads of a process except the first, in ascending order of their numbers."""
    return sorted(task for task in map(int, os.listdir(f"/proc/{process.pid}/task")) if task != process.pid)


def is_waiting(process, task):
    """Whether a thread that ptrace holds was waiting on a futex."""
    with open(f"/proc/{process.pid}/task/{task}/syscall", encoding="ascii") as stream:
        return stream.read().split()[0] == FUTEX


class RunTest(AppTest):
    """A test with an uninterrupted run of four epochs in whole/."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        status, _, error = facet("train", *cls.data, *QUICK, "--epochs", 4, "--out", cls.folder / "whole")
        assert status == 0, error

    def assert_same_as_whole(self, run):
        self.succeeds("train", "--resume", "--out", run, "--epochs", 4)
        self.assertEqual(tensors(self.folder / "whole/checkpoints/last.safetensors"),
                         tensors(run / "checkpoints/last.safetensors"))
        [whole] = (self.folder / "whole/checkpoints").glob("last.optimizer-*")
        [resumed] = (run / "checkpoints").glob("last.optimizer-*")
        self.assertEqual(tensors(whole), tensors(resumed))
        self.assertEqual([row["train_loss"] for row in rows(self.folder / "whole/metrics.csv")],
                         [row["train_loss"] for row in rows(run / "metrics.csv")])

    def start_and_see_epoch(self, epoch, *words, **options):
        process = start("train", *self.data, *QUICK, "--epochs", 1000, *words, **options)
        self.addCleanup(process.kill)
        read_until(process.stdout, f"epoch {epoch}/1000  training")
        return process


class Interruption(RunTest):
    """A run that was stopped or killed and then resumed has the same bits as an uninterrupted run."""

    def test_interrupted(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGHUP, 75)):
            run = self.folder / f"run-{number}"
            process = self.start_and_see_epoch(2, "--out", run)
            process.send_signal(number)
            output, error = process.communicate(timeout=120)
            self.assertEqual(process.returncode, status, error)
            self.assertIn(f"facet train --resume --out {run}", output)
            self.assertIn("finishing this step", error)
            self.assert_same_as_whole(run)

    def test_interrupted_before_the_first_step(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 75)):
            run = self.folder / f"early-{number}"
            process = start("train", *self.data, "--size", 64, "--threads", 1, "--out", run)
            self.addCleanup(process.kill)
            read_until(process.stdout, "tuning ")
            process.send_signal(number)
            _, error = process.communicate(timeout=120)
            self.assertEqual((process.returncode, error), (status, "\nfacet: stopped; nothing to save yet\n"))
            self.assertFalse((run / "run.cfg").exists())

    def test_interrupted_while_the_options_are_read(self):
        config = self.folder / "early.cfg"
        os.mkfifo(config)
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)):
            process = start("train", "--config", config)
            self.addCleanup(process.kill)
            with open(config, "w", encoding="ascii"):  # returns when the program has opened it, too
                process.send_signal(number)
                _, error = process.communicate(timeout=120)
            self.assertEqual((process.returncode, error), (status, "\nfacet: stopped; nothing to save yet\n"))

    def test_a_second_signal_within_a_second_is_the_same_one(self):
        run = self.folder / "twice-at-once"
        process = self.start_and_see_epoch(2, "--out", run)
        for _ in range(4):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        _, error = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, error)
        self.assert_same_as_whole(run)

    def test_sigusr1_again_and_again_until_it_ends(self):
        run = self.folder / "again-and-again"
        process = self.start_and_see_epoch(2, "--out", run)
        while process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
        _, error = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75, error)
        self.assert_same_as_whole(run)

    def test_a_later_second_signal_ends_it_at_once(self):
        # Steps take a second or more, so that the first signal is still being handled.
        process = start("train", *self.data, "--size", 160, "--batch", 48, "--threads", 1, "--precision", "f32",
                        "--no-tune", "--epochs", 1000, "--out", self.folder / "twice")
        self.addCleanup(process.kill)
        read_until(process.stdout, "epoch 1/1000  training")
        process.send_signal(signal.SIGINT)
        read_until(process.stderr, "facet: finishing this step")
        time.sleep(1.1)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
        self.assertIn(process.returncode, (-signal.SIGINT, 130))  # 130: the step ended within that second

    def test_a_hangup_that_nohup_ignores_is_ignored(self):
        run = self.folder / "nohup"
        process = self.start_and_see_epoch(1, "--out", run,
                                           preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        process.send_signal(signal.SIGHUP)
        read_until(process.stdout, "epoch 3/1000  training")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)
        self.assertEqual(process.returncode, 75)

    def hold(self, tasks):
        """Stops threads of another process with ptrace; a signal to that process does not continue them."""
        for task in tasks:
            if PTRACE(PTRACE_ATTACH, task, None, None) != 0:
                self.skipTest("the system doesn't let a process hold another's threads")
            os.waitpid(task, WAIT_FOR_ANY)

    def end_of_held(self, process, tasks):
        """Waits until a process with held threads has ended; returns its standard error."""
        deadline = time.monotonic() + 120
        for task in tasks:  # the process ends only when its tracer has waited for each held thread
            while os.waitpid(task, WAIT_FOR_ANY | os.WNOHANG)[0] == 0:
                if time.monotonic() > deadline:
                    process.kill()
                    self.fail("a process with held threads has not ended")
                time.sleep(0.01)
        return process.communicate(timeout=120)[1]

    def test_a_run_without_progress_gives_up(self):
        # The number of threads is fixed: otherwise the loader starts other threads in place of those that are held.
        run = self.folder / "stuck"
        process = self.start_and_see_epoch(2, "--out", run, "--loader-threads", 1)
        tasks = other_threads(process)
        self.assertTrue(tasks)
        self.hold(tasks)
        time.sleep(1)
        saved = (run / "checkpoints/last.safetensors").read_bytes()
        process.send_signal(signal.SIGTERM)
        error = self.end_of_held(process, tasks)
        self.assertEqual(process.returncode, 75, error)
        self.assertIn("no step has ended since the signal", error)
        self.assertEqual((run / "checkpoints/last.safetensors").read_bytes(), saved)
        self.assert_same_as_whole(run)

    def test_a_thread_that_hangs_does_not_keep_a_run_that_is_saved(self):
        run = self.folder / "lingering"
        process = self.start_and_see_epoch(2, "--out", run, "--loader-threads", 2)
        held = other_threads(process)[-1]
        self.hold([held])
        while not is_waiting(process, held):  # a thread that decodes would delay the step
            PTRACE(PTRACE_DETACH, held, None, None)
            time.sleep(0.001)
            self.hold([held])
        process.send_signal(signal.SIGTERM)
        error = self.end_of_held(process, [held])
        self.assertEqual(process.returncode, 75, error)
        self.assertIn("everything is saved, but a thread does not end", error)
        self.assert_same_as_whole(run)

    def test_killed(self):
        run = self.folder / "killed"
        process = self.start_and_see_epoch(2, "--out", run, "--checkpoint-minutes", "0.00001")
        process.kill()
        process.communicate()
        self.assert_same_as_whole(run)

    def test_nothing_left(self):
        self.assertIn("nothing is left to train", self.succeeds("train", "--resume", "--out", self.folder / "whole"))

    def test_resume_starts_where_there_is_no_run(self):
        """A job that is queued again needs no other command, wherever it was stopped."""
        new, empty, unsaved = (self.folder / name for name in ("new", "empty", "unsaved"))
        empty.mkdir()
        words = ["train", *self.data, *QUICK, "--epochs", 4, "--resume", "--out"]
        for run in (new, empty):
            self.assertIn(f"--train CSV is needed: {run} has no run.cfg that names it",
                          self.fails(2, "train", "--resume", "--out", run))
            self.assertFalse((run / "run.lock").exists())
        self.assertFalse(new.exists())
        for run in (new, empty):
            self.assertIn(f"note        no checkpoint in {run} yet: the run begins at its first epoch\n",
                          self.succeeds(*words, run))
            self.assertNotIn("no checkpoint in", self.succeeds(*words, run))
            self.assert_same_as_whole(run)
        # What a run leaves that is killed before its first checkpoint: the options of run.cfg need not be given again.
        unsaved.mkdir()
        for name in ("run.cfg", "tuning.json", "run.lock"):
            shutil.copy(new / name, unsaved)
        output = self.succeeds("train", "--resume", "--out", unsaved)
        self.assertIn(f"settings    {unsaved}/run.cfg\n", output)
        self.assertIn(f"note        no checkpoint in {unsaved} yet: the run begins at its first epoch\n", output)
        self.assert_same_as_whole(unsaved)


class FewerThreads(RunTest):
    """OpenMP may provide fewer threads than requested; no kernel waits for the missing ones."""

    def test_limits(self):
        quick = [word for word in QUICK if word not in ("--threads", "1")]
        for variables in ({"OMP_THREAD_LIMIT": "1"}, {"OMP_DYNAMIC": "true"}):
            [name] = variables
            run = self.folder / name
            output = self.succeeds("train", *self.data, *quick, "--threads", 2, "--epochs", 1, "--out", run,
                                   env={**os.environ, **variables})
            self.assertEqual("OpenMP provides 1 of 2 compute threads" in output, name == "OMP_THREAD_LIMIT", output)
            self.succeeds("evaluate", run, "--data", self.validation_csv, "--threads", 2,
                          env={**os.environ, **variables})


class Sharing(RunTest):
    """One process at a time uses a run's folder."""

    def test_a_second_process_is_refused_and_changes_nothing(self):
        run = self.folder / "shared"
        process = self.start_and_see_epoch(2, "--out", run)
        process.send_signal(signal.SIGSTOP)  # it stays within the epochs of the whole run
        for _ in range(5):
            error = self.fails(1, "train", "--resume", "--out", run, "--epochs", 1000)
            self.assertIn(f"is in use by process {process.pid} on ", error)
        self.assertFalse((run / "error.txt").exists())
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGCONT)
        process.communicate(timeout=120)
        self.assert_same_as_whole(run)


class BrokenOutput(RunTest):
    """A run continues when its output can't be written; a command whose result is its output fails."""

    def test_a_reader_that_ends(self):
        for command in ("head -1", "true"):
            run = self.folder / f"piped to {command.split()[0]}"
            words = [PROGRAM, "train", *self.data, *QUICK, "--epochs", 4, "--out", run]
            line = " ".join(f"'{word}'" for word in words) + f" | {command}; exit ${{PIPESTATUS[0]}}"
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assert_same_as_whole(run)

    def test_no_output_at_all(self):
        run = self.folder / "closed"
        words = " ".join(f"'{word}'" for word in [PROGRAM, "train", *self.data, *QUICK, "--epochs", 4, "--out", run])
        done = subprocess.run(["bash", "-c", f"{words} <&- >&- 2>&-"])
        self.assertEqual(done.returncode, 0)
        self.assert_same_as_whole(run)

    def test_results_that_cannot_be_printed_are_an_error(self):
        for command, status in (("--help >/dev/full", 1), ("--help >&-", 1),
                                (f"inspect '{self.train_csv}' >/dev/full", 1)):
            done = subprocess.run(["bash", "-c", f"'{PROGRAM}' {command}"], capture_output=True, text=True)
            self.assertEqual(done.returncode, status, command)
            self.assertIn("can't write to standard output", done.stderr)


class HalfWritten(RunTest):
    """Files that a command is writing when a signal arrives are removed."""

    def test_predictions(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            folder = self.folder / f"answers-{number}"
            folder.mkdir()
            images = [self.folder / "sample/train"] * 400
            process = start("predict", self.folder / "whole", *images, "--csv", folder / "answers.csv")
            self.addCleanup(process.kill)
            deadline = time.monotonic() + 60
            while not list(folder.iterdir()) and time.monotonic() < deadline:
                time.sleep(0.01)
            process.send_signal(number)
            process.communicate(timeout=120)
            self.assertEqual(process.returncode, -number)
            self.assertEqual(list(folder.iterdir()), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
