"""bench/gpu/pytorch_baseline.py: its models, and its results as facet compare reads them.

Run as: FACET_BASELINE=path/to/pytorch_baseline.py FACET_PROGRAM=path/to/facet /usr/bin/python3 test_baseline.py
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.environ["FACET_BASELINE"]
FACET = os.environ.get("FACET_PROGRAM")


def baseline(*words):
    done = subprocess.run([sys.executable, "-B", SCRIPT, "--device", "cpu", *map(str, words)], capture_output=True, text=True,
                          timeout=240)
    return done.returncode, done.stdout, done.stderr


@unittest.skipIf(importlib.util.find_spec("torch") is None, "python3-torch isn't installed")
class Baseline(unittest.TestCase):
    SMALL = ["--models", "reference", "--size", 32, "--batch", 2, "--steps", 3, "--warm-up", 1, "--no-compile"]

    def test_results(self):
        with tempfile.TemporaryDirectory(prefix="facet-baseline-") as folder:
            file = pathlib.Path(folder) / "cpu.json"
            status, output, error = baseline(*self.SMALL, "--precisions", "f32", "--out", file)
            self.assertEqual((status, output), (0, ""), error)
            results = [json.loads(line) for line in file.read_text().splitlines()]
            self.assertEqual([(one["mode"], one["precision"], one["form"]) for one in results],
                             [("training", "f32", "eager"), ("inference", "f32", "eager")])
            for one in results:
                rates = one["images_per_s"]
                self.assertTrue(0 < rates["min"] <= rates["median"] <= rates["max"], rates)
                self.assertEqual((one["model"], one["batch"], one["size"], one["data"]), ("reference", 2, 32, "synthetic"))
            if FACET:
                table = subprocess.run([FACET, "compare", file], capture_output=True, text=True, timeout=60)
                self.assertEqual((table.returncode, table.stderr), (0, ""))
                self.assertRegex(table.stdout, r"(?m)^cpu +PyTorch .* reference +training +f32 ")

    def test_photographs(self):
        if importlib.util.find_spec("torchvision") is None or not FACET:
            self.skipTest("python3-torchvision or facet isn't there")
        with tempfile.TemporaryDirectory(prefix="facet-baseline-") as folder:
            subprocess.run([FACET, "synth", folder + "/sample", "--train", "9", "--validation", "2", "--size", "48"],
                           check=True, capture_output=True, timeout=60)
            status, output, error = baseline(*self.SMALL, "--precisions", "f32", "--data", folder + "/sample/train.csv",
                                             "--workers", 1)
            self.assertEqual(status, 0, error)
            [result] = [json.loads(line) for line in output.splitlines()]
            self.assertEqual((result["mode"], result["data"]), ("training", folder + "/sample/train.csv"))

    def test_models_are_those_of_facet(self):
        specification = importlib.util.spec_from_file_location("pytorch_baseline", SCRIPT)
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        for name, parameters in [("reference", 35_264_338), ("mobilenet_v2", None)]:
            if name != "reference" and importlib.util.find_spec("torchvision") is None:
                continue
            model = module.make_model(name, 224, module.HEADS)
            count = sum(parameter.numel() for parameter in model.parameters())
            if FACET:
                summary = subprocess.run([FACET, "summary", "--model", name, "--json"], capture_output=True, text=True,
                                         timeout=60)
                self.assertEqual(count, json.loads(summary.stdout)["parameters"], name)
            self.assertIn(parameters, (None, count))

    def test_words_that_are_not_allowed(self):
        for words, message in [(["--precisions", "f16"], "'f16' found; allowed: f32, bf16"),
                               (["--models", "resnet"], "'resnet' found; allowed: reference, resnet34")]:
            status, _, error = baseline(*words)
            self.assertEqual(status, 2)
            self.assertIn(message, error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
