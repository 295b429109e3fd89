"""Files of the first version of facet train, and how --resize is recorded in files and used by all commands.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_compatibility.py [class]
"""

import json
import shutil
import unittest

from program import AppTest, QUICK, facet, rows, tensors

# The options of the first version of facet train, which it wrote into run.cfg.
FIRST_OPTIONS = {"train", "validation", "heads", "classes", "root", "bad-images", "drop-last", "no-flip", "mean", "std",
                 "model", "size", "epochs", "batch", "lr", "seed", "precision", "threads", "loader-threads", "no-tune",
                 "choices", "out", "keep", "checkpoint-minutes"}
# The keys that it wrote into the metadata of a model file, a checkpoint's record of the run, and that record's options.
FIRST_METADATA = {"format", "version", "model", "size", "heads", "mean", "std", "training", "step"}
FIRST_RECORD = {"epoch", "batch", "step", "best", "sums", "options", "threads", "optimizer_file"}
FIRST_RECORD_OPTIONS = {"batch", "optimizer", "learning_rate", "beta1", "beta2", "eps", "precision", "seed", "flip",
                        "drop_last", "training images"}


def only(names, values):
    return {name: value for name, value in values.items() if name in names}


def metadata(file):
    data = file.read_bytes()
    return json.loads(data[8:8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def make_file_as_first_written(file):
    """Removes from a safetensors file's metadata all keys that the first version didn't write."""
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    kept = only(FIRST_METADATA, header["__metadata__"])
    if "training" in kept:
        record = only(FIRST_RECORD, json.loads(kept["training"]))
        record["options"] = only(FIRST_RECORD_OPTIONS, record["options"])
        del record["sums"]["waited_seconds"], record["sums"]["communication_waited_seconds"]
        kept["training"] = json.dumps(record)
    header["__metadata__"] = kept
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length:])


def make_run_as_first_written(run):
    """Changes a run's folder to the form that the first version wrote."""
    for file in (run / "checkpoints").iterdir():
        make_file_as_first_written(file)
    (run / "tuning.json").rename(run / "choices.json")
    lines = (run / "run.cfg").read_text().replace("\ntuning-record = ", "\nchoices = ").splitlines()
    kept = [line for line in lines if not line or line[0] in "#[" or line.split("=")[0].strip() in FIRST_OPTIONS]
    assert len(kept) < len(lines)
    # The first version wrote absolute paths.
    paths = {"out": f"out = {run}", "choices": f"choices = {run}/choices.json"}
    kept = [paths.get(line.split("=")[0].strip(), line) for line in kept]
    (run / "run.cfg").write_text("\n".join(kept) + "\n")
    csv = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    columns = csv[0].index("seconds") + 1
    (run / "metrics.csv").write_text("".join(",".join(cells[:columns]) + "\n" for cells in csv))
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for epoch in epochs:
        for key in ["peak_resident_bytes", "waited", "communication_waited", "best", "train_loss_by_head",
                    "train_accuracy", "validation_loss_by_head"]:
            del epoch[key]
    (run / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
    (run / "run.lock").unlink(missing_ok=True)


class OlderFiles(AppTest):
    """Model files and runs of the first version can be used, with the same predictions and the same bits."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.older, cls.whole = cls.folder / "older", cls.folder / "whole"
        for run, epochs in [(cls.older, 1), (cls.whole, 2)]:
            status, _, error = facet("train", *cls.data, "--out", run, "--epochs", epochs, *QUICK)
            assert status == 0, error
        cls.newer = cls.folder / "newer.safetensors"
        shutil.copy(cls.older / "checkpoints/best.safetensors", cls.newer)
        make_run_as_first_written(cls.older)

    def test_model_files(self):
        older = self.older / "checkpoints/best.safetensors"
        self.assertEqual(set(metadata(older)), FIRST_METADATA - {"training", "step"})
        self.assertLess(set(metadata(older)), set(metadata(self.newer)))
        answers = [self.succeeds("predict", model, self.folder / "sample/validation", "--csv", "-")
                   for model in [older, self.older, self.newer]]
        self.assertEqual(answers, [answers[0]] * 3)
        for words in [["evaluate", older, "--data", self.validation_csv], ["inspect", older],
                      ["export", older, "--out", self.folder / "older.onnx"],
                      ["train", *self.data, "--out", self.folder / "from_older", "--epochs", 1, "--pretrained", older,
                       *QUICK]]:
            self.succeeds(*words)

    def test_runs(self):
        run = self.folder / "resumed"
        shutil.copytree(self.older, run)
        self.assertNotIn("resize", (run / "run.cfg").read_text())
        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        for name in ["last", "best"]:
            file = f"checkpoints/{name}.safetensors"
            self.assertEqual(tensors(run / file), tensors(self.whole / file), name)
        self.assertEqual([line.split(",")[:6] for line in (run / "metrics.csv").read_text().splitlines()],
                         [line.split(",")[:6] for line in (self.whole / "metrics.csv").read_text().splitlines()])
        first, second = rows(run / "metrics.csv")
        self.assertEqual((first["waited"], first["best"], first["train_loss_age"]), ("", "", ""))
        self.assertNotIn("", second.values())

    def test_newer_options_have_their_defaults(self):
        for words, says in [(["--resize", "crop"], "resize squash, requested is crop"),
                            (["--label-smoothing", "0.1"], "label_smoothing 0.0, requested is 0.1")]:
            self.assertIn(says, self.fails(1, "train", "--resume", "--out", self.older, "--epochs", 2, *words))


class Resizing(AppTest):
    """--resize is a property of the model: its file records the mode for all commands that use it."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "run"
        status, _, error = facet("train", *cls.data, "--out", cls.run_folder, "--resize", "crop", "--epochs", 1, *QUICK)
        assert status == 0, error

    def test_mode_is_recorded(self):
        self.assertIn("\nresize = crop\n", (self.run_folder / "run.cfg").read_text())
        for name in ["last", "best"]:
            self.assertEqual(metadata(self.run_folder / f"checkpoints/{name}.safetensors")["resize"], "crop")
        self.assertRegex(self.succeeds("inspect", self.run_folder), r"(?m)^ *resize: crop$")
        self.succeeds("export", self.run_folder, "--out", self.folder / "model.safetensors")
        self.assertEqual(metadata(self.folder / "model.safetensors")["resize"], "crop")
        self.succeeds("export", self.run_folder, "--out", self.folder / "model.onnx")
        self.assertIn(b"\x0a\x06resize\x12\x04crop", (self.folder / "model.onnx").read_bytes())

    def test_a_run_keeps_its_mode(self):
        error = self.fails(1, "train", "--resume", "--out", self.run_folder, "--epochs", 2, "--resize", "squash")
        self.assertIn("resize crop, requested is squash; a run to be resumed can't change it", error)
        again = self.folder / "again"
        self.succeeds("train", "--config", self.run_folder / "run.cfg", "--out", again)
        last = "checkpoints/last.safetensors"
        self.assertEqual(tensors(again / last), tensors(self.run_folder / last))

    def test_recorded_mode_is_applied(self):
        best = self.run_folder / "checkpoints/best.safetensors"
        squashing = self.folder / "squashing.safetensors"
        data = best.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + length])
        del header["__metadata__"]["crc32c"]
        header["__metadata__"]["resize"] = "squash"
        text = json.dumps(header).encode()
        squashing.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length:])
        for words in [["predict", "{}", self.folder / "sample/validation", "--csv", "-"],
                      ["evaluate", "{}", "--data", self.validation_csv, "--json"]]:
            answers = {self.succeeds(*[model if word == "{}" else word for word in words]).replace(str(model), "")
                       for model in [best, squashing]}
            self.assertEqual(len(answers), 2, words)

    def test_a_new_run_from_its_weights_has_its_own_mode(self):
        begun = self.folder / "begun"
        self.succeeds("train", *self.data, "--out", begun, "--epochs", 1, "--pretrained",
                      self.run_folder / "checkpoints/best.safetensors", *QUICK)
        self.assertEqual(metadata(begun / "checkpoints/last.safetensors")["resize"], "squash")

    def test_unknown_modes_are_refused(self):
        error = self.fails(2, "train", *self.data, "--out", self.folder / "none", "--resize", "pad", *QUICK)
        self.assertIn("--resize is 'pad'; allowed: squash, crop", error)


if __name__ == "__main__":
    unittest.main()
