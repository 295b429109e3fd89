"""Training in Slurm's jobs, by the scripts of docs/slurm. It needs a Slurm that runs jobs on this machine.

Run as: FACET_PROGRAM=path/to/facet FACET_MPIEXEC=path/to/mpirun /usr/bin/python3 test_slurm.py [class]
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest

from program import MPI_ENVIRONMENT, MPIEXEC, PROGRAM, AppTest, facet, rows, tensors

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "docs/slurm"
NODE = socket.gethostname().partition(".")[0]
WAIT = 120  # seconds; far more than anything here takes

# A small checkpoint, and steps of some milliseconds: jobs that never end by themselves pass few epochs.
STEPS = ["--size", "64", "--batch", "8", "--threads", "1", "--precision", "f32", "--no-tune",
         "--stem", "16", "--blocks", "16x1,32x1", "--hidden", "32"]
ENDLESS = [*STEPS, "--epochs", "1000000"]


def command(*words, **options):
    """Runs a command of Slurm's; returns exit status, standard output and standard error."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          **options)
    return done.returncode, done.stdout.strip(), done.stderr


def reason_to_skip():
    """Why nothing can be tested here, or ""."""
    if re.search(r"(?m)^MPI +none$", facet("--version")[1]):
        return "facet is built without MPI"
    for program in ("sbatch", "srun", "scontrol", "scancel", "sinfo"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    status, state, error = command("sinfo", "--noheader", "--nodes", NODE, "--format=%t")
    if status != 0 or not state:
        return f"no Slurm answers that has this machine as a node: {error.strip()}"
    if "pmix" not in "".join(command("srun", "--mpi=list")[1:]):
        return "this Slurm has no pmix"
    words = ["srun", f"--nodelist={NODE}", "--immediate=30", "--ntasks=2", "--cpus-per-task=1", "--mpi=pmix"]
    status, output, error = command(*words, PROGRAM, "train", "--help")
    if status != 0 or output.count("Usage: facet train") != 1:
        return f"Slurm gives no two processes on {NODE}, or their MPI doesn't speak pmix: {error.strip()}"
    return ""


class SlurmTest(AppTest):
    """A test with jobs on this node, whose folder holds train.csv, val.csv and their images."""

    @classmethod
    def setUpClass(cls):
        reason = reason_to_skip()
        if reason:
            print(f"SKIPPED: {reason}")
            raise unittest.SkipTest(reason)
        super().setUpClass()
        shutil.copy(cls.validation_csv, cls.folder / "sample/val.csv")

    def setUp(self):
        self.home = self.folder / self.id().rpartition(".")[2]
        shutil.copytree(self.folder / "sample", self.home)
        self.disk = self.home / "disk"  # the node's own
        self.disk.mkdir()
        folders = [str(pathlib.Path(file).resolve().parent) for file in (PROGRAM, MPIEXEC) if file]
        path = os.pathsep.join([*folders, os.environ["PATH"]])
        self.environment = {**os.environ, **MPI_ENVIRONMENT, "OMP_WAIT_POLICY": "passive", "PATH": path,
                            "SLURM_TMPDIR": str(self.disk)}

    def log(self, job):
        """What a job and its successors under the same number have printed."""
        file = self.home / f"{job}.log"
        return file.read_text() if file.exists() else ""

    def submit(self, script, *words, options=()):
        """Submits a script of docs/slurm for two processes on this node; returns the job's number."""
        size = ["--nodes=1", f"--nodelist={NODE}", "--ntasks-per-node=2", "--cpus-per-task=1", "--time=60"]
        status, job, error = command("sbatch", "--parsable", "--output=%A.log", *size, *options, SCRIPTS / script,
                                     *words, cwd=self.home, env=self.environment)
        self.assertEqual(status, 0, error)
        self.addCleanup(self.wait_for_end, job)
        self.addCleanup(command, "scancel", job)
        return job

    def wait_for(self, condition, what, job):
        deadline = time.monotonic() + WAIT
        while not condition():
            self.assertLess(time.monotonic(), deadline, f"no {what}:\n{self.log(job)}")
            time.sleep(0.1)

    def wait_for_end(self, job):
        self.wait_for(lambda: not command("squeue", "-h", "-j", job)[1], f"end of job {job}", job)

    def wait_for_log(self, text, job, times=1):
        self.wait_for(lambda: self.log(job).count(text) >= times, f"{times} x {text!r}", job)

    def wait_for_epochs(self, run, more, job):
        """Waits until a run has finished so many more epochs than it has now."""
        def finished():
            return len(rows(run / "metrics.csv")) if (run / "metrics.csv").exists() else 0
        goal = finished() + more
        self.wait_for(lambda: finished() >= goal, f"epoch {goal} in {run}", job)

    def wait_for_resumption(self, job, times=1):
        """Waits until a job has resumed its run so many times, without the two minutes that Slurm lets it wait before.

        Slurm waits because a node refuses the credentials that were issued before it revoked the job's.
        """
        def resumed():
            if command("squeue", "-h", "-j", job, "-o", "%T")[1] == "PENDING":
                time.sleep(3)
                command("scontrol", "update", f"JobId={job}", "StartTime=now")
            return self.log(job).count("goes on from") >= times
        self.wait_for(resumed, f"resumption {times}", job)

    def process_of(self, job, step="0", rank="1"):
        """The process number of a rank in a job's step; of the job's script, it is rank 0 of the step "batch"."""
        lines = [line.split() for line in command("scontrol", "listpids", job)[1].splitlines()[1:]]
        [process] = [int(line[0]) for line in lines if line[2] == step and line[4] == rank]
        return process

    def srun(self, *words):
        status, output, error = command("srun", f"--nodelist={NODE}", "--ntasks=2", "--cpus-per-task=1", "--mpi=pmix",
                                        PROGRAM, "train", *words, cwd=self.home, env=self.environment)
        self.assertEqual(status, 0, output + error)

    def assert_as_undisturbed(self, run, train):
        """Ends a run at its next epoch, and compares it with a run of as many epochs that nothing has disturbed.

        train runs `facet train` with some words, as the run's processes were started.
        """
        self.assertEqual([file for file in run.rglob("*") if ".tmp-" in file.name or file.name == "error.txt"], [])
        epochs = len(rows(run / "metrics.csv")) + 1
        train("--resume", "--out", run, "--epochs", epochs)
        whole = self.home / "whole"
        train("--train", "train.csv", "--validation", "val.csv", *STEPS, "--epochs", epochs, "--out", whole)
        for name in ("last.safetensors", "last.optimizer-*"):
            [[found], [expected]] = [list((one / "checkpoints").glob(name)) for one in (run, whole)]
            self.assertEqual(found.name, expected.name)
            self.assertEqual(tensors(found), tensors(expected), name)
        self.assertEqual([row["train_loss"] for row in rows(run / "metrics.csv")],
                         [row["train_loss"] for row in rows(whole / "metrics.csv")])


class Job(SlurmTest):
    """A job that is stopped saves its run, which ends with the weights of one that nothing has disturbed."""

    def test_each_way_to_stop(self):
        job = self.submit("train.sbatch", *ENDLESS)
        run = self.home / "runs/faces"
        stops = [("scontrol requeue", lambda: command("scontrol", "requeue", job)),
                 ("scancel --signal=USR1", lambda: command("scancel", "--signal=USR1", job)),
                 ("scancel --signal=TERM", lambda: command("scancel", "--signal=TERM", job)),
                 ("SIGUSR1 to a rank", lambda: os.kill(self.process_of(job), signal.SIGUSR1)),
                 ("SIGTERM to a rank", lambda: os.kill(self.process_of(job), signal.SIGTERM))]
        for number, (name, stop) in enumerate(stops):
            with self.subTest(name):
                self.wait_for_epochs(run, 2, job)
                stop()
                self.wait_for_log("everything is saved", job, number + 1)
                self.wait_for_resumption(job, number + 1)
        self.wait_for_epochs(run, 2, job)
        command("scancel", job)  # ends the job for good: SIGTERM, and SIGKILL after Slurm's KillWait
        self.wait_for_log("everything is saved", job, len(stops) + 1)
        self.wait_for_end(job)
        log = self.log(job)
        self.assertEqual(log.count("the run begins at its first epoch"), 1, log)
        self.assertEqual(log.count("everything is saved"), len(stops) + 1, log)
        self.assert_as_undisturbed(run, self.srun)

    def test_a_time_limit(self):
        job = self.submit("train.sbatch", *ENDLESS, options=["--time=2", "--signal=USR1@60"])
        self.wait_for_log("everything is saved", job)
        self.wait_for_resumption(job)
        command("scancel", job)
        self.wait_for_log("everything is saved", job, 2)
        self.assert_as_undisturbed(self.home / "runs/faces", self.srun)

    def test_a_killed_rank(self):
        """Nothing is saved then, but what was is whole, and no process remains."""
        job = self.submit("train.sbatch", *ENDLESS, "--checkpoint-minutes", "0.001")
        run = self.home / "runs/faces"
        self.wait_for_epochs(run, 2, job)
        os.kill(self.process_of(job), signal.SIGKILL)
        self.wait_for_end(job)
        self.assertIn("ExitCode=137:0", command("scontrol", "show", "job", job)[1])
        for file in run.rglob("*.tmp-*"):  # the next process removes it
            file.unlink()
        self.assert_as_undisturbed(run, self.srun)

    def test_local_disks(self):
        subprocess.run(["tar", "-cf", "images.tar", "train", "validation"], cwd=self.home, check=True)
        for name in ("train", "validation"):
            shutil.rmtree(self.home / name)
        job = self.submit("nodes.sbatch", *ENDLESS)
        self.wait_for_epochs(self.home / "runs/faces", 2, job)
        self.assertTrue((self.disk / f"faces-{job}/train").is_dir())
        command("scancel", "--signal=USR1", job)
        self.wait_for_resumption(job)
        self.wait_for_epochs(self.home / "runs/faces", 2, job)
        command("scancel", job)
        self.wait_for_end(job)
        self.assertEqual(self.log(job).count("everything is saved"), 2, self.log(job))
        self.assertEqual(list(self.disk.iterdir()), [])

    def test_a_signal_while_images_are_copied(self):
        os.mkfifo(self.home / "images.tar")  # so that tar waits
        job = self.submit("nodes.sbatch", *ENDLESS)
        steps = ["squeue", "--steps", "--noheader", "--format=%j"]
        self.wait_for(lambda: "sh" in command(*steps, "--jobs", job)[1].split(), "copying", job)
        time.sleep(1)  # until tar has begun
        command("scancel", "--signal=USR1", job)
        self.wait_for(lambda: "Restarts=1" in command("scontrol", "show", "job", job)[1], "requeued job", job)
        self.assertEqual(list(self.disk.iterdir()), [])
        self.assertFalse((self.home / "runs").exists())

    def test_restarts_are_limited(self):
        self.environment["SLURM_RESTART_COUNT"] = "20"
        job = self.submit("train.sbatch", *ENDLESS)
        self.wait_for_epochs(self.home / "runs/faces", 1, job)
        command("scancel", "--signal=USR1", job)
        self.wait_for_end(job)
        self.assertIn("restarted 20 times: not requeued again", self.log(job))
        self.assertEqual(self.log(job).count("everything is saved"), 1, self.log(job))

    def test_an_array(self):
        array = ["--ntasks=1", "--array=3-4"]
        job = self.submit("seeds.sbatch", *STEPS, "--epochs", 1, options=array)
        self.wait_for_end(job)
        for seed in (3, 4):
            run = self.home / f"runs/seed-{seed}"
            self.assertIn(f"seed = {seed}\n", (run / "run.cfg").read_text())
            self.assertEqual(len(rows(run / "metrics.csv")), 1)

    def test_mpirun(self):
        if not MPIEXEC or not os.path.exists(MPIEXEC):
            self.skipTest("there is no mpirun")

        def train(*words):
            status, output, error = command(MPIEXEC, "-n", 2, PROGRAM, "train", *words, cwd=self.home,
                                            env=self.environment)
            self.assertEqual(status, 0, output + error)

        job = self.submit("mpirun.sbatch", *ENDLESS)
        run = self.home / "runs/faces"
        self.wait_for_epochs(run, 2, job)
        command("scancel", "--batch", "--signal=USR1", job)
        self.wait_for_resumption(job)
        self.wait_for_epochs(run, 2, job)
        script = self.process_of(job, "batch", "0")
        for _ in range(3):
            os.kill(script, signal.SIGUSR1)
            time.sleep(0.02)  # mpirun takes longer to end
        self.wait_for_resumption(job, 2)
        command("scancel", "--batch", "--signal=USR1", job)
        self.wait_for_log("everything is saved", job, 3)
        command("scancel", job)
        self.assert_as_undisturbed(run, train)


if __name__ == "__main__":
    unittest.main(verbosity=2)
