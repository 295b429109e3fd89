"""Threads of the program facet, and the cores that they run on.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_threads.py [class]
"""

import os
import pathlib
import re
import socket
import tempfile
import unittest
import unittest.mock

import program
from program import AppTest, QUICK, facet, read_until, start


class Threads(AppTest):
    """Where threads run: told in a line, and as the system has it."""

    QUICK = [word for word in QUICK if word not in ["--threads", "1"]]

    def masks(self, *words, cpus=None, **variables):
        """Of a training run: the line about its machine, the affinity masks of its threads, the main one first."""
        process = start("train", *self.data, *self.QUICK, "--epochs", 10000, *words, "--out", tempfile.mkdtemp(dir=self.folder),
                        env={**os.environ, **variables}, preexec_fn=cpus and (lambda: os.sched_setaffinity(0, cpus)))
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        machine = [line for line in read_until(process.stdout, "epoch 1/") if line.startswith("machine ")]
        tasks = sorted(map(int, os.listdir(f"/proc/{process.pid}/task")))
        self.assertEqual(pathlib.Path(f"/proc/{process.pid}/comm").read_text(), pathlib.Path(program.PROGRAM).name + "\n")
        return machine[0], [os.sched_getaffinity(task) for task in tasks], process

    def setUp(self):
        environment = unittest.mock.patch.dict(os.environ)
        environment.start()
        self.addCleanup(environment.stop)
        for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "KMP_"))]:
            del os.environ[name]
        self.all = os.sched_getaffinity(0)
        cores = {}
        for cpu in sorted(self.all):
            cores.setdefault(self.core_of(cpu), cpu)
        self.two = list(cores.values())[:2]
        if len(self.two) < 2:
            self.skipTest("one core")

    @staticmethod
    def core_of(cpu):
        """The first hyper-thread of its core."""
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return int(re.match(r"\d+", siblings.read_text()).group()) if siblings.exists() else cpu

    def take(self, cpu):
        """Takes its core as a pinned program does, until the socket is closed."""
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(holder.close)
        holder.bind(f"\0facet, pinned to core {self.core_of(cpu)}")
        return holder

    def needs_pinning(self):
        if "oneTBB" in facet("train", *self.data, "--threads", 4096, "--pin")[2]:
            self.skipTest("compute runs on oneTBB")
        try:
            for cpu in self.two:
                self.take(cpu).close()
        except OSError as error:
            self.skipTest(f"another program is pinned to CPU {cpu}: {error}")

    def assert_one_core_each(self, machine, masks):
        """Two compute threads on the two CPUs, of which the main thread has the first; the loader's is free."""
        self.assertIn(f"2 threads, pinned to CPUs {self.two[0]}", machine)
        self.assertEqual(masks[0], {self.two[0]})
        self.assertEqual(masks.count({self.two[1]}), 1)
        self.assertEqual(masks[1:].count(set(self.two)), len(masks) - 2, masks)

    def test_free_by_default(self):
        machine, masks, _ = self.masks("--threads", 2)
        self.assertIn("2 threads, not pinned; decoding on as many threads as needed", machine)
        self.assertEqual(masks, [self.all] * len(masks))

    def test_pinned(self):
        self.needs_pinning()
        self.assert_one_core_each(*self.masks("--threads", 2, "--pin", cpus=self.two)[:2])

    def test_as_openmp_is_told(self):
        self.needs_pinning()
        if "2 cores usable" not in self.masks("--threads=0", cpus=self.two)[0]:
            self.skipTest("the CPU quota is one core's")
        for words in [[], ["--pin"]]:
            machine, masks, _ = self.masks("--threads=0", *words, cpus=self.two, OMP_PROC_BIND="close", OMP_PLACES="threads")
            self.assertIn("computing on 2 threads", machine)
            self.assert_one_core_each(machine, masks)
        machine, masks, _ = self.masks("--threads=0", OMP_NUM_THREADS="1")
        self.assertIn("computing on 1 thread, not pinned", machine)

    def test_openmp_is_told_to_bind_nothing(self):
        self.needs_pinning()
        for name, value in [("OMP_PROC_BIND", "false"), ("OMP_PROC_BIND", ""), ("GOMP_CPU_AFFINITY", "")]:
            with self.subTest(f"{name}={value}"):
                status, _, error = facet("train", *self.data, "--threads", 1, "--pin", env={**os.environ, name: value})
                self.assertEqual(status, 2, error)
                # OpenMP itself may have warned before.
                self.assertEqual(error.splitlines()[-1], "facet train: --pin: compute threads can't be pinned: "
                                 f"{name} is '{value}', by which OpenMP binds none; unset it")

    def test_config_from_a_pipe(self):
        error = self.fails(2, "train", *self.data, "--config", "/dev/stdin", "--pin", input="epochs = 1\n")
        self.assertIn("--config /dev/stdin can't be read twice, as --pin needs: a regular file is needed", error)

    def test_one_cpu_of_many(self):
        machine, masks, _ = self.masks("--threads=0", cpus=self.two[1:])
        self.assertIn("1 core usable", machine)
        self.assertIn("computing on 1 thread, not pinned", machine)
        self.assertEqual(masks, [{self.two[1]}] * len(masks))

    def test_processes_pin_to_cores_of_their_own(self):
        self.needs_pinning()
        first, _, running = self.masks("--threads", 1, "--pin", cpus=self.two)
        second, _, _ = self.masks("--threads", 1, "--pin", cpus=self.two)
        self.assertIn(f"pinned to CPU {self.two[0]};", first)
        self.assertIn(f"pinned to CPU {self.two[1]};", second)
        error = self.fails(2, "train", *self.data, "--threads", 1, "--pin", preexec_fn=lambda: os.sched_setaffinity(0, self.two))
        self.assertIn("--pin: each of 1 compute threads needs a core of its own; of 2 that may be used, 2 are pinned to by other programs", error)
        running.kill()
        running.wait()
        self.assertIn(f"pinned to CPU {self.two[0]};", self.masks("--threads", 1, "--pin", cpus=self.two)[0])

    def test_a_table_that_cannot_be_pinned_is_not_begun(self):
        self.needs_pinning()
        words = ["reproduce", "table1", "--data", self.folder / "sample", "--models", "reference", "--epochs", 1, *self.QUICK,
                 "--threads", 1, "--pin", "--out", self.folder / "table"]
        one = {"preexec_fn": lambda: os.sched_setaffinity(0, self.two[:1])}
        holder = self.take(self.two[0])
        self.assertIn("--pin: each of 1 compute threads needs a core of its own; of 1 that may be used, 1 are pinned to by other programs",
                      self.fails(2, *words, **one))
        self.assertFalse((self.folder / "table").exists())
        holder.close()
        self.assertIn(f"pinned to CPU {self.two[0]};", self.succeeds(*words, **one))

    def test_more_threads_than_cores(self):
        self.needs_pinning()
        self.assertIn("each of 4096 compute threads needs a core of its own", self.fails(2, "train", *self.data, "--threads", 4096, "--pin"))

    def test_evaluation_and_predictions_can_be_pinned(self):
        self.needs_pinning()
        run = self.folder / "run"
        self.succeeds("train", *self.data, *self.QUICK, "--epochs", 1, "--out", run)
        for words in [["evaluate", run, "--data", self.validation_csv, "--json"], ["predict", run, self.folder / "sample/validation"]]:
            self.assertEqual(self.succeeds(*words, "--threads", 1), self.succeeds(*words, "--threads", 1, "--pin"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
