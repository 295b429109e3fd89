"""facet import, and facet train --pretrained with --split-head, on weights that PyTorch saved.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_import.py [class]
"""

import json
import os
import pathlib
import struct
import sys
import unittest

from program import AppTest, QUICK, rows, tensors

try:
    import numpy
    import PIL.Image
    import torch
    import torchvision
except ImportError as missing:
    print(f"SKIPPED: {missing.name} is missing; it is needed to make and run the weights that are imported")
    sys.exit(0)

# The heads of FairFace's own predict.py, in the order of the rows.
HEADS = {"race": ["White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"],
         "gender": ["Male", "Female"],
         "age": ["0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"]}
SPLIT = ["--split-head", "fc=race:0-6,gender:7-8,age:9-17"]
MODEL = ["--model", "resnet34", "--size", 32]
ONE_THREAD = ["--threads", 1]


def images_of(folder, manifest):
    """Returns the images of a manifest, normalised as torchvision's models need them."""
    mean, std = numpy.array([0.485, 0.456, 0.406], "f4"), numpy.array([0.229, 0.224, 0.225], "f4")
    pixels = [numpy.asarray(PIL.Image.open(folder / row["file"]).convert("RGB"), "f4") for row in manifest]
    return torch.from_numpy(((numpy.stack(pixels) / 255 - mean) / std).transpose(0, 3, 1, 2).copy())


def read_safetensors(file):
    content = pathlib.Path(file).read_bytes()
    length, = struct.unpack("<Q", content[:8])
    header = json.loads(content[8:8 + length])
    found = {}
    for name, tensor in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in tensor["data_offsets"])
            values = numpy.frombuffer(content[begin:end], {"F32": "f4", "I64": "i8"}[tensor["dtype"]])
            found[name] = torch.from_numpy(values.reshape(tensor["shape"]).copy())
    return found


class ImportTest(AppTest):
    """A test with FairFace's ResNet-34 in the file format before PyTorch 1.6, with random weights."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.manifest = rows(cls.validation_csv)
        cls.images = images_of(cls.folder / "sample", cls.manifest)
        torch.manual_seed(11)
        cls.model = torchvision.models.resnet34()
        cls.model.fc = torch.nn.Linear(cls.model.fc.in_features, 18)
        with torch.no_grad():
            for _ in range(3):  # running statistics as after training
                cls.model.train()(cls.images)
            cls.logits = cls.model.eval()(cls.images).numpy()
        cls.weights = cls.folder / "fairface.pt"
        state = {f"module.{name}": tensor for name, tensor in cls.model.state_dict().items()}
        torch.save({"epoch": 9, "state_dict": state}, cls.weights, _use_new_zipfile_serialization=False)

    def require_logits(self, answers, heads, tolerance):
        """Compares rows of `evaluate --predictions` with PyTorch's logits; returns each head's correct predictions."""
        right = {}
        first = 0
        for head, classes in HEADS.items():
            expected = self.logits[:, first:first + len(classes)]
            first += len(classes)
            if head not in heads:
                continue
            found = [[float(row[f"{head}_logit_{name}"]) for name in classes] for row in answers]
            numpy.testing.assert_allclose(found, expected, atol=tolerance * numpy.abs(expected).max(), rtol=0)
            predicted = [classes[index] for index in expected.argmax(axis=1)]
            self.assertEqual([row[head] for row in answers], predicted)
            right[head] = sum(row[head] == name for row, name in zip(self.manifest, predicted))
        return right


class Import(ImportTest):
    def test_predictions_equal_pytorchs(self):
        model, answers, result = (self.folder / name for name in ["model.safetensors", "answers.csv", "result.json"])
        output = self.succeeds("import", self.weights, *MODEL, *SPLIT, "--out", model)
        self.assertIn("resnet34 at 32x32, 21,293,906 parameters", output)
        self.assertIn("  race (7): White, Black, Latino_Hispanic, East Asian,", output)
        self.assertIn(f'{self.weights}["state_dict"]: 222 tensors are loaded\n', output)
        self.succeeds("evaluate", model, "--data", self.validation_csv, "--predictions", answers, "--json", result,
                      *ONE_THREAD)
        right = self.require_logits(rows(answers), HEADS, 1e-4)
        for head, found in json.loads(result.read_text())["heads"].items():
            self.assertAlmostEqual(found["accuracy"], right[head] / len(self.manifest), places=6)
        self.succeeds("predict", model, self.folder / "sample/validation", *ONE_THREAD)
        self.succeeds("export", model, "--out", self.folder / "model.onnx")
        self.assertTrue((self.folder / "model.onnx").exists())

    def test_classes(self):
        out = ["--out", self.folder / "classes.safetensors"]
        words = ["import", self.weights, *MODEL, "--split-head", "fc=race:0-3,label:9-17", *out]
        names = self.folder / "names.txt"
        names.write_bytes("a\r\nb, or c\nd\ne\nf\ng\nh\ni\nk\n\n".encode())
        output = self.succeeds(*words, "--classes", f"label=@{names}", "--classes", "race=White,Black,Asian,Indian")
        self.assertIn("  race (4): White, Black, Asian, Indian\n  label (9): a, b, or c, d, e, f, g, h, i, k\n", output)
        self.assertIn('rows 4-8 of "fc" belong to no head', output)
        self.assertIn("  label (9): 0, 1, 2, 3, 4, 5, 6, 7, 8\n", self.succeeds(*words))
        self.assertIn("--classes has 2 names for head race, which has 4 rows",
                      self.fails(2, *words, "--classes", "race=White,Black"))
        self.assertIn("has classes for rce, which is not a head; the heads are race, label",
                      self.fails(2, *words, "--classes", "rce=a,b,c,d"))
        self.assertIn("HEAD=A,B,... or HEAD=@FILE is needed", self.fails(2, *words, "--classes", "race"))
        self.assertIn("two lists of classes for race", self.fails(2, *words, *["--classes", "race=a,b,c,d"] * 2))
        self.assertIn("nowhere.txt: no such file", self.fails(1, *words, "--classes", "race=@nowhere.txt"))
        self.assertIn("/dev/zero: is not a regular file", self.fails(1, *words, "--classes", "race=@/dev/zero"))
        os.mkfifo(self.folder / "fifo")
        self.assertIn("is not a regular file",
                      self.fails(1, *words, "--classes", f"race=@{self.folder / 'fifo'}", timeout=30))
        names.write_bytes("\ufeffa\nb\nc\nd\n".encode())
        self.assertIn("  race (4): a, b, c, d\n", self.succeeds(*words, "--classes", f"race=@{names}"))
        self.assertIn("--classes: head 'race': the class 'a' occurs twice",
                      self.fails(2, *words, "--classes", "race=a,a,b,c"))

    def test_own_names(self):
        """Weights of a run that PyTorch loaded and saved again."""
        run = self.folder / "run"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--heads", "age,race", "--stem", 16, "--blocks",
                      "16x1,16x0", "--out", run)
        checkpoint = run / "checkpoints/last.safetensors"
        torch.save({"model": read_safetensors(checkpoint)}, self.folder / "back.pth")
        model = self.folder / "back.safetensors"
        words = ["import", self.folder / "back.pth", "--size", 16, "--out", model]
        shape = ["--stem", 16, "--blocks", "16x1,16x0"]
        self.succeeds(*words, "--model", "reference", *shape)
        self.assertEqual(tensors(model), tensors(checkpoint))
        self.assertIn("is a model file already",
                      self.fails(2, "import", checkpoint, "--model", "reference", *words[2:]))
        self.assertIn("stem.conv.weight", self.fails(1, *words, "--model", "reference"))
        self.assertIn("--model NAME is needed", self.fails(2, *words))

    def test_refused(self):
        out = self.folder / "none.safetensors"
        words = ["import", self.weights, *MODEL]
        self.assertIn("fc has 18 rows: --split-head fc=race:0-6,gender:7-8,age:9-17",
                      self.fails(2, *words, "--out", out))
        self.assertIn('has no linear layer "cf" to split; its last linear layers are "fc" (18 rows)',
                      self.fails(1, *words, "--split-head", "cf=race:0-6", "--out", out))
        self.assertIn('"fc" has rows 0-17; head "age" needs rows 9-18',
                      self.fails(1, *words, "--split-head", "fc=age:9-18", "--out", out))
        self.assertIn("has row 6 in both gender and race",
                      self.fails(2, *words, "--split-head", "fc=race:0-6,gender:6-7", "--out", out))
        self.assertIn("don't fit the model", self.fails(1, "import", self.weights, "--model", "resnet18", *SPLIT,
                                                          "--out", out))
        self.assertIn("would be overwritten", self.fails(2, *words, *SPLIT, "--out", self.weights))
        torch.save(torch.nn.Linear(2, 3), self.folder / "module.pth", _use_new_zipfile_serialization=False)
        self.assertIn("torch.save(model.state_dict(), FILE)",
                      self.fails(1, "import", self.folder / "module.pth", *MODEL, *SPLIT, "--out", out))
        for count, found in [(10 ** 12, "1,000,000,000,000 rows"), (1, "1 row"), (0, "0 rows")]:
            tensor = {"dtype": "F32", "shape": [count, 0], "data_offsets": [0, 0]}
            header = json.dumps({"heads.age.weight": tensor}).encode()
            (self.folder / "rows.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
            self.assertIn(f"rows.safetensors: tensor 'heads.age.weight' has {found}; 2 to 100000 are allowed",
                          self.fails(1, "import", self.folder / "rows.safetensors", *MODEL, "--out", out))
            header = header.replace(b"heads.age", b"fc")
            (self.folder / "rows.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
            self.assertRegex(self.fails(2, "import", self.folder / "rows.safetensors", *MODEL, "--out", out),
                             f"fc has {found}$")
        self.assertFalse(out.exists())


class SplitHead(ImportTest):
    def test_training_from_split_heads(self):
        """Reordered classes keep their rows; a frozen model with a tiny learning rate keeps its logits."""
        run, answers = self.folder / "run", self.folder / "answers.csv"
        words = ["train", *MODEL, "--batch", 16, *ONE_THREAD, "--precision", "f32", "--no-tune", "--epochs", 1,
                 "--lr", "1e-12", "--freeze", "[!h]*", "--pretrained", self.weights, *SPLIT]
        output = self.succeeds(*words, *self.data, "--heads", "gender,race", "--classes", "gender=Female,Male", "--out",
                               run)
        self.assertRegex(output, r'(?m)^note .*: 220 tensors are loaded; classes reordered in heads: "gender"; '
                                 r'not loaded: "heads\.age"$')
        self.assertIn("\nsplit-head = fc=race:0-6,gender:7-8,age:9-17\n", (run / "run.cfg").read_text())
        self.succeeds("evaluate", run, "--data", self.validation_csv, "--predictions", answers, *ONE_THREAD)
        self.require_logits(rows(answers), ["gender", "race"], 1e-4)
        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)

        # From facet's file back to the usual order of classes. A head with other class names is newly initialised.
        again = self.folder / "again"
        words[words.index(self.weights)] = run / "checkpoints/last.safetensors"
        output = self.succeeds(*words[:-2], *self.data, "--heads", "race,gender", "--out", again)
        self.assertIn('classes reordered in heads: "gender"', output)
        self.succeeds("evaluate", again, "--data", self.validation_csv, "--predictions", answers, *ONE_THREAD)
        self.require_logits(rows(answers), ["gender", "race"], 1e-4)
        others = self.folder / "others.csv"
        lines = (self.folder / "sample/train.csv").read_text().replace(",Male,", ",M,").replace(",Female,", ",F,")
        others.write_text(lines)
        output = self.succeeds(*words[:-2], "--heads", "gender", "--train", others, "--root", self.folder / "sample",
                               "--out", self.folder / "third")
        self.assertRegex(output, r'(?m)heads with other classes: "gender"; not loaded: "heads\.gender", "heads\.race"; '
                                 r'newly initialised: "heads\.gender"$')

    def test_refused(self):
        words = ["train", *self.data, *MODEL, "--out", self.folder / "none"]
        self.assertIn("without pretrained", self.fails(2, *words, *SPLIT))
        self.assertIn("--split-head: 'fc' found",
                      self.fails(2, *words, "--pretrained", self.weights, "--split-head", "fc"))
        self.assertFalse((self.folder / "none").exists())
        self.assertIn('has no linear layer "cf"',
                      self.fails(1, *words, "--pretrained", self.weights, "--split-head", "cf=race:0-6"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
