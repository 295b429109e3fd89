"""The threads of the program facet, and the cores that they run on.

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
    """The cores that threads run on, as printed by the program and as reported by the kernel."""

    QUICK = [word for word in QUICK if word not in ["--threads", "1"]]

    def masks(self, *words, cpus=None, **variables):
        """Starts training; returns the line about the machine, the affinity masks (main thread first), the process."""
        process = start("train", *self.data, *self.QUICK, "--epochs", 10000, *words, "--out",
                        tempfile.mkdtemp(dir=self.folder), env={**os.environ, **variables},
                        preexec_fn=cpus and (lambda: os.sched_setaffinity(0, cpus)))
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        machine = [line for line in read_until(process.stdout, "epoch 1/") if line.startswith("machine ")]
        tasks = sorted(map(int, os.listdir(f"/proc/{process.pid}/task")))
        self.assertEqual(pathlib.Path(f"/proc/{process.pid}/comm").read_text(),
                         pathlib.Path(program.PROGRAM).name + "\n")
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
        """The first hyper-thread of the core of a CPU."""
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        return int(re.match(r"\d+", siblings.read_text()).group()) if siblings.exists() else cpu

    def take(self, cpu):
        """Claims the core of a CPU as a pinned program does; returns the socket whose closing releases it."""
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
        """Checks that two compute threads have one CPU each, the main thread the first; all others may use both."""
        self.assertIn(f"2 threads, pinned to CPUs {self.two[0]}", machine)
        self.assertEqual(masks[0], {self.two[0]})
        self.assertEqual(masks.count({self.two[1]}), 1)
        self.assertEqual(masks[1:].count(set(self.two)), len(masks) - 2, masks)

    def test_not_pinned_by_default(self):
        machine, masks, _ = self.masks("--threads", 2)
        self.assertIn("2 threads, not pinned; decoding on as many threads as needed", machine)
        self.assertEqual(masks, [self.all] * len(masks))

    def test_pinned(self):
        self.needs_pinning()
        self.assert_one_core_each(*self.masks("--threads", 2, "--pin", cpus=self.two)[:2])

    def test_openmp_settings_are_obeyed(self):
        self.needs_pinning()
        if "2 cores usable" not in self.masks("--threads=0", cpus=self.two)[0]:
            self.skipTest("the CPU quota is one core's")
        for words in [[], ["--pin"]]:
            machine, masks, _ = self.masks("--threads=0", *words, cpus=self.two, OMP_PROC_BIND="close",
                                           OMP_PLACES="threads")
            self.assertIn("computing on 2 threads", machine)
            self.assert_one_core_each(machine, masks)
        machine, masks, _ = self.masks("--threads=0", OMP_NUM_THREADS="1")
        self.assertIn("computing on 1 thread, not pinned", machine)

    def test_openmp_settings_that_forbid_pinning(self):
        self.needs_pinning()
        for name, value in [("OMP_PROC_BIND", "false"), ("OMP_PROC_BIND", ""), ("GOMP_CPU_AFFINITY", "")]:
            with self.subTest(f"{name}={value}"):
                status, _, error = facet("train", *self.data, "--threads", 1, "--pin", env={**os.environ, name: value})
                self.assertEqual(status, 2, error)
                # OpenMP itself may have printed a warning before.
                self.assertEqual(error.splitlines()[-1], "facet train: --pin: compute threads can't be pinned: "
                                 f"{name} is '{value}', with which OpenMP binds no threads; unset it")

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
        error = self.fails(2, "train", *self.data, "--threads", 1, "--pin",
                           preexec_fn=lambda: os.sched_setaffinity(0, self.two))
        self.assertIn("--pin: each of 1 compute threads needs a core of its own; "
                      "of the 2 cores that this process may use, 2 are pinned to by other programs", error)
        running.kill()
        running.wait()
        self.assertIn(f"pinned to CPU {self.two[0]};", self.masks("--threads", 1, "--pin", cpus=self.two)[0])

    def test_a_table_that_cannot_be_pinned_is_not_started(self):
        self.needs_pinning()
        words = ["reproduce", "table1", "--data", self.folder / "sample", "--models", "reference", "--epochs", 1,
                 *self.QUICK, "--threads", 1, "--pin", "--out", self.folder / "table"]
        one = {"preexec_fn": lambda: os.sched_setaffinity(0, self.two[:1])}
        holder = self.take(self.two[0])
        self.assertIn("--pin: each of 1 compute threads needs a core of its own; "
                      "of the 1 cores that this process may use, 1 are pinned to by other programs",
                      self.fails(2, *words, **one))
        self.assertFalse((self.folder / "table").exists())
        holder.close()
        self.assertIn(f"pinned to CPU {self.two[0]};", self.succeeds(*words, **one))

    def test_more_threads_than_cores(self):
        self.needs_pinning()
        self.assertIn("each of 4096 compute threads needs a core of its own",
                      self.fails(2, "train", *self.data, "--threads", 4096, "--pin"))

    def test_evaluation_and_predictions_can_be_pinned(self):
        self.needs_pinning()
        run = self.folder / "run"
        self.succeeds("train", *self.data, *self.QUICK, "--epochs", 1, "--out", run)
        for words in [["evaluate", run, "--data", self.validation_csv, "--json"],
                      ["predict", run, self.folder / "sample/validation"]]:
            self.assertEqual(self.succeeds(*words, "--threads", 1), self.succeeds(*words, "--threads", 1, "--pin"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
