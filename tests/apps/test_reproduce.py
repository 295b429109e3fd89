"""facet reproduce table1: its table, resuming, and errors.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_reproduce.py [class]
"""

import json
import os
import shutil
import signal
import time
import unittest

from program import AppTest, QUICK, facet, read_until, rows, start, tensors

MODELS = ["reference", "resnet34", "densenet161", "alexnet", "mobilenet_v2"]
TWO = ["reference", "mobilenet_v2"]  # the other models are too large for a test, or need images larger than 16x16
EPOCHS = 20  # of runs that are stopped; enough that a signal arrives before the end


class Reproduction(AppTest):
    """A test with a folder `whole`, which has the table of two models."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.folder / "whole"
        status, cls.output, error = facet(*cls.words(cls.whole))
        assert status == 0, error

    @classmethod
    def words(cls, out, epochs=2, models=TWO, data=None):
        return ["reproduce", "table1", "--data", data or cls.folder / "sample", "--out", out, "--epochs", epochs,
                "--models", ",".join(models), *QUICK]

    def table(self, out):
        """The rows of table1.json by model."""
        table = json.loads((out / "table1.json").read_text())
        self.assertEqual([row["model"] for row in table["models"]], MODELS)
        return {row["model"]: row for row in table["models"]}

    def deterministic_results(self, out, models=TWO):
        """These models' rows without what depends on time and memory, and their weights."""
        timed = ["images_per_s", "peak_resident_bytes", "hours"]
        table = self.table(out)
        return ([{key: value for key, value in table[model].items() if key not in timed} for model in models],
                [tensors(out / model / "checkpoints/last.safetensors") for model in models])


class Table(Reproduction):
    """The contents of a finished table."""

    def test_table(self):
        whole = json.loads((self.whole / "table1.json").read_text())
        for key, value in {"table": "table1", "optimizer": "adam", "learning_rate": 1e-4, "batch": 8, "epochs": 2,
                           "size": 16, "resize": "squash", "seed": 0, "checkpoint": "best"}.items():
            self.assertEqual(whole[key], value, key)
        table = self.table(self.whole)
        for model in TWO:
            row = table[model]
            epochs = [json.loads(line) for line in (self.whole / model / "metrics.jsonl").read_text().splitlines()]
            self.assertEqual((row["status"], row["failure"], row["epochs"], row["precision"], row["save_memory"]),
                             ("trained", None, 2, "f32", False))
            self.assertEqual(row["accuracy"], epochs[row["best_epoch"] - 1]["validation_accuracy"])
            self.assertAlmostEqual(row["images_per_s"], sum(epoch["images_per_s"] for epoch in epochs) / 2, places=6)
            self.assertAlmostEqual(row["hours"], sum(epoch["seconds"] for epoch in epochs) / 3600)
            self.assertEqual(row["peak_resident_bytes"], max(epoch["peak_resident_bytes"] for epoch in epochs))
            self.assertGreater(row["peak_resident_bytes"], 16 * row["parameters"])  # weight, gradient, two moments
            summary = json.loads(self.succeeds("summary", "--model", model, "--size", 16, "--batch", 2, "--json"))
            self.assertEqual(row["parameters"], summary["parameters"])
            evaluated = json.loads(self.succeeds("evaluate", self.whole / model, "--data", self.validation_csv,
                                                 "--json"))
            self.assertEqual(row["accuracy"], {name: head["accuracy"] for name, head in evaluated["heads"].items()})
        self.assertEqual(table["alexnet"]["status"], "not trained")
        self.assertIsNone(table["alexnet"]["accuracy"]["age"])
        self.assertEqual([table[model]["paper"]["parameters"] for model in MODELS],
                         [35_300_000, 21_800_000, 26_600_000, 61_100_000, 3_500_000])
        printed = {"reference": (0.563, 0.946, 0.584), "resnet34": (0.532, 0.909, 0.635),
                   "densenet161": (0.535, 0.908, 0.636), "alexnet": (0.445, 0.833, 0.543),
                   "mobilenet_v2": (0.419, 0.803, 0.475)}
        for model, accuracies in printed.items():
            self.assertEqual(table[model]["paper"]["accuracy"], dict(zip(["age", "gender", "race"], accuracies)), model)

    def test_csv_and_markdown(self):
        table = self.table(self.whole)
        cells = {row["model"]: row for row in rows(self.whole / "table1.csv")}
        self.assertEqual(list(cells), MODELS)
        self.assertEqual(float(cells["reference"]["accuracy_age"]), table["reference"]["accuracy"]["age"])
        self.assertEqual(cells["reference"]["paper_accuracy_race"], "0.584")
        self.assertEqual(cells["resnet34"]["status"], "not trained")
        self.assertEqual((cells["resnet34"]["accuracy_age"], cells["resnet34"]["paper_accuracy_age"]), ("", "0.532"))
        page = (self.whole / "table1.md").read_text()
        self.assertIn(page, self.output)
        lines = page.splitlines()
        self.assertEqual({line.count("|") for line in lines[:7]}, {lines[0].count("|")})
        self.assertRegex(lines[1], r"^\|-+\|(-+:\|)+(-+\|){2}$")
        self.assertRegex(lines[2], r"^\| reference +\| +[\d.]+ \| +56\.3 \| +[\d.]+ \| +94\.6 \|")
        self.assertRegex(lines[4], r"^\| densenet161 +\| +- \| +53\.5 \| +- \| +90\.8 \| +- \| +63\.6 \|.* 26\.6 \|"
                                   r".*not trained yet")
        self.assertIn("Densenet61", page)
        self.assertIn("trained and validated on FairFace's images can be compared with", page)

    def test_fairface_names(self):
        data = self.folder / "fairface"
        shutil.copytree(self.folder / "sample", data)
        (data / "train.csv").rename(data / "fairface_label_train.csv")
        (data / "validation.csv").rename(data / "fairface_label_val.csv")
        self.succeeds(*self.words(self.folder / "named", data=data))
        self.assertEqual(self.deterministic_results(self.folder / "named"), self.deterministic_results(self.whole))

    def test_named_columns(self):
        named = self.folder / "photos"
        named.mkdir()
        for name in ["train", "validation"]:
            (named / name).symlink_to(self.folder / "sample" / name)
            text = (self.folder / "sample" / f"{name}.csv").read_text()
            (named / f"{name}.csv").write_text(text.replace("file,", "photo,", 1))
        out = self.folder / "of photos"
        self.succeeds(*self.words(out, epochs=1, models=TWO[:1], data=named), "--file-column", "photo",
                      "--label-column", "gender")
        self.assertEqual(list(self.table(out)["reference"]["accuracy"]), ["gender"])
        self.assertIn("\nfile-column = photo\nlabel-column = gender\n", (out / "reference/run.cfg").read_text())

    def test_the_best_epoch_is_the_one_that_its_line_calls_the_best(self):
        out = self.folder / "best"
        shutil.copytree(self.whole, out)
        metrics = out / "mobilenet_v2/metrics.jsonl"
        epochs = [json.loads(line) for line in metrics.read_text().splitlines()]
        for accuracies, best, expected in [((0.5, 0.4), (True, True), 2), ((0.5, 0.4), (True, False), 1),
                                           ((0.5, 0.4), (None, True), 2), ((0.5, 0.4), (None, False), 1),
                                           ((0.5, 0.6), (None, None), 2), ((0.5, 0.5), (None, None), 1)]:
            with self.subTest((accuracies, best)):
                for epoch, accuracy, is_best in zip(epochs, accuracies, best):
                    epoch["validation_accuracy"] = {head: accuracy for head in epoch["validation_accuracy"]}
                    epoch.pop("best", None)
                    if is_best is not None:
                        epoch["best"] = is_best
                metrics.write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))
                self.succeeds(*self.words(out))
                row = self.table(out)["mobilenet_v2"]
                self.assertEqual(row["best_epoch"], expected)
                self.assertEqual(set(row["accuracy"].values()), {accuracies[expected - 1]})


class Resuming(Reproduction):
    """A table that was stopped, killed or made in parts and then resumed equals one made by a single command."""

    def test_finished_models_are_not_trained_again(self):
        before = self.deterministic_results(self.whole)
        output = self.succeeds(*self.words(self.whole))
        self.assertEqual(output.count("trained already: 2 epochs"), 2)
        self.assertNotIn("training loss", output)
        self.assertEqual(self.deterministic_results(self.whole), before)

    def test_models_one_by_one_and_more_epochs(self):
        out = self.folder / "parts"
        self.succeeds(*self.words(out, 1, ["mobilenet_v2"]))
        self.assertEqual(self.table(out)["reference"]["status"], "not trained")
        self.succeeds(*self.words(out, 2, ["reference"]))
        self.assertEqual(self.table(out)["mobilenet_v2"]["status"], "partly trained")
        self.assertIn("1 of 2 epochs so far", (out / "table1.md").read_text())
        self.succeeds(*self.words(out))
        self.assertEqual(self.deterministic_results(out), self.deterministic_results(self.whole))

    def stop(self, send, *words):
        """Stops a process during the first model by send(process); returns its exit status."""
        process = start(*words, start_new_session=True)
        self.addCleanup(process.kill)
        read_until(process.stdout, f"epoch 2/{EPOCHS}  training")
        send(process)
        process.communicate(timeout=120)
        return process.returncode

    def test_stopped_and_killed(self):
        once = self.folder / "once"
        self.succeeds(*self.words(once, EPOCHS))
        both, first = TWO, TWO[:1]
        ways = {"interrupt": (both, lambda process: process.send_signal(signal.SIGINT), 130),
                # As Ctrl-C in a terminal, which sends the signal to all processes of the group.
                "terminal": (first, lambda process: os.killpg(process.pid, signal.SIGINT), 130),
                "terminate": (first, lambda process: process.send_signal(signal.SIGTERM), 75),
                "kill": (first, lambda process: process.kill(), -signal.SIGKILL)}
        for name, (models, send, status) in ways.items():
            with self.subTest(name):
                out = self.folder / name
                self.assertEqual(self.stop(send, *self.words(out, EPOCHS, models)), status)
                if status in (75, 130):
                    self.assertEqual(self.table(out)["reference"]["status"], "partly trained")
                else:
                    time.sleep(0.5)  # the process that trains ends with its parent
                self.assertLess(len((out / "reference/metrics.jsonl").read_text().splitlines()), EPOCHS)
                self.assertFalse((out / "mobilenet_v2").exists())
                self.succeeds(*self.words(out, EPOCHS, models))
                self.assertEqual(self.deterministic_results(out, models), self.deterministic_results(once, models))


class Refusing(Reproduction):
    """Errors, and the files that remain after them."""

    def test_other_settings(self):
        words = self.words(self.whole)
        self.assertIn("the run has 2 epochs, but 1 are requested", self.fails(1, *self.words(self.whole, 1)))
        for option, value, message in [("--batch", 4, "batch 8, requested is 4"), ("--seed", 1, "seed 0"),
                                       ("--size", 32, "size 16x16, requested is 32x32"),
                                       ("--resize", "crop", "resize squash, requested is crop"),
                                       ("--precision", "bf16", "precision"), ("--heads", "age", "heads")]:
            with self.subTest(option):
                changed = list(words)
                if option in changed:
                    changed[changed.index(option) + 1] = value
                else:
                    changed += [option, value]
                error = self.fails(1, *changed)
                self.assertIn("whole/reference", error)
                self.assertIn(message, error)
        other = self.folder / "other"
        shutil.copytree(self.folder / "sample", other)
        lines = self.train_csv.read_text().splitlines()
        (other / "train.csv").write_text("\n".join(lines[:-1]) + "\n")
        self.assertIn("training images", self.fails(1, *self.words(self.whole, data=other)))

    def test_a_failure_leaves_the_other_models(self):
        out = self.folder / "failing"
        out.mkdir()
        (out / "reference").write_text("no folder")
        status, output, error = facet(*self.words(out))
        self.assertEqual(status, 1)
        self.assertTrue(error.splitlines()[-1].startswith("facet: 1 model failed: reference"), error)
        table = self.table(out)
        self.assertEqual((table["reference"]["status"], table["mobilenet_v2"]["status"]), ("failed", "trained"))
        self.assertRegex(output, r"(?m)^\| reference .*failed after 0 of 2 epochs: exit status 1 +\|$")
        (out / "reference").unlink()
        self.succeeds(*self.words(out))
        self.assertEqual(self.deterministic_results(out), self.deterministic_results(self.whole))

    def test_more_memory_than_available(self):
        data = self.folder / "many"
        data.mkdir()
        [picture, *_] = sorted((self.folder / "sample/train").iterdir())
        shutil.copy(picture, data / "a.jpg")
        (data / "train.csv").write_text("file,age,gender,race\n" + "a.jpg,0-2,Male,White\n" * 65536)
        (data / "val.csv").write_text("file,age,gender,race\na.jpg,0-2,Male,White\n")
        out = self.folder / "large"
        status, _, error = facet("reproduce", "table1", "--data", data, "--out", out, "--models", "mobilenet_v2",
                                 "--batch", 65536, "--precision", "f32", "--no-tune", "--threads", 1)
        self.assertEqual(status, 1, error)
        row = self.table(out)["mobilenet_v2"]
        self.assertEqual((row["status"], row["save_memory"], row["epochs"]), ("failed", True, 0))
        self.assertRegex(row["failure"], r"batch 65536 needs [\d.]+ GB of memory, [\d.]+ GB are available")
        self.assertIn(row["failure"], (out / "mobilenet_v2/error.txt").read_text())

    def test_missing_manifests(self):
        empty = self.folder / "empty"
        empty.mkdir()
        for folder, words in [(empty, "has no manifests"), (self.folder / "nowhere", "is not a folder")]:
            error = self.fails(1, *self.words(self.folder / "none", data=folder))
            for part in [str(folder), words, "fairface_label_train.csv and fairface_label_val.csv",
                         "train.csv and val.csv"]:
                self.assertIn(part, error)
        self.assertFalse((self.folder / "none").exists())
        blocked = self.train_csv / "out"
        self.assertIn(str(blocked), self.fails(1, *self.words(blocked)))

    def test_damaged_folders(self):
        run = self.folder / "damaged/mobilenet_v2"
        shutil.copytree(self.whole, run.parent)
        metrics = run / "metrics.jsonl"
        [first, second] = metrics.read_text().splitlines()
        for text, words in [(first, "1 epoch found; the run's checkpoint has 2"),
                            (f"{first}\n{second[:40]}", "metrics.jsonl:2: "),
                            (f"{first}\n[]", "metrics.jsonl:2: a JSON object is needed"),
                            (f"{first}\n" + second.replace('"seconds":', '"seconds":-'), "metrics.jsonl:2: `seconds`")]:
            with self.subTest(words):
                metrics.write_text(text + "\n")
                self.assertIn(words, self.fails(1, *self.words(run.parent)))
        metrics.write_text(f"{first}\n{second}\n")
        last = run / "checkpoints/last.safetensors"
        last.write_bytes(last.read_bytes()[:1000])
        self.assertIn("last.safetensors", self.fails(1, *self.words(run.parent)))

    def test_misuse(self):
        for words, message in [
                (["reproduce"], "table1 is needed"),
                (["reproduce", "table2", "--data", "x"], "'table2' can't be reproduced; allowed: table1"),
                (["reproduce", "table1"], "--data DIR is needed"),
                (["reproduce", "table1", "x", "--data", "x"], "unexpected argument 'x'"),
                (["reproduce", "table1", "--models", "alexne"], "did you mean 'alexnet'?"),
                (["reproduce", "table1", "--models", "resnet18"],
                 "--models has 'resnet18'; allowed: reference, resnet34"),
                (["reproduce", "table1", "--models", "alexnet,alexnet"], "--models has alexnet twice"),
                (["reproduce", "table1", "--data", self.folder / "sample", "--size", 32, "--models", "alexnet"],
                 "--size is 32: alexnet: height 32 found"),
                (["reproduce", "table1", "--epochs", 0], "--epochs is '0'"),
                (["reproduce", "table1", "--lr", 1], "unknown option '--lr'")]:
            with self.subTest(words):
                self.assertIn(message, self.fails(2, *words))


if __name__ == "__main__":
    unittest.main(verbosity=2)
