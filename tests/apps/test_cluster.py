"""Training in several processes that mpirun starts.

Run as: FACET_PROGRAM=path/to/facet FACET_MPIEXEC=path/to/mpirun /usr/bin/python3 test_cluster.py [class]
"""

import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import time
import unittest
import unittest.mock

from program import (HANGING, MPIEXEC, QUICK, AppTest, end_of, end_without_ranks, facet, kill_ranks,
                     launcher_keeps_status, ranks_of, read_until, rows, start_on_ranks, tensors)

LIBC = ctypes.CDLL(None, use_errno=True)


class ClusterTest(AppTest):
    """A test of runs in several processes; it is skipped where there is no mpirun or facet is built without MPI."""

    @classmethod
    def setUpClass(cls):
        features = facet("--version")[1]
        reason = ""
        if not MPIEXEC or not os.path.exists(MPIEXEC):
            reason = "there is no mpirun"
        elif re.search(r"(?m)^MPI +none$", features):
            reason = "facet is built without MPI"
        if reason:
            print(f"SKIPPED: {reason}")
            raise unittest.SkipTest(reason)
        super().setUpClass()

    def start(self, *programs, **variables):
        process = start_on_ranks(*programs, **variables)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(lambda: process.poll() is None and kill_ranks(process))
        return process

    def trains(self, ranks, *words, **variables):
        """Trains on so many ranks, which must succeed; returns the standard output."""
        status, output, error = end_of(self.start((ranks, [], ["train", *words]), **variables))
        self.assertEqual(status, 0, output + error)
        return output

    def refused(self, status, *programs, **variables):
        """Starts programs that must end with that status and one line of facet's on standard error; returns it."""
        began = time.monotonic()
        found, output, error = end_of(self.start(*programs, **variables), timeout=60)
        self.assertEqual(found, status, output + error)
        self.assertLess(time.monotonic() - began, 60)
        lines = [line for line in error.splitlines() if line.startswith("facet")]
        self.assertEqual(len(lines), 1, error)
        return lines[0]

    def assert_close(self, found, expected, share):
        self.assertEqual(len(found), len(expected))
        for one, other in zip(found, expected):
            self.assertLessEqual(abs(one - other), share * abs(other), f"{found} and {expected}")

    def assert_nothing_half_written(self, run):
        names = [str(file.relative_to(run)) for file in run.rglob("*")]
        self.assertEqual([name for name in names if ".tmp-" in name], [])


def is_running(process):
    """Whether a process hasn't ended; one that nobody has waited for yet has."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def losses(run):
    return [float(row["train_loss"]) for row in rows(run / "metrics.csv")]


# A run whose losses hardly depend on how sums are rounded. At 32x32 the last batch norm has 16 values or more in each
# channel; with the 4 that it has at 16x16, and with Adam, which divides by the size of gradients, the losses of a
# single process change by some percent after ten steps where it computes on another number of threads.
STEADY = ["--size", 32, "--threads", 1, "--precision", "f32", "--no-tune", "--sync-batch-norm", "--optimizer", "sgd",
          "--lr", 0.0003]


class Equality(ClusterTest):
    """Several processes train the model that one process trains."""

    WORDS = [*STEADY, "--batch", 8, "--epochs", 2, "--ema-decay", 0.9, "--keep", 1, "--checkpoint-minutes", 0.001]

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.one = cls.folder / "one"
        status, _, error = facet("train", *cls.data, *cls.WORDS, "--out", cls.one)
        assert status == 0, error

    def test_as_one_process(self):
        for ranks in (2, 3, 4):
            with self.subTest(ranks=ranks):
                run = self.folder / f"{ranks} ranks"
                output = self.trains(ranks, *self.data, *self.WORDS, "--out", run)
                self.assertIn(f"\nranks       {ranks} on 1 host, ", output)
                for line in ("machine ", "model ", "epoch 1/2  training ", "epoch 2/2  training ", "done: "):
                    self.assertEqual(len(re.findall(f"(?m)^{line}", output)), 1, output)
                found, expected = rows(run / "metrics.csv"), rows(self.one / "metrics.csv")
                self.assertEqual(list(found[0]), list(expected[0]))
                self.assert_close(losses(run), losses(self.one), 1e-3)
                self.assert_close([float(row["validation_loss"]) for row in found],
                                  [float(row["validation_loss"]) for row in expected], 1e-2)
                self.assertEqual(sorted(file.name for file in run.rglob("*") if ".optimizer-" not in file.name),
                                 sorted(file.name for file in self.one.rglob("*") if ".optimizer-" not in file.name))

    def test_waiting_for_communication_is_told(self):
        run = self.folder / "profiled"
        output = self.trains(2, *self.data, *STEADY, "--batch", 8, "--epochs", 1, "--profile-steps", 2, "--out", run)
        self.assertRegex(output, r"(?m)^epoch 1/1 .*  waited for images [\d.]+ %, for communication [\d.]+ %  \d")
        self.assertRegex(output, r"(?m)^profile     2 steps of 8 images: [\d.]+ images/s\n +ms +%  of rank 0\n")
        self.assertRegex(output, r"(?m)^  means of 2 ranks: gradients and weights [\d.]+ ms a step, [\d.]+ % hidden, ")
        for row in rows(run / "metrics.csv"):
            self.assertGreater(float(row["communication_waited"]), 0)
            self.assertLessEqual(float(row["waited"]) + float(row["communication_waited"]), 1.001)
        profile = json.loads((run / "profile.json").read_text())
        self.assertEqual((profile["steps"], profile["images"], profile["processes"]), (2, 8, 2))
        self.assertGreater(profile["communication"]["seconds"], 0)

    def test_validation_counts_each_image_once(self):
        run = self.folder / "counted"
        words = [*STEADY, "--batch", 8, "--epochs", 2]  # without an average: last.safetensors holds what is validated
        self.trains(3, *self.data, *words, "--out", run)
        result = self.folder / "counted.json"
        self.succeeds("evaluate", run, "--checkpoint", "last", "--data", self.validation_csv, "--threads", 1, "--json",
                      result)
        last = rows(run / "metrics.csv")[-1]
        for name, head in json.loads(result.read_text())["heads"].items():
            self.assertAlmostEqual(head["accuracy"], float(last[f"validation_accuracy_{name}"]), places=6)

    def test_the_same_ranks_give_the_same_bits(self):
        files = []
        for name in ("first", "again"):
            self.trains(2, *self.data, *QUICK, "--epochs", 1, "--out", self.folder / name)
            files.append(tensors(self.folder / name / "checkpoints/last.safetensors"))
        self.assertEqual(*files)

    def test_a_run_folder_named_by_the_time(self):
        words = ["train", *self.data, *QUICK, "--epochs", 1]
        status, output, error = end_of(self.start((2, ["-wdir", self.folder], words)))
        self.assertEqual(status, 0, error)
        [run] = (self.folder / "runs").iterdir()
        self.assertIn(f"\nrun         runs/{run.name}\n", output)
        self.assertNotIn("\nmpi =", (run / "run.cfg").read_text())

    def test_without_mpi_each_trains_alone(self):
        programs = [(1, [], ["train", *self.data, *QUICK, "--epochs", 1, "--mpi", "off", "--out", self.folder / name])
                    for name in ("left", "right")]
        status, output, error = end_of(self.start(*programs))
        self.assertEqual(status, 0, error)
        self.assertNotIn("ranks ", output)
        self.assertEqual(output.count("done: "), 2, output)
        self.assertEqual(losses(self.folder / "left"), losses(self.folder / "right"))

    def test_ranks_of_different_cpu_isas(self):
        words = ["train", *self.data, *QUICK, "--epochs", 1, "--out"]
        run = self.folder / "held"
        status, _, error = end_of(self.start((1, [], [*words, run]), (1, [], [*words, run, "--max-cpu-isa", "avx2"])))
        self.assertEqual(status, 0, error)
        self.assertNotIn("max-cpu-isa", (run / "run.cfg").read_text())

    def test_bf16_beside_a_rank_without_it(self):
        if not re.search(r"avx512_core_(bf16|fp16|amx)|avx10", facet("--version")[1]):
            self.skipTest("this CPU has no bf16")
        run = self.folder / "refused"
        quick = [word if word != "f32" else "bf16" for word in QUICK]
        words = ["train", *self.data, *quick, "--epochs", 1, "--out", run]
        line = self.refused(1, (1, [], words), (1, [], [*words, "--max-cpu-isa", "avx2"]))
        self.assertIn("rank 1", line)
        self.assertIn("--max-cpu-isa", line)


class Placement(ClusterTest):
    """The cores that ranks compute on, and what is told of them. Tests start ranks that their launcher doesn't bind."""

    WORDS = [word for word in QUICK if word not in ["--threads", "1"]]  # as many threads as cores

    @staticmethod
    def core_of(cpu):
        """The hyper-threads of the core of a CPU."""
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return siblings.read_text() if siblings.exists() else cpu

    @staticmethod
    def masks_of(process):
        """The different sets of CPUs that the threads of a process may use."""
        masks = set()
        for thread in os.listdir(f"/proc/{process}/task"):
            try:
                masks.add(frozenset(os.sched_getaffinity(int(thread))))
            except ProcessLookupError:  # it has ended
                pass
        return masks

    def setUp(self):
        environment = unittest.mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "KMP_"))]:
            del os.environ[name]
        usable = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, usable)
        self.two = list({self.core_of(cpu): cpu for cpu in sorted(usable)}.values())[:2]
        if len(self.two) < 2:
            self.skipTest("one core")
        os.sched_setaffinity(0, self.two)

    def test_ranks_that_are_not_bound_divide_the_cores(self):
        process = self.start((2, [], ["train", *self.data, *self.WORDS, "--loader-threads", 2, "--epochs", 1000,
                                      "--out", self.folder / "divided"]))
        output = "".join(read_until(process.stdout, "epoch 1/1000  training"))
        masks = [self.masks_of(rank) for _, rank in sorted(ranks_of(process).items())]
        if ", sharing 1 core" in output:
            self.skipTest("the CPU quota is one core's")
        one, two = self.two
        self.assertIn(f"\nranks       2 on 1 host, 1 core each, divided by local rank: CPUs {one}; {two}\n", output)
        self.assertRegex(output, r"(?m)^machine .*, 1 core usable.*; computing on 1 thread, not pinned; ")
        self.assertEqual(masks, [{frozenset([one])}, {frozenset([two])}])

    def test_openmp_settings_are_obeyed(self):
        output = self.trains(2, *self.data, *self.WORDS, "--epochs", 1, "--out", self.folder / "places",
                             OMP_PLACES="cores", OMP_PROC_BIND="close")
        self.assertRegex(output, r"(?m)^note        ranks may use the same cores \(CPUs [\d,-]+\); ")
        self.assertRegex(output, r"(?m)^machine .*computing on 1 thread, pinned to CPU ")

    def test_more_ranks_than_cores(self):
        output = self.trains(3, *self.data, *self.WORDS, "--epochs", 1, "--out", self.folder / "three")
        self.assertRegex(output, r"(?m)^ranks       3 on 1 host, sharing [12] cores?: CPUs [\d,-]+\n")
        self.assertRegex(output, r"(?m)^note        3 ranks share [12] cores?; ")
        self.assertIn("; computing on 1 thread, not pinned; ", output)

    def test_a_rank_of_one_core(self):
        os.sched_setaffinity(0, self.two[:1])
        words = [*self.data, *self.WORDS, "--epochs", 1, "--out"]
        output = self.trains(1, *words, self.folder / "one core")
        told = re.search(r"(?m)^note        the rank may use 1 of (\d+) cores; (.*) gives it (\d+)$", output)
        if told is None:
            self.skipTest("this process has a cpuset or a CPU quota of one core")
        self.assertEqual(told[1], told[3])
        self.assertIn(told[2], [f"mpirun --map-by slot:PE={told[1]} --bind-to core",
                                f"mpiexec -bind-to core:{told[1]}"])
        self.assertNotIn("note        the rank", self.trains(1, *words, self.folder / "one thread", "--threads", 1))
        self.assertNotIn("note        the rank", self.succeeds("train", *words, self.folder / "no launcher"))
        os.environ["OMPI_COMM_WORLD_SIZE"] = "2"
        output = self.succeeds("train", *words, self.folder / "by itself", "--mpi", "off")
        self.assertNotIn("note        the rank", output)


class Moving(ClusterTest):
    """A run goes on with another number of processes."""

    WORDS = [*STEADY, "--batch", 4]  # small batches, for more steps

    def stopped(self, ranks, number, receiver, epoch, *words):
        """Stops a run after that epoch by a signal to one rank alone; returns the status and the epoch in progress."""
        process = self.start((ranks, [], ["train", *words, "--epochs", 1000]))
        before = "".join(read_until(process.stdout, f"epoch {epoch}/1000  training"))
        os.kill(ranks_of(process)[receiver], number)
        status, output, error = end_of(process, timeout=120)
        place = re.search(r"(?m)^stopped in epoch (\d+) after batch \d+ of 12; everything is saved$", output)
        self.assertTrue(place, before + output + error)
        self.assertEqual(output.count("resume with: facet train --resume --out"), 1, output)
        return status, int(place.group(1))

    def test_two_then_three_then_one(self):
        run, whole = self.folder / "moved", self.folder / "whole"
        status, epoch = self.stopped(2, signal.SIGUSR1, 1, 1, *self.data, *self.WORDS, "--out", run)
        self.assertEqual(status, 75)
        status, epoch = self.stopped(3, signal.SIGTERM, 2, epoch + 1, "--resume", "--out", run)
        self.assertEqual(status, 75)
        self.succeeds("train", "--resume", "--out", run, "--epochs", epoch + 1)
        self.succeeds("train", *self.data, *self.WORDS, "--out", whole, "--epochs", epoch + 1)
        self.assertEqual([row["epoch"] for row in rows(run / "metrics.csv")],
                         [row["epoch"] for row in rows(whole / "metrics.csv")])
        self.assert_close(losses(run)[:1], losses(whole)[:1], 1e-3)
        self.assert_close(losses(run), losses(whole), 0.05)  # over hundreds of steps, roundings have grown
        self.assert_nothing_half_written(run)
        self.assertFalse((run / "error.txt").exists())

    def test_an_interrupt_of_one_rank_stops_all(self):
        for receiver in (0, 1):
            run = self.folder / f"interrupted-{receiver}"
            status, _ = self.stopped(2, signal.SIGINT, receiver, 1, *self.data, *self.WORDS, "--out", run)
            self.assertEqual(status, 130)

    def test_nothing_left(self):
        run = self.folder / "done"
        self.succeeds("train", *self.data, *self.WORDS, "--epochs", 1, "--out", run)
        self.assertIn("nothing is left to train", self.trains(2, "--resume", "--out", run))

    def test_a_folder_that_holds_a_run(self):
        run = self.folder / "held"
        self.succeeds("train", *self.data, *self.WORDS, "--epochs", 1, "--out", run)
        line = self.refused(1, (2, [], ["train", *self.data, *self.WORDS, "--out", run]))
        self.assertIn(f"facet: {run} holds a run already", line)


class Loss(ClusterTest):
    """A rank that is killed or stops responding ends the run, which then goes on from its last checkpoint."""

    TIMEOUT = 5  # seconds
    SLACK = 20  # seconds more that ending may take on a busy machine
    WORDS = [*QUICK, "--checkpoint-minutes", 0.00001, "--rank-timeout", TIMEOUT]

    def begun(self, ranks, run):
        """Starts a run; returns mpirun's process and the process numbers of the ranks after the first epoch."""
        process = self.start((ranks, [], ["train", *self.data, *self.WORDS, "--epochs", 1000, "--out", run]))
        read_until(process.stdout, "epoch 1/1000  training")
        found = ranks_of(process)
        self.assertEqual(sorted(found), list(range(ranks)))
        return process, found

    def end_of_lost(self, process, ranks):
        """The status, output and errors of mpirun; all ranks must end within twice the timeout."""
        deadline = time.monotonic() + 2 * self.TIMEOUT + self.SLACK
        while any(map(is_running, ranks.values())):
            self.assertLess(time.monotonic(), deadline, f"ranks that are left: {ranks_of(process)}")
            time.sleep(0.01)
        return end_without_ranks(process)

    def assert_goes_on(self, ranks, run):
        """Resumes a run, which must come to the bits of an undisturbed one."""
        epochs = len(rows(run / "metrics.csv")) + 1
        whole = run.with_name(f"{run.name} whole")
        self.trains(ranks, "--resume", "--out", run, "--epochs", epochs)
        self.assert_nothing_half_written(run)  # a rank that is lost while another one saves leaves a part until then
        self.trains(ranks, *self.data, *self.WORDS, "--epochs", epochs, "--out", whole)
        self.assertEqual(*(tensors(folder / "checkpoints/last.safetensors") for folder in (run, whole)))
        self.assertEqual(losses(run), losses(whole))

    def test_a_rank_that_stops_responding(self):
        for stopped in (0, 1):
            with self.subTest(rank=stopped):
                run = self.folder / f"stopped-{stopped}"
                process, ranks = self.begun(2, run)
                os.kill(ranks[stopped], signal.SIGSTOP)
                status, _, error = self.end_of_lost(process, ranks)
                self.assertIn(status, (75, HANGING), error)
                line = (f"facet: rank {stopped} ({socket.gethostname()}) has not responded for {self.TIMEOUT} s; "
                        "the run ends, and --resume continues from its last checkpoint\n")
                self.assertIn(line, error)
                self.assertEqual(error.count("has not responded"), 1, error)
        self.assert_goes_on(2, run)

    def test_a_rank_that_is_killed(self):
        run = self.folder / "killed"
        process, ranks = self.begun(3, run)
        os.kill(ranks[2], signal.SIGKILL)
        status, output, error = self.end_of_lost(process, ranks)
        self.assertTrue(status != 0 or not launcher_keeps_status(), output + error)
        # The launcher's message: Open MPI's mpirun prints it to its standard error, MPICH's to its standard output.
        self.assertIn(socket.gethostname(), output + error)
        self.assert_goes_on(3, run)

    def test_ranks_that_are_all_stopped_and_continued(self):
        process, ranks = self.begun(2, self.folder / "paused")
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for rank in ranks.values():
                os.kill(rank, number)
            time.sleep(self.TIMEOUT + 2)
        os.kill(ranks[1], signal.SIGUSR1)
        status, output, error = end_of(process, timeout=60)
        self.assertEqual(status, 75, error)
        self.assertIn("; everything is saved\n", output)
        self.assertNotIn("has not responded", error)


class Trouble(ClusterTest):
    """What one process can't go on with ends all of them, with one message."""

    def test_usage(self):
        self.assertEqual(self.refused(2, (2, [], ["train", "--epochs", "x"])), "facet train: --train CSV is needed")
        line = self.refused(2, (3, [], ["train", *self.data, "--epoch", "1"]))
        self.assertIn("facet train: unknown option '--epoch'; did you mean '--epochs'?", line)
        for seconds in ("-1", "0.5", "nan", "inf", "x"):
            self.assertIn(f"facet train: --rank-timeout is '{seconds}'; ",
                          self.refused(2, (2, [], ["train", *self.data, f"--rank-timeout={seconds}"])))
        self.assertIn("facet train: --mpi is 'maybe'; allowed: auto, on, off",
                      self.refused(2, (2, [], ["train", *self.data, "--mpi=maybe"])))
        self.assertIn("facet train: batch is 2 in 3 processes; one image for each, 3 or more, is allowed",
                      self.refused(2, (3, [], ["train", *self.data, "--batch", 2])))
        self.assertIn("note        --pin has no effect in several processes",
                      self.trains(2, *self.data, *QUICK, "--pin", "--epochs", 1, "--out", self.folder / "pinned"))
        right, wrong = ["train", *self.data], ["train", *self.data, "--max-cpu-isa", "sse9"]
        self.assertRegex(self.refused(2, (1, [], right), (1, [], wrong)),
                         r"^facet: rank 1 \(.*\): --max-cpu-isa is 'sse9'; allowed: ")

    def test_help_is_printed_once(self):
        status, page, error = end_of(self.start((2, [], ["train", "--help"])))
        self.assertEqual((status, page.count("Usage: facet train")), (0, 1), error)

    def test_config_files_may_not_say_what_a_process_is(self):
        config = self.folder / "mpi.cfg"
        config.write_text("mpi = off\n")
        self.assertIn("mpi.cfg:1: 'mpi' is allowed on the command line only",
                      self.fails(2, "train", *self.data, "--config", config))

    def test_another_launcher(self):
        env = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
        words = ["train", *self.data, *QUICK, "--epochs", 1, "--out", self.folder / "other"]
        self.assertIn("the launcher has started 2 processes, and MPI connects none of them",
                      self.fails(1, *words, env=env))
        self.assertFalse((self.folder / "other").exists())
        self.succeeds(*words, "--mpi", "off", env=env)

    def test_manifests(self):
        self.assertRegex(self.refused(1, (2, [], ["train", "--train", "nowhere.csv", *QUICK])),
                         "^facet: nowhere.csv: no such file")
        gone = self.folder / "sample/gone.csv"
        gone.write_text(self.train_csv.read_text() + "gone.jpg,0-2,Male,White,True\n")
        self.assertRegex(self.refused(1, (3, [], ["train", "--train", gone, *QUICK, "--out", self.folder / "gone"])),
                         r"^facet: .*gone\.csv:50: gone\.jpg: no such file; --root")
        self.assertFalse((self.folder / "gone").exists())

    def test_an_image_that_rank_1_cannot_read(self):
        """The folders of the ranks' images have the same names, and rank 1's are torn."""
        for name in ("whole", "torn"):
            shutil.copytree(self.folder / "sample", self.folder / name / "sample")
        for image in (self.folder / "torn").rglob("*.jpg"):
            image.write_bytes(image.read_bytes()[:400])
        run = self.folder / "stopped"
        words = ["train", "--train", "sample/train.csv", *QUICK, "--epochs", 2, "--out", run]
        line = self.refused(1, *((1, ["-wdir", self.folder / name], words) for name in ("whole", "torn")))
        self.assertRegex(line, r"^facet: rank 1 \(.*\): sample/train\.csv:\d+: sample/.*\.jpg: truncated")
        self.assertIn(line.removeprefix("facet: "), (run / "error.txt").read_text())
        self.assert_nothing_half_written(run)
        # The same run goes on where all ranks can read them.
        self.trains(2, "--resume", "--out", run)
        self.assertEqual(len(rows(run / "metrics.csv")), 2)
        self.assertFalse((run / "error.txt").exists())

    def test_a_full_disk(self):
        run = self.folder / "full"
        run.mkdir()
        if LIBC.mount(b"facet-test", os.fsencode(run), b"tmpfs", ctypes.c_ulong(0), b"size=1m") != 0:
            self.skipTest("a small file system can be mounted by root only")
        self.addCleanup(LIBC.umount, os.fsencode(run))
        line = self.refused(1, (2, [], ["train", *self.data, *QUICK, "--epochs", 2, "--out", run]))
        self.assertRegex(line, r"^facet: .*No space left on device")
        self.assertNotIn("rank 1", line)
        self.assert_nothing_half_written(run)

    def test_images_that_are_skipped(self):
        sample = self.folder / "sample"
        (sample / "torn.jpg").write_bytes(next((sample / "train").glob("*.jpg")).read_bytes()[:400])
        header, *lines = self.train_csv.read_text().splitlines()
        bad = [f"{name}.jpg,0-2,Male,White,True" for name in ("torn", "gone")]
        manifest = sample / "bad.csv"
        manifest.write_text("\n".join([header, bad[0], *lines[:20], *bad, *lines[20:], bad[1]]) + "\n")
        words = ["--train", manifest, *QUICK, "--epochs", 1, "--bad-images", "skip", "--out"]
        one, three = self.folder / "skip-1", self.folder / "skip-3"
        self.succeeds("train", *words, one)
        output = self.trains(3, *words, three)
        self.assertRegex(output, r"(?m)^skipped +4 of 52 images in .*bad\.csv; the first: .*bad\.csv:2: torn\.jpg: ")
        self.assertEqual((three / "skipped.csv").read_text(), (one / "skipped.csv").read_text())
        self.assertEqual([row["line"] for row in rows(three / "skipped.csv")], ["2", "23", "24", "53"])

    def test_images_with_warnings(self):
        sample = self.folder / "sample"
        names = [f"unended-{number}.jpg" for number in range(6)]
        for name in names:
            (sample / name).write_bytes(next((sample / "train").glob("*.jpg")).read_bytes()[:-2])
        manifest = sample / "unended.csv"
        manifest.write_text(self.train_csv.read_text() + "".join(f"{name},0-2,Male,White,True\n" for name in names))
        run = self.folder / "warned"
        output = self.trains(2, "--train", manifest, *QUICK, "--epochs", 2, "--out", run)
        self.assertEqual(output.count(f"6 images read with warnings: {run}/image-warnings.csv\n"), 1, output)
        self.assertEqual([row["file"] for row in rows(run / "image-warnings.csv")], names)


if __name__ == "__main__":
    unittest.main(verbosity=2)
