"""bench_training: the JSON of a short run, and the command lines that it refuses.

Run as: FACET_BENCH=path/to/bench_training python3 test_bench.py
"""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

BENCH = os.environ.get("FACET_BENCH", "bench_training")
SMALL = ["--size", "16", "--batch", "2", "--threads", "1", "--warmup", "0", "--iterations", "1", "--no-tune"]


def bench(*words):
    done = subprocess.run([BENCH, *map(str, words)], capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr


class Bench(unittest.TestCase):
    def test_json(self):
        for mode in ["training", "inference"]:
            with self.subTest(mode), tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
                file = pathlib.Path(folder) / "result.json"
                status, output, error = bench(*SMALL, "--mode", mode, "--json", file, "--profile")
                self.assertEqual((status, error), (0, ""))
                self.assertIn(f"reference {mode} f32 batch 2 at 16x16, 1 thread", output)
                self.assertIn("convolution", output)
                result = json.loads(file.read_text())
                expected = {"framework": "facet", "model": "reference", "mode": mode, "precision": "f32", "batch": 2,
                            "size": 16, "threads": 1, "tuned": False}
                self.assertEqual({key: result[key] for key in expected}, expected)
                rates = result["images_per_s"]
                self.assertGreater(rates["min"], 0)
                self.assertEqual(rates["min"], rates["max"])  # of one step
                for key in ["parameters", "arena_bytes", "peak_resident_bytes", "compile_seconds"]:
                    self.assertGreater(result[key], 0, key)
                self.assertTrue(result["versions"]["onednn"])
                self.assertGreaterEqual(result["machine"]["cores"], 1)
                self.assertEqual(os.listdir(folder), ["result.json"])

    def test_trace_and_profile_hold_the_same_steps(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file, trace = pathlib.Path(folder) / "result.json", pathlib.Path(folder) / "trace.json"
            self.assertEqual(bench(*SMALL, "--profile", "--json", file, "--trace", trace)[0], 0)
            profile = json.loads(file.read_text())["profile"]
            events = json.loads(trace.read_text())["traceEvents"]
            self.assertEqual([step["name"] for step in profile["steps"]], [event["name"] for event in events])
            self.assertAlmostEqual(sum(profile["by_kind"].values()), profile["seconds"])
            for before, after in zip(events, events[1:]):
                self.assertAlmostEqual(before["ts"] + before["dur"], after["ts"])
            self.assertEqual({event["ph"] for event in events}, {"X"})

    def test_save_memory(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "result.json"
            arena = {}
            for words in [[], ["--save-memory"]]:
                status, output, error = bench("--size", 64, *SMALL[2:], "--json", file, "--profile", *words)
                self.assertEqual((status, error), (0, ""))
                result = json.loads(file.read_text())
                self.assertEqual(result["save_memory"], bool(words))
                again = [step["name"] for step in result["profile"]["steps"] if step["name"].endswith(".recompute")]
                self.assertEqual(bool(again), bool(words))
                arena[bool(words)] = result["arena_bytes"]
            self.assertLess(arena[True], arena[False])

    def test_instructions_are_limited(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "result.json"
            status, output, error = bench(*SMALL, "--instructions", "avx2", "--json", file, "--profile")
            self.assertEqual((status, error), (0, ""))
            self.assertNotIn("avx512", output)
            self.assertEqual(json.loads(file.read_text())["machine"]["limit"], "avx2")
            self.assertEqual(bench(*SMALL, "--instructions", "avx2", "--precision", "bf16")[0], 1)

    def test_misuse(self):
        cases = [
            (["--precision", "auto"], "allowed: f32, bf16"), (["--mode", "train"], "allowed: training, inference"),
            (["--model", "refernce"], "allowed: reference"), (["--warmup", "-5"], "--warmup is -5"),
            (["--threads", "-3"], "--threads is -3"), (["--batch", "0"], "--batch is 0"),
            (["--iterations", "0"], "--iterations is 0"), (["--size", "17"], "17"), (["--batch", "x"], "--batch"),
            (["--batc", "2"], "--batc"), (["stray"], "'stray'"), (["--tune"], "--tune"),
            (["--instructions", "sse9"], "avx2, avx512, avx512_bf16"),
        ]
        for words, message in cases:
            with self.subTest(words):
                status, output, error = bench(*words)
                self.assertEqual((status, output), (2, ""), error)
                self.assertTrue(error.startswith("bench_training: "), error)
                self.assertEqual(error.count("\n"), 1, error)
                self.assertIn(message, error)

    def test_place_that_cannot_be_written(self):
        status, output, error = bench(*SMALL, "--json", "/nowhere/result.json")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("/nowhere/result.json", error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
