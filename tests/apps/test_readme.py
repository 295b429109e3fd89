"""The Python code in the README, run without changes.

Run as: FACET_PROGRAM=path/to/facet FACET_README=path/to/README.md [FACET_ONNX_RUNNER=program] \\
        /usr/bin/python3 test_readme.py

FACET_ONNX_RUNNER is tests/inference/run_onnx_by_opencv, which replaces ONNX Runtime where Python doesn't have it.
"""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

from program import AppTest

# Leaving out a step of the recipe, or another filter, changes probabilities by at least 4e-4 on these photographs.
TOLERANCE = 2e-5

RUNNER = os.environ.get("FACET_ONNX_RUNNER", "")

# The part of ONNX Runtime that the recipe uses, implemented with another program that reads ONNX files.
STAND_IN = f"""
import json, pathlib, subprocess, tempfile
import numpy, onnx

class InferenceSession:
    def __init__(self, file):
        self.file, self.model = file, onnx.load(file)

    def get_modelmeta(self):
        self.custom_metadata_map = {{entry.key: entry.value for entry in self.model.metadata_props}}
        return self

    def run(self, names, feeds):
        (name, images), = feeds.items()
        assert name == self.model.graph.input[0].name and images.dtype == numpy.float32, (name, images.dtype)
        assert images.ndim == 4 and images.shape[1] == 3, images.shape
        with tempfile.TemporaryDirectory() as folder:
            images.tofile(folder + "/input")
            size, batch = "{{}}x{{}}".format(*images.shape[2:]), str(len(images))
            subprocess.run([{RUNNER!r}, self.file, folder + "/input", size, folder, batch], check=True)
            outputs = [numpy.fromfile(f"{{folder}}/{{i}}.{{batch}}", numpy.float32).reshape(len(images), -1)
                       for i in range(len(self.model.graph.output))]
        by_name = dict(zip([output.name for output in self.model.graph.output], outputs))
        return [by_name[name] for name in names]
"""


def code_block(beginning):
    """Returns the README's indented block whose first line has that beginning."""
    blocks = re.findall(r"(?m)(?:^    .*\n|^\n(?=    ))+", pathlib.Path(os.environ["FACET_README"]).read_text())
    found = [block for block in blocks if block.lstrip("\n").startswith("    " + beginning)]
    assert len(found) == 1, (beginning, len(found))
    return "".join(line[4:] if line.strip() else line for line in found[0].splitlines(keepends=True))


def has(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


class Onnx(AppTest):
    """The recipe for ONNX files gives the same probabilities as facet predict."""

    @unittest.skipUnless(has("numpy", "PIL") and (has("onnxruntime") or (RUNNER and has("onnx"))),
                         "Pillow, or a program that runs ONNX files, is missing")
    def test_recipe_agrees_with_facet_predict(self):
        (self.folder / "recipe.py").write_text(code_block("import numpy, onnxruntime\n") + """
import json
print(json.dumps({"age": age[0].tolist(), "gender": gender[0].tolist(), "race": race[0].tolist()}))
""")
        if not has("onnxruntime"):
            (self.folder / "onnxruntime.py").write_text(STAND_IN)
        photographs = self.photographs()
        for mode, size in [("squash", "32"), ("crop", "32"), ("squash", "32x48"), ("crop", "48x32")]:
            run = mode + size
            self.succeeds("train", *self.data, "--out", run, "--resize", mode, "--size", size, "--batch", 8, "--epochs",
                          4, "--lr", "1e-3", "--threads", 1, "--precision", "f32", "--no-tune", folder=self.folder)
            self.succeeds("export", run, "--out", "faces.onnx", "--input", "pixels", "--softmax", folder=self.folder)
            lines = self.succeeds("predict", run, *photographs, "--jsonl", "-", folder=self.folder).splitlines()
            answers = []
            for line in map(json.loads, lines):
                with self.subTest(mode=mode, size=size, photograph=line["file"]):
                    (self.folder / "photo.jpg").write_bytes((self.folder / line["file"]).read_bytes())
                    done = subprocess.run([sys.executable, "recipe.py"], cwd=self.folder, capture_output=True,
                                          text=True, timeout=120)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    for head, found in json.loads(done.stdout).items():
                        expected = list(line["heads"][head]["probabilities"].values())
                        self.assertEqual(len(found), len(expected), head)
                        for one, other in zip(found, expected):
                            self.assertAlmostEqual(one, other, delta=TOLERANCE, msg=head)
                        best = list(line["heads"][head]["probabilities"])[found.index(max(found))]
                        self.assertEqual(best, line["heads"][head]["class"], head)
                answers.append(line["heads"]["age"]["probabilities"])
            self.assertEqual(len(answers), len(photographs))
            self.assertTrue(all(one != other for i, one in enumerate(answers) for other in answers[:i]))

    def photographs(self):
        """Writes JPEGs for which every step of the recipe changes the result; returns their names."""
        import numpy
        from PIL import Image

        random = numpy.random.default_rng(1)

        def picture(width, height):
            """Returns fine noise over patches, brighter towards the right and the bottom."""
            coarse = Image.fromarray(random.integers(0, 256, (5, 7, 3), dtype=numpy.uint8)).resize((width, height))
            fine = random.integers(-60, 60, (height, width, 1))
            slope = numpy.linspace(-60, 60, width)[None, :, None] + numpy.linspace(-60, 60, height)[:, None, None]
            return Image.fromarray((numpy.asarray(coarse) + fine + slope).clip(0, 255).astype(numpy.uint8))

        turned = Image.Exif()
        turned[0x0112] = 6
        picture(90, 60).save(self.folder / "plain.jpg", quality=95)
        picture(90, 60).save(self.folder / "turned.jpg", quality=95, exif=turned)
        picture(1100, 700).save(self.folder / "large.jpg", quality=95)
        picture(700, 500).save(self.folder / "large_turned.jpg", quality=95, exif=turned)
        picture(64, 200).convert("L").save(self.folder / "grey.jpg", quality=95)
        picture(20, 25).save(self.folder / "small.jpg", quality=95)
        return ["plain.jpg", "turned.jpg", "large.jpg", "large_turned.jpg", "grey.jpg", "small.jpg"]


if __name__ == "__main__":
    unittest.main()
