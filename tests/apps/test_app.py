"""The program facet as a user meets it: manuals, errors, and what its commands do.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_app.py [class]
"""

import fcntl
import json
import os
import pathlib
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import termios
import unittest
import zipfile

import program
from program import AppTest, QUICK, facet, rows, start, tensors

COMMANDS = ["synth", "inspect", "summary", "train", "import", "evaluate", "predict", "export", "compare", "reproduce"]


class Manual(unittest.TestCase):
    def test_pages(self):
        for words in [["--help"], *[[name, "--help"] for name in COMMANDS]]:
            status, page, error = facet(*words)
            self.assertEqual((status, error), (0, ""), words)
            for part in ["Usage: facet ", "Examples:\n", "Exit status:\n"]:
                self.assertIn(part, page, words)
            self.assertLessEqual(max(map(len, page.splitlines())), 100, words)

    def test_all_commands_are_listed(self):
        page = facet("--help")[1]
        for name in COMMANDS:
            self.assertRegex(page, rf"(?m)^  {name}\b")

    def test_defaults_and_ways_to_ask(self):
        page = facet("train", "--help")[1]
        self.assertRegex(page, r"--batch N .*\(default: 64\)")
        self.assertIn("--drop-last", page)
        self.assertEqual(page, facet("help", "train")[1])
        self.assertEqual(page, facet("train", "--train", "x", "-h")[1])

    def test_version_names_what_the_build_has(self):
        first, *lines = facet("--version")[1].splitlines()
        self.assertRegex(first, r"^facet \d+\.\d+\.\d+$")
        features = dict(line.split("  ", 1) for line in lines)
        self.assertRegex(features["primitives"], r"^ *oneDNN \d+\.\d+\.\d+, threads of (OpenMP|oneTBB); \w+ on this CPU$")
        compiled, used = re.fullmatch(r" *(.*); (\w+) on this CPU", features["kernels"]).groups()
        self.assertIn(used, compiled.split(", "))
        self.assertRegex(features["image formats"], 
                         r"^ *JPEG \(libjpeg-turbo [\d.]+\), PNG \(libpng [\d.]+\), WebP \(libwebp [\d.]+\)$")


class Misuse(AppTest):
    """Every line that can't be taken: exit 2, one line, the nearest name."""

    def test_command_lines(self):
        cases = [
            (["trian"], "unknown command 'trian'; did you mean 'train'?"),
            (["xyzzy"], "facet --help lists them"),
            (["--vesion"], "did you mean '--version'?"),
            (["train"], "--train CSV is needed"),
            (["train", "--epoch", "3"], "facet train: unknown option '--epoch'; did you mean '--epochs'?"),
            (["train", "--epochs"], "--epochs needs a value"),
            (["train", "--train", "--epochs", "3"], "--train needs a value"),
            (["train", "--train", "a", "--train", "b"], "--train is given twice"),
            (["train", "--train", "x", "--drop-last=perhaps"], "--drop-last is 'perhaps'; yes and no are allowed"),
            (["train", "--drop-last="], "--drop-last needs a value (yes or no)"),
            (["train", "--drop-last", "no"], "'no' is not an option"),
            (["train", "--train", "x", "--validation", ""], "--validation needs a value"),
            (["train", "--train", "x", "--validation="], "--validation needs a value"),
            (["train", "a.csv"], "'a.csv' is not an option"),
            (["train", "-x"], "unknown option '-x'"),
            (["train", "--resume"], "--out"),
            (["train", "--config", "nowhere.cfg"], "nowhere.cfg"),
            (["evaluate"], "RUN_OR_MODEL is needed"),
            (["evaluate", "a"], "--data CSV is needed"),
            (["evaluate", "a", "b"], "'b'"),
            (["evaluate", "a", "--json"], "--data CSV is needed"),
            (["evaluate", "a", "--data", "d", "--json", "--json"], "--json is given twice"),
            (["evaluate", "a", "--data", "--json"], "--data needs a value"),
            (["predict", "a"], "at least one"),
            (["predict", "a", ""], "('') names nothing"),
            (["synth"], "DIR is needed"),
            (["synth", ""], "('') names nothing"),
            (["synth", "x", "--size", "1"], "from 32 to 2048"),
            (["summary", "--heads", "age"], "NAME=CLASSES"),
            (["summary", "--heads", "age=1"], "at least|from 2"),
            (["summary", "--heads", "age=2,age=3"], "--heads is 'age=2,age=3', which has age twice"),
            (["summary", "--size", "100"], "--size is 100: the reference model: size 100 found; a multiple of 16"),
            (["summary", "--model", "resnet34", "--stem", "8"], "--stem is of --model reference alone; the shape of resnet34"),
            (["summary", "--hidden", "mood=5"], "--hidden has a head mood; the heads are age, gender, race"),
            (["summary", "--dropout", "0.1,0.2"], "--dropout is '0.1,0.2', which has a value for all other heads twice"),
            (["summary", "--hidden", "age=1,age=2"], "--hidden is 'age=1,age=2', which has age twice"),
            (["summary", "--blocks", "64"], "--blocks has '64'; CHANNELSxBLOCKS is needed: 64x1"),
            (["summary", "--blocks", ",".join(["8x1"] * 14)], "--blocks has 14 blocks; 13 are allowed at most"),
            (["summary", "--blocks", "8x1,8x1,8x1,8x1,8x1"], "--size is 224: the reference model: size 224 found; a multiple of 64"),
            (["inspect"], "needed"),
        ]
        for words, message in cases:
            with self.subTest(words):
                self.assertRegex(self.fails(2, *words), re.escape(message) if "|" not in message else message)

    def test_bad_values_of_train(self):
        cases = [
            ("--epochs", "0"), ("--epochs", "3x"), ("--batch", "-1"), ("--lr", "0"), ("--lr", "nan"),
            ("--precision", "f16"), ("--threads", "-1"), ("--seed", "1.5"), ("--size", "100"), ("--model", "refernce"),
            ("--mean", "1,2"), ("--std", "1,0,1"), ("--bad-images", "skp"), ("--classes", "race"),
            ("--classes", "race=a,,b"), ("--heads", "age,,race"), ("--keep", "-1"), ("--checkpoint-minutes", "-1"),
            ("--optimizer", "rmsprop"), ("--betas", "0.9"), ("--betas", "0.9,1"), ("--eps", "0"), ("--momentum", "1"),
            ("--nesterov", "yes"), ("--weight-decay", "-1"), ("--schedule", "linear"), ("--warmup-epochs", "200"), ("--eta-min", "1"),
            ("--pct-start", "2"), ("--max-momentum", "1"), ("--base-momentum", "0.96"), ("--label-smoothing", "1"), ("--class-weights", "race"),
            ("--class-weights", "race=1,x"), ("--class-weights", "race=balancd"), ("--head-weights", "age"),
            ("--head-weights", "age=0"), ("--head-weights", "age=1,age=2"), ("--accumulate", "0"), ("--clip-norm", "-1"),
            ("--ema-decay", "1"), ("--patience", "-1"), ("--stem", "0"), ("--stem", "70000"), ("--blocks", "64x-1"),
            ("--blocks", "0x1"), ("--blocks", ",".join(["64x1"] * 14)), ("--hidden", "x"), ("--hidden", "=5"), ("--hidden", "age=0"),
            ("--dropout", "1"), ("--dropout", "beta:0.5"), ("--dropout", "race=alpha:-0.1"), ("--dropout", "mood=0.1"),
        ]
        for option, value in cases:
            with self.subTest([option, value]):
                self.fails(2, "train", "--train", self.train_csv, f"{option}={value}", folder=self.folder)
        self.assertIn("did you mean 'reference'?", self.fails(2, "train", "--train", "x", "--model", "refernce"))
        self.assertFalse((self.folder / "runs").exists())

    def test_config_files(self):
        cases = [
            ("epoch = 3", ":1: unknown option 'epoch'; did you mean 'epochs'?"),
            ("# fine\n\nepochs 3", ":3: 'epochs 3' isn't of the form"),
            ("epochs = x", ":1: epochs is 'x'"),
            ("epochs =", ":1: epochs has no value"),
            ("epochs = 1\nepochs = 2", ":2: epochs is given twice"),
            ("drop-last = perhaps", "yes and no are allowed"),
            ('out = "a', "aren't closed"),
            ('out = "a" b # c', ":1: 'b' follows the closing quote"),
            ("size = 17", ":1: size is 17"),
            ("config = other.cfg", "for the command line only"),
        ]
        config = self.folder / "bad.cfg"
        for text, message in cases:
            with self.subTest(text):
                config.write_text(text + "\n")
                self.assertIn(message, self.fails(2, "train", "--train", "x.csv", "--config", config))


class Failure(AppTest):
    """What can't be done: exit 1, one line."""

    def train(self, csv, *more):
        return self.fails(1, "train", "--train", csv, *QUICK, "--out", self.folder / "failed", *more)

    def write(self, name, text):
        file = self.folder / "sample" / name
        file.write_text(text)
        return file

    def test_bad_manifests(self):
        self.assertIn("nowhere.csv", self.train("nowhere.csv"))
        self.assertIn("file", self.train(self.write("no_file.csv", "picture,age\na.jpg,0-2\n")))
        first = self.train_csv.read_text().splitlines()[1].split(",")[0]
        unknown = self.write("unknown.csv", f"file,age,gender,race\n\n{first},0-2,Male,Martian\n")
        message = self.train(self.train_csv, "--validation", unknown)
        for part in ["unknown.csv", "3", "Martian", "Middle Eastern"]:
            self.assertIn(part, message)
        self.assertIn("mood", self.train(self.train_csv, "--heads", "age,mood"))
        self.assertFalse((self.folder / "failed").exists())

    def test_places_that_cannot_be_written(self):
        self.write("plain", "")
        blocked = self.folder / "sample/plain/run"
        self.assertIn(str(blocked), self.fails(1, "train", *self.data, *QUICK, "--out", blocked))
        self.assertIn(str(blocked), self.fails(1, "synth", blocked))

    def test_models_that_are_none(self):
        self.assertIn("doesn't exist", self.fails(1, "evaluate", "nowhere", "--data", self.train_csv))
        self.assertIn("isn't a run's folder", self.fails(1, "predict", self.folder / "sample", self.folder))
        fake = self.write("fake.safetensors", "no model")
        self.assertIn("fake.safetensors", self.fails(1, "inspect", fake))

    def test_one_file_for_two_outputs(self):
        output, link = self.folder / "p.csv", self.folder / "link"
        link.symlink_to("p.csv")
        fake = self.write("fake.safetensors", "no model")
        words = ["evaluate", fake, "--data", self.validation_csv]
        for more in [[f"--json={output}", "--predictions", output],
                     [f"--json={output}", "--predictions", link],
                     ["--predictions", self.validation_csv]]:
            with self.subTest(more):
                self.assertIn("are the same file", self.fails(2, *words, *more))

    def test_full_standard_output(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([program.PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertTrue(done.stderr.startswith("facet: "), done.stderr)


class Looking(AppTest):
    """summary and inspect."""

    def test_summary(self):
        self.assertIn("35,264,338", self.succeeds("summary", "--batch", 2))
        summary = json.loads(self.succeeds("summary", "--batch", 2, "--json"))
        self.assertEqual(summary["parameters"], 35264338)
        self.assertEqual(sum(layer["parameters"] for layer in summary["layers"]), 35264338)
        self.assertEqual(sum(layer["forward_flops"] for layer in summary["layers"]), summary["forward_flops"])
        self.assertGreater(summary["training_flops"], 2.5 * summary["forward_flops"])
        self.assertGreater(summary["planned_bytes"], 12 * 35264338)
        bigger = json.loads(self.succeeds("summary", "--batch", 4, "--json"))
        self.assertGreater(bigger["planned_bytes"], summary["planned_bytes"])
        saving = json.loads(self.succeeds("summary", "--batch", 4, "--save-memory", "--json"))
        self.assertLess(saving["planned"]["activations"], 0.8 * bigger["planned"]["activations"])
        self.assertEqual((saving["save_memory"], bigger["save_memory"]), (True, False))
        self.succeeds("summary", "--heads", "mood=5", "--size", 32, "--json", self.folder / "summary.json")
        mood = json.loads((self.folder / "summary.json").read_text())
        self.assertEqual([layer["output"] for layer in mood["layers"] if layer["name"] == "heads.mood.logits"], [[5]])
        resnet = self.succeeds("summary", "--model", "resnet34", "--heads", "label=1000", "--batch", 1, "--size", 64)
        self.assertIn("21,797,672", resnet)

    def test_primitives(self):
        small = ["summary", "--batch", 2, "--size", 32, "--tuning-cache", "none", "--primitives"]
        page = self.succeeds(*small)
        for part in ["block1.conv.forward", "convolution backward weights", "facet:batch_norm"]:
            self.assertIn(part, page)
        primitives = json.loads(self.succeeds(*small, "--json"))["primitives"]
        updates = [p["instruction"] for p in primitives if p["kind"] == "update"]
        self.assertIn("block1.conv.weight.update", updates)
        self.assertEqual(len(updates), len(set(updates)))

    def test_manifest(self):
        page = self.succeeds("inspect", self.train_csv)
        for part in ["48 images", "all there", "width 32 to 32", "more than 70", "Middle Eastern"]:
            self.assertIn(part, page)
        lines = self.train_csv.read_text().splitlines()
        gone = self.folder / "sample/gone.csv"
        gone.write_text("\n".join(["file,age", f"{lines[1].split(',')[0]},9-Mar", "gone.jpg,"]) + "\n")
        page = self.succeeds("inspect", gone)
        for part in ["1 of 2 missing", "line 3", "gone.jpg", "(no label)", "note "]:
            self.assertIn(part, page)


class Run(AppTest):
    """One run, from training to predictions."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "runs #1"  # a name that a config file must put into quotes
        status, cls.output, error = facet("train", *cls.data, *QUICK, "--drop-last", "--epochs", 2, "--out",
                                          cls.run_folder)
        assert status == 0, error

    def test_what_training_says(self):
        for part in ["48 images", "16 images", "age (9): 0-2", "precision   f32", "memory", "best.safetensors"]:
            self.assertIn(part, self.output)
        for epoch in [1, 2]:
            self.assertRegex(self.output,
                             rf"(?m)^epoch {epoch}/2  training loss .* validation loss .* age .*%.*images/s")
        self.assertNotIn("\r", self.output)

    def test_run_folder(self):
        for name in ["checkpoints/best.safetensors", "checkpoints/last.safetensors", "tuning.json", "run.cfg"]:
            self.assertTrue((self.run_folder / name).is_file(), name)
        self.assertEqual([row["epoch"] for row in rows(self.run_folder / "metrics.csv")], ["1", "2"])

    def test_repeated_from_its_config(self):
        config = self.run_folder / "run.cfg"
        self.assertIn("holds a run", self.fails(1, "train", "--config", config))
        again = self.folder / "again"
        self.succeeds("train", "--config", config, "--out", again, folder="/")
        for name in ["checkpoints/last.safetensors", "checkpoints/best.safetensors"]:
            self.assertEqual(tensors(self.run_folder / name), tensors(again / name), name)
        self.succeeds("train", "--config", config, "--out", self.folder / "saving", "--save-memory")
        self.assertIn("save-memory = yes\n", (self.folder / "saving/run.cfg").read_text())
        self.assertEqual(tensors(again / name), tensors(self.folder / "saving" / name))
        self.succeeds("train", "--config", config, "--out", self.folder / "other", "--seed", 1,
                      "--drop-last=no")
        self.assertIn("drop-last = no\n", (self.folder / "other/run.cfg").read_text())
        self.assertIn("seed = 1\n", (self.folder / "other/run.cfg").read_text())
        self.assertNotEqual(tensors(again / name), tensors(self.folder / "other" / name))

    def test_evaluation(self):
        predictions = self.folder / "answers.csv"
        tables = self.succeeds("evaluate", self.run_folder, "--data", self.validation_csv,
                               "--predictions", predictions, "--json", self.folder / "evaluation.json")
        for part in ["accuracy", "precision", "recall", "F1", "support", "Southeast Asian"]:
            self.assertIn(part, tables)
        result = json.loads((self.folder / "evaluation.json").read_text())
        for words in [[self.run_folder, "--data", self.validation_csv, "--json"],
                      ["--json", self.run_folder, "--data", self.validation_csv],
                      ["--data", self.validation_csv, "--json=-", self.run_folder]]:
            self.assertEqual(json.loads(self.succeeds("evaluate", *words)), result)
        answers = rows(predictions)
        self.assertEqual(len(answers), 16)
        for name, classes in [("age", 9), ("gender", 2), ("race", 7)]:
            head = result["heads"][name]
            self.assertEqual((len(head["classes"]), len(head["confusion"])), (classes, classes))
            self.assertEqual(sum(map(sum, head["confusion"])), 16)
            right = sum(row[name] == row[name + "_label"] for row in answers)
            self.assertEqual(head["accuracy"], right / 16)
            self.assertEqual(right, sum(head["confusion"][i][i] for i in range(classes)))
        row = answers[0]
        shares = {c: float(row["gender_probability_" + c]) for c in ["Male", "Female"]}
        self.assertAlmostEqual(sum(shares.values()), 1, places=5)
        self.assertEqual(row["gender"], max(shares, key=shares.get))
        self.assertIn("race_logit_Middle Eastern", row)
        last = self.succeeds("evaluate", self.run_folder, "--data", self.validation_csv, "--checkpoint", "last")
        self.assertIn("last.safetensors", last)

    def test_no_labels(self):
        bare = self.folder / "sample/no_labels.csv"
        files = [row["file"] for row in rows(self.validation_csv)]
        bare.write_text("\n".join(["file,age,race", *[file + ",,White" for file in files]]) + "\n")
        words = ["evaluate", self.run_folder, "--data", bare, "--json"]
        tables = self.succeeds(*words, self.folder / "no_labels.json")
        self.assertRegex(tables, r"(?m)^note .*no_labels\.csv: no labels for these heads of the model: age, gender$")
        self.assertRegex(tables, r"(?m)^head .*\nrace .* 16 +7\n\n")
        self.assertRegex(tables, r"(?m)^Black +\S+( %)? +- +\S+( %)? +0$")
        heads = json.loads((self.folder / "no_labels.json").read_text())["heads"]
        self.assertEqual(list(heads), ["race"])
        self.assertIsNotNone(heads["race"]["loss"])
        self.assertEqual([one["recall"] is None for one in heads["race"]["per_class"]],
                         [name != "White" for name in heads["race"]["classes"]])
        status, output, remarks = facet(*words)
        self.assertEqual((status, json.loads(output)["heads"]), (0, heads))
        self.assertIn("no labels for these heads of the model: age, gender", remarks)
        bare.write_text("\n".join(["file,age", *[file + "," for file in files]]) + "\n")
        self.assertIn("no image has a label\n", self.succeeds("evaluate", self.run_folder, "--data", bare))
        bare.write_text("\n".join(["file,mood", *[file + ",sad" for file in files]]) + "\n")
        self.assertIn("no column for any of the model's heads, age, gender, race; those that there are: mood",
                      self.fails(1, "evaluate", self.run_folder, "--data", bare))

    def test_outputs_that_are_no_plain_files(self):
        photo = next((self.folder / "sample").rglob("*.jpg"))
        (self.folder / "kept").mkdir()
        link = self.folder / "link.csv"
        link.symlink_to("kept/answers.csv")
        self.succeeds("predict", self.run_folder, photo, "--csv", link)
        self.assertTrue(link.is_symlink())
        self.assertEqual(len(rows(self.folder / "kept/answers.csv")), 1)
        self.assertEqual(os.listdir(self.folder / "kept"), ["answers.csv"])
        link.unlink()
        pipe = self.folder / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.succeeds("predict", self.run_folder, photo, "--csv", pipe)
        self.assertTrue(os.read(reader, 65536).startswith(b"file,age,"))
        os.close(reader)
        self.assertTrue(pipe.is_fifo())
        output = self.succeeds("predict", self.run_folder, photo, "--jsonl", "/proc/self/fd/1")
        self.assertEqual(json.loads(output)["file"], str(photo))
        self.assertIn("is a folder", self.fails(2, "predict", self.run_folder, photo, "--csv", self.folder / "kept"))

    def standard_output(self, *words):
        """Runs the program in a folder of its own, where no file may be left; returns its standard output's bytes."""
        empty = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run([program.PROGRAM, *map(str, words)], cwd=empty, capture_output=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(empty), [])
        return done.stdout

    def test_a_dash_is_standard_output(self):
        photos, file = self.folder / "sample/validation", self.folder / "dash"
        data = ["--data", self.validation_csv]
        for words in [["predict", self.run_folder, photos, "--csv"], ["predict", self.run_folder, photos, "--jsonl"],
                      ["evaluate", self.run_folder, *data, "--predictions"], ["evaluate", self.run_folder, *data, "--json"],
                      ["summary", "--size", 32, "--batch", 1, "--tuning-cache", "none", "--json"],
                      ["export", self.run_folder, "--format", "onnx", "--out"],
                      ["export", self.run_folder, "--format", "safetensors", "--out"]]:
            with self.subTest(words):
                self.succeeds(*words[:-1], f"{words[-1]}={file}")
                self.assertEqual(self.standard_output(*words, "-"), file.read_bytes())
        both = self.standard_output("predict", self.run_folder, photos, f"--csv={file}", "--jsonl", "-")
        self.assertEqual(len([json.loads(line) for line in both.splitlines()]), 16)
        self.assertIn("are the same file, -", self.fails(2, "predict", self.run_folder, photos, "--csv", "-", "--jsonl", "-"))
        self.assertIn("are the same file, -", self.fails(2, "evaluate", self.run_folder, *data, "--predictions=-", "--json"))
        self.assertIn("--format is needed", self.fails(2, "export", self.run_folder, "--out", "-"))

    def test_a_run_that_was_moved(self):
        moved, again = self.folder / "moved", self.folder / "from moved"
        shutil.copytree(self.run_folder, moved)
        hidden = self.folder / "hidden"
        self.run_folder.rename(hidden)  # what the config file names must be beside it
        try:
            self.succeeds("train", "--config", moved / "run.cfg", "--out", again)
            self.assertIn(f"{moved} holds a run", self.fails(1, "train", "--config", moved / "run.cfg"))
            self.assertIn("nothing was left", self.succeeds("train", "--resume", "--config", "run.cfg", "--out", ".", folder=moved))
        finally:
            hidden.rename(self.run_folder)
        for name in ["checkpoints/last.safetensors", "checkpoints/best.safetensors"]:
            self.assertEqual(tensors(self.run_folder / name), tensors(again / name), name)

    def test_pipes_and_folders_where_files_belong(self):
        for name, status in [("run.cfg", 2), ("tuning.json", 1), ("metrics.csv", 1), ("metrics.jsonl", 1),
                             ("checkpoints/last.safetensors", 1)]:
            for make in [os.mkfifo, os.mkdir]:
                with self.subTest((name, make)):
                    run = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "run"
                    shutil.copytree(self.run_folder, run)
                    (run / name).unlink()
                    make(run / name)
                    error = self.fails(status, "train", *self.data, *QUICK, "--drop-last", "--resume", "--epochs", 3, "--out", run,
                                       timeout=60)
                    self.assertIn(str(run / name), error)
        run = self.folder / "blocked"
        run.mkdir()
        for name in ["error.txt", "run.cfg"]:
            os.mkfifo(run / name)
        self.assertIn("run.cfg: is not a regular file", self.fails(1, "train", *self.data, *QUICK, "--out", run, timeout=60))

    def test_names_that_a_terminal_would_obey(self):
        folder = self.folder / "orders"
        folder.mkdir()
        photo = next((self.folder / "sample").rglob("*.jpg"))
        red = "\x1b[31mred"
        shutil.copy(photo, folder / f"{red}.jpg")
        shutil.copy(photo, folder / "plain.jpg")
        manifest = folder / "orders.csv"
        manifest.write_text(f"file,{red}\nplain.jpg,{red}\n{red}.jpg,b\n\x1b]0;gone.jpg,b\n")
        (folder / "bad.csv").write_text(f"file,age,gender,race\nplain.jpg,\x1b[1m,Male,White\n")
        config = folder / "orders.cfg"
        config.write_text(f"{red} = 1\n")
        run = folder / "run"
        for words in [["inspect", manifest],
                      ["train", "--train", manifest, *QUICK, "--epochs", 1, "--bad-images", "skip", "--out", run],
                      ["inspect", run], ["predict", run, folder], ["evaluate", run, "--data", manifest, "--bad-images", "skip"],
                      ["evaluate", run, "--data", manifest], ["evaluate", self.run_folder, "--data", folder / "bad.csv"],
                      ["predict", run, folder / f"{red}.csv"], ["train", "--train", manifest, "--config", config],
                      ["evaluate", run, "--data", manifest, "--json", folder / f"{red}/none"]]:
            with self.subTest(words):
                _, output, error = facet(*words)
                self.assertTrue("\\x1B" in output + error, output + error)
                self.assertNotIn("\x1b", output + error)

    def test_a_folder_that_begins_with_a_dash(self):
        output = self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--out=-dash", folder=self.folder)
        self.assertIn("look closer: facet evaluate ./-dash --data ", output)
        self.assertIn("--config ./-dash/run.cfg", (self.folder / "-dash/run.cfg").read_text())
        self.succeeds("evaluate", "./-dash", "--data", self.validation_csv, folder=self.folder)

    def test_predictions(self):
        photos = self.folder / "photos"
        (photos / "deeper").mkdir(parents=True)
        sources = sorted((self.folder / "sample").rglob("*.jpg"))[:3]
        for source, name in zip(sources, ["b.jpg", "a.JPEG", "deeper/c.Jpg"]):
            shutil.copy(source, photos / name)
        (photos / "notes.txt").write_text("no photograph")
        table = self.succeeds("predict", self.run_folder, photos, sources[0]).splitlines()
        self.assertRegex(table[0], r"^file +age +gender +race$")
        self.assertEqual([line.split(".")[0].split("/")[-1] for line in table[1:4]], ["a", "b", "c"])
        self.assertEqual(len(table), 5)
        self.succeeds("predict", self.run_folder / "checkpoints/best.safetensors", photos,
                      "--csv", self.folder / "p.csv", "--jsonl", self.folder / "p.jsonl")
        answers = rows(self.folder / "p.csv")
        self.assertEqual(list(answers[0])[:7], ["file", "age", "age_probability", "gender", "gender_probability",
                                                "race", "race_probability"])
        objects = [json.loads(line) for line in (self.folder / "p.jsonl").read_text().splitlines()]
        self.assertEqual([row["file"] for row in answers], [one["file"] for one in objects])
        for row, one in zip(answers, objects):
            self.assertEqual(row["race"], one["heads"]["race"]["class"])
            self.assertEqual(len(one["heads"]["age"]["probabilities"]), 9)

    def test_exports(self):
        onnx, weights = self.folder / "faces.onnx", self.folder / "weights.safetensors"
        self.assertRegex(self.succeeds("export", self.run_folder, "--out", onnx), r" as onnx, [\d,]+ parameters\n$")
        self.succeeds("export", self.run_folder, "--checkpoint", "last", "--out", weights)
        self.assertEqual(tensors(weights), tensors(self.run_folder / "checkpoints/last.safetensors"))
        self.succeeds("evaluate", weights, "--data", self.validation_csv)
        pixels = self.folder / "pixels"
        self.succeeds("export", self.run_folder, "--format", "onnx", "--input", "pixels", "--softmax", "--out", pixels)
        for file, words in [(onnx, [b"normalized", b"logits"]), (pixels, [b"pixels", b"probabilities"])]:
            for word in [*words, b"Latino_Hispanic", b"stem.conv.weight"]:
                self.assertIn(word, file.read_bytes())
        self.assertIn("--format is needed", self.fails(2, "export", self.run_folder, "--out", "faces"))
        self.assertIn("--softmax is of --format onnx alone",
                      self.fails(2, "export", self.run_folder, "--softmax", "--out", weights))
        self.assertIn("--torchvision is of --format safetensors alone",
                      self.fails(2, "export", self.run_folder, "--torchvision", "--out", onnx))
        self.assertIn("model 'reference' found; of torchvision's there are: resnet18",
                      self.fails(1, "export", self.run_folder, "--torchvision", "--out", self.folder / "none.safetensors"))
        self.assertFalse((self.folder / "none.safetensors").exists())
        self.assertIn("is the model itself", self.fails(2, "export", weights, "--out", weights))
        self.assertIn("/none/", self.fails(1, "export", self.run_folder, "--out", "/none/a.onnx"))

    def test_bad_photographs(self):
        photos = self.folder / "bad"
        photos.mkdir()
        good = next((self.folder / "sample").rglob("*.jpg"))
        shutil.copy(good, photos / "good.jpg")
        (photos / "empty.jpg").write_bytes(b"")
        output = self.folder / "bad.csv"
        self.assertIn("empty.jpg", self.fails(1, "predict", self.run_folder, photos, "--csv", output))
        self.assertFalse(output.exists())
        self.assertEqual([p for p in self.folder.iterdir() if p.name.startswith("bad.csv")], [])
        status, _, error = facet("predict", self.run_folder, photos, "nowhere.jpg", "--csv", output,
                                 "--bad-images", "skip")
        self.assertEqual(status, 0, error)
        self.assertIn("empty.jpg", error)
        self.assertIn("nowhere.jpg", error)
        self.assertEqual([pathlib.Path(row["file"]).name for row in rows(output)], ["good.jpg"])
        long = photos / ("x" * 300 + ".jpg")
        status, _, error = facet("predict", self.run_folder, long, photos, "--csv", output, "--bad-images", "skip")
        self.assertEqual(status, 0, error)
        self.assertIn("File name too long", error)
        self.assertIn("File name too long", self.fails(1, "predict", self.run_folder, long))
        manifest = photos / "long.csv"
        manifest.write_text(f"file,age\ngood.jpg,0-2\n{long.name},0-2\n")
        self.assertIn("1 of 2 missing", self.succeeds("inspect", manifest))
        self.fails_to_read_any(photos / "empty.jpg")
        status, table, _ = facet("predict", self.run_folder, photos / "empty.jpg")
        self.assertEqual((status, table), (1, ""))

    def test_links_to_folders(self):
        photos, elsewhere = self.folder / "linked", self.folder / "elsewhere"
        (photos / "b").mkdir(parents=True)
        (elsewhere / "deep").mkdir(parents=True)
        good = next((self.folder / "sample").rglob("*.jpg"))
        for file in [photos / "b/1.jpg", elsewhere / "2.jpg", elsewhere / "deep/3.jpg"]:
            shutil.copy(good, file)
        for link, target in [("a", "b"), ("z", elsewhere), ("y", elsewhere), ("b/up", ".."), ("b/self", "."),
                             ("gone", "nowhere"), ("b/circle", "circle")]:
            (photos / link).symlink_to(target)
        (elsewhere / "back").symlink_to(photos)
        output = self.folder / "linked.csv"
        self.succeeds("predict", self.run_folder, photos, "--csv", output)
        self.assertEqual([row["file"] for row in rows(output)],
                         [str(photos / file) for file in ["b/1.jpg", "y/2.jpg", "y/deep/3.jpg"]])

    def test_names_that_cannot_be_read(self):
        good = next((self.folder / "sample").rglob("*.jpg"))
        long = "x" * 300 + ".jpg"
        self.assertIn("can't be read: File name too long", self.fails(1, "predict", self.run_folder, long))
        status, table, error = facet("predict", self.run_folder, good, long, "--bad-images", "skip")
        self.assertEqual(status, 0, error)
        self.assertIn("File name too long", error)
        self.assertIn(good.name, table)

    def test_folders_that_may_not_be_read(self):
        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        who = {"preexec_fn": nobody} if os.geteuid() == 0 else {}
        closed = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, closed)
        shutil.copy(self.run_folder / "checkpoints/best.safetensors", closed)
        shutil.copy(next((self.folder / "sample").rglob("*.jpg")), closed)
        (closed / "none").mkdir(mode=0)
        closed.chmod(0o755)
        model = closed / "best.safetensors"
        try:
            status, _, error = facet("--version", **who)
        except OSError as error:
            self.skipTest(f"the program can't be run by another user: {error}")
        self.assertIn(f"{closed}/none can't be read: Permission denied", self.fails(1, "predict", model, closed, **who))
        status, output, error = facet("predict", model, closed, "--bad-images", "skip", **who)
        self.assertEqual((status, len(output.splitlines())), (0, 2), error)
        self.assertIn(f"facet: skipped: {closed}/none can't be read: Permission denied", error)
        status, output, error = facet("predict", model, closed / "none/a.jpg", closed, "--bad-images", "skip", **who)
        self.assertEqual((status, len(output.splitlines())), (0, 2), error)

    def fails_to_read_any(self, photo):
        status, _, error = facet("predict", self.run_folder, photo, "--bad-images", "skip")
        self.assertEqual(status, 1)
        self.assertIn("none of the images", error)

    def test_inspection(self):
        page = self.succeeds("inspect", self.run_folder)
        for part in ["reference at 16x16", "Latino_Hispanic", "format: facet"]:
            self.assertIn(part, page)


class Recipe(AppTest):
    """Options of a recipe: they are kept in run.cfg, which gives the same bits again, also after a stop."""

    OPTIONS = ["--optimizer", "sgd", "--lr", "0.02", "--momentum", "0.8", "--nesterov", "--weight-decay", "0.001",
               "--no-bias-decay", "--schedule", "cosine", "--warmup-epochs", "0.5",
               "--label-smoothing", "0.1", "--class-weights", "balanced", "--class-weights", "gender=1,2",
               "--head-weights", "age=2,race=0.5", "--accumulate", "2", "--clip-norm", "0.5",
               "--ema-decay", "0.9", "--patience", "5"]

    def weights(self, run):
        return tensors(run / "checkpoints/last.safetensors")

    def assert_average_is_the_recorded_one(self, run):
        """Without a best checkpoint the average is meant that last.safetensors names, whatever lies beside it."""
        copy = self.folder / "no_best"
        shutil.copytree(run, copy)
        (copy / "checkpoints/best.safetensors").unlink()
        average = copy / "checkpoints/last.average-6.safetensors"
        for name in ["last.average-5.safetensors", "last.average-10.safetensors", "last.average-6.safetensors.tmp-7-0"]:
            (copy / "checkpoints" / name).write_text("no model")
        self.assertIn(str(average), self.succeeds("evaluate", copy, "--data", self.validation_csv))
        average.unlink()
        self.assertIn(f"{average}: can't be opened", self.fails(1, "evaluate", copy, "--data", self.validation_csv))

    def test_repeated(self):
        first, again, plain = (self.folder / name for name in ["first", "again", "plain"])
        output = self.succeeds("train", *self.data, *QUICK, "--epochs", 2, *self.OPTIONS, "--out", first)
        self.assertRegex(output, r"(?m)^note +balanced weights of race: White [\d.]+, Black ")
        self.assertNotIn("balanced weights of gender", output)
        config = (first / "run.cfg").read_text()
        for line in ["optimizer = sgd", "lr = 0.02", "momentum = 0.8", "nesterov = yes", "weight-decay = 0.001",
                     "no-bias-decay = yes", "schedule = cosine", "warmup-epochs = 0.5",
                     "label-smoothing = 0.1", "class-weights = balanced", "class-weights = gender=1,2",
                     "head-weights = age=2,race=0.5", "accumulate = 2", "clip-norm = 0.5", "ema-decay = 0.9",
                     "patience = 5"]:
            self.assertIn(f"\n{line}\n", config)
        self.succeeds("train", "--config", first / "run.cfg", "--out", again)
        self.succeeds("train", *self.data, *QUICK, "--epochs", 2, "--out", plain)
        self.assertEqual(self.weights(first), self.weights(again))
        self.assertNotEqual(self.weights(first), self.weights(plain))
        self.assertIn("nothing was left", self.succeeds("train", "--resume", "--out", first))
        self.succeeds("evaluate", first, "--data", self.validation_csv, "--checkpoint", "last.average-6")
        self.assert_average_is_the_recorded_one(first)
        stopped = self.succeeds("train", *self.data, *QUICK, "--lr", "1e-12", "--patience", 1, "--out", self.folder / "early")
        self.assertRegex(stopped, r"(?m)^note +stopped early: mean validation accuracy hasn't risen above [\d.]+ since epoch \d+$")
        words = ["train", *self.data, *QUICK, "--out", self.folder / "none"]
        self.assertIn("has a head mood", self.fails(1, *words, "--head-weights", "mood=1"))
        self.assertIn("its 2 classes need one each: Male, Female",
                      self.fails(1, *words, "--class-weights", "gender=1,2,3"))
        error = self.fails(1, "train", "--resume", "--out", first, "--lr", "0.5")
        self.assertIn("requested is 0.5; a run to be resumed can't change it: a new run from its weights can, by "
                      f"--pretrained {first}/checkpoints/last.safetensors --out NEW", error)


class Shape(AppTest):
    """A reference model of another shape: from the command line to its file, and all that reads it."""

    SHAPE = ["--stem", 8, "--blocks", "16x0,24x2", "--hidden", "20,age=12", "--dropout", "age=alpha:0.25,0.1"]

    def test_summary(self):
        summary = json.loads(self.succeeds("summary", *self.SHAPE, "--size", 24, "--batch", 1, "--json"))
        outputs = {layer["name"]: layer["output"] for layer in summary["layers"]}
        self.assertEqual(outputs["stem.conv"], [8, 12, 12])
        self.assertEqual(outputs["block2.residual.1.conv2"], [24, 3, 3])
        self.assertNotIn("block1.residual.0.conv1", outputs)
        self.assertEqual((outputs["heads.age.hidden"], outputs["heads.race.hidden"]), ([12], [20]))
        self.assertIn("heads.age.alpha_dropout", outputs)
        self.assertIn("heads.race.dropout", outputs)
        self.assertEqual(summary["shape"], {
            "stem": 8, "blocks": [{"channels": 16, "residual_blocks": 0}, {"channels": 24, "residual_blocks": 2}],
            "hidden": {"age": {"features": 12, "dropout": 0.25, "alpha": True},
                       **{head: {"features": 20, "dropout": 0.1, "alpha": False} for head in ["gender", "race"]}}})
        papers = ["--stem", 64, "--blocks", "64x1,128x1,256x2", "--hidden", "256,gender=128",
                  "--dropout", "0.5,race=alpha:0.5"]
        for words in [papers, ["--hidden", "age=256"], ["--dropout", "race=alpha:0.5"]]:
            paper = json.loads(self.succeeds("summary", *words, "--batch", 1, "--json"))
            self.assertEqual((paper["parameters"], paper.get("shape")), (35264338, None))

    def test_run(self):
        run, again = self.folder / "run", self.folder / "again"
        self.succeeds("train", *self.data, *QUICK, *self.SHAPE, "--epochs", 1, "--out", run)
        config = (run / "run.cfg").read_text()
        for line in ["stem = 8", "blocks = 16x0,24x2", "hidden = 20,age=12", "dropout = age=alpha:0.25,0.1"]:
            self.assertIn(f"\n{line}\n", config)
        last = "checkpoints/last.safetensors"
        self.succeeds("train", "--config", run / "run.cfg", "--out", again)
        self.assertEqual(tensors(run / last), tensors(again / last))

        photo = next((self.folder / "sample").rglob("*.jpg"))
        self.succeeds("evaluate", run, "--data", self.validation_csv)
        self.succeeds("predict", run, photo)
        self.succeeds("export", run, "--out", self.folder / "faces.onnx")
        self.succeeds("export", run, "--checkpoint", "last", "--out", self.folder / "weights.safetensors")
        self.assertEqual(tensors(run / last), tensors(self.folder / "weights.safetensors"))
        self.assertIn('"alpha":true,"dropout":0.25,"features":12', self.succeeds("inspect", self.folder / "weights.safetensors"))
        self.succeeds("predict", self.folder / "weights.safetensors", photo)

        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        self.assertRegex(self.fails(1, "train", "--resume", "--out", run, "--stem", 12),
                         r'last\.safetensors: the run was started with shape \{.*"stem":8\}, requested is \{.*"stem":12\}; a run to be resumed')
        self.assertRegex(self.fails(2, "train", "--resume", "--out", run, "--model", "resnet18"),
                         r"run\.cfg:\d+: stem is of --model reference alone")

    def test_pretrained(self):
        run, words = self.folder / "first", ["train", *self.data, *QUICK, "--epochs", 1]
        self.succeeds(*words, *self.SHAPE, "--out", run)
        weights = ["--pretrained", run / "checkpoints/last.safetensors"]
        output = self.succeeds(*words, *self.SHAPE[:-4], *weights, "--out", self.folder / "second")
        self.assertIn('newly initialised: "heads.age.hidden", "heads.age.logits", "heads.gender.hidden"', output)
        self.assertRegex(self.fails(1, *words, *weights, "--out", self.folder / "third"),
                         r"doesn't fit the model: .*; the file's metadata tell the shape of its own$")


class Pretrained(AppTest):
    """A run that begins with another's weights."""

    def test_begun_and_resumed(self):
        first, second = self.folder / "first", self.folder / "second"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--heads", "age,race", "--out", first)
        weights = self.folder / "weights.safetensors"
        shutil.copy(first / "checkpoints/last.safetensors", weights)
        words = ["train", *self.data, *QUICK, "--epochs", 1, "--heads", "gender,race", "--lr", "1e-12", "--out", second]
        output = self.succeeds(*words, "--pretrained", "weights.safetensors", folder=self.folder)
        self.assertRegex(output, r'(?m)^note +weights\.safetensors: \d+ tensors are taken; left out of it: '
                                 r'"heads\.age\.hidden", "heads\.age\.logits"; newly initialised: '
                                 r'"heads\.gender\.hidden", "heads\.gender\.logits"$')
        self.assertIn(f"\npretrained = {weights}\n", (second / "run.cfg").read_text())
        weights.unlink()
        self.succeeds("train", "--resume", "--out", second, "--epochs", 2)

    def test_frozen(self):
        words = ["train", *self.data, *QUICK, "--epochs", 1]
        patterns = ["--freeze", "stem.*", "--freeze", "block[12].*"]
        run, again = self.folder / "frozen", self.folder / "frozen again"
        output = self.succeeds(*words, *patterns, "--out", run)
        self.assertRegex(output, r"(?m)^model +reference at 16x16: [\d,]+ parameters, [\d,]+ of them frozen$")
        self.assertIn("\nfreeze = stem.*\nfreeze = block[12].*\n", (run / "run.cfg").read_text())
        self.succeeds("train", "--config", run / "run.cfg", "--out", again)
        self.assertEqual(tensors(run / "checkpoints/last.safetensors"), tensors(again / "checkpoints/last.safetensors"))
        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        self.assertIn("'blok1.*'; there are 'stem.*', 'block1.*', 'block2.*', 'block3.*', 'heads.*'",
                      self.fails(2, *words, "--freeze", "blok1.*", "--out", self.folder / "none"))
        self.assertFalse((self.folder / "none").exists())

    def test_frozen_summary(self):
        words = ["summary", "--model", "resnet18", "--size", 32, "--batch", 2]
        whole = json.loads(self.succeeds(*words, "--json"))
        frozen = json.loads(self.succeeds(*words, "--freeze", "layer*", "--json"))
        self.assertEqual(whole["parameters"], frozen["parameters"])
        self.assertEqual((whole["frozen"], frozen["frozen"]), (0, 11166976))
        self.assertLess(frozen["training_flops"], whole["training_flops"])
        self.assertLess(frozen["planned"]["parameters"], whole["planned"]["parameters"] / 2)
        self.assertIn("11,166,976 of them frozen", self.succeeds(*words, "--freeze", "layer*"))

    def test_refused(self):
        weights = self.folder / "weights.pth"
        weights.write_bytes(b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.")
        words = ["train", *self.data, *QUICK, "--out", self.folder / "none", "--pretrained"]
        self.assertIn("weights.pth: is a pickle that torch.save didn't write", self.fails(1, *words, weights))
        self.assertIn("nowhere.pth: can't be opened", self.fails(1, *words, "nowhere.pth"))
        with zipfile.ZipFile(weights, "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.")
        self.assertIn('holds an object of "os.system", not a state_dict', self.fails(1, *words, weights))


class Comparing(AppTest):
    def setUp(self):
        self.ours = self.folder / "ours.json"
        self.ours.write_text(json.dumps({
            "framework": "facet", "model": "reference", "mode": "training", "precision": "bf16", "batch": 64, "threads": 2,
            "images_per_s": {"median": 60.0, "min": 59.0, "max": 61.5}, "peak_resident_bytes": 1200 << 20,
            "machine": {"cpu": "A CPU"}}, indent=1))
        self.theirs = self.folder / "theirs.json"
        self.theirs.write_text("\n".join(json.dumps({"framework": "PyTorch", "dtype": dtype, "images_per_s": rate,
                                                      "peak_rss_mib": 2044}) for dtype, rate in (("bf16", 30.0), ("f32", 15))))

    def test_results_stand_side_by_side(self):
        lines = self.succeeds("compare", self.ours, self.theirs, "--price", "ours=2/h", "--price", "theirs#2=0.5/h").splitlines()
        self.assertEqual(len(lines), 4)
        for line, cells in zip(lines[1:], (["ours", "facet", "A CPU", "60.00", "59.0 - 61.5", "1.000", "1200", "108000"],
                                           ["theirs", "PyTorch", "bf16", "30.00", "0.500", "2044"],
                                           ["theirs#2", "f32", "15.00", "0.250", "108000"])):
            for cell in cells:
                self.assertIn(cell, line)

    def test_what_is_no_result_is_named_with_its_line(self):
        bad = self.folder / "bad.json"
        for text, words in (("", "no result"), ("{}", "images_per_s"), ('{"images_per_s": 1}\n{"images_per_s": 0}', ":2: "),
                            ('{"images_per_s": 1}\nnonsense', ":2: no JSON"), ("[]", "object"),
                            ('{"images_per_s": 1, "batch": "many"}', "batch")):
            bad.write_text(text)
            self.assertIn(words, self.fails(1, "compare", self.ours, bad))
        self.assertIn("missing.json", self.fails(1, "compare", self.folder / "missing.json"))

    def test_prices_that_mean_nothing_are_refused(self):
        for price in ("ours", "ours=2", "ours=x/h", "ours=-1/h", "=2/h", "others=2/h"):
            self.assertIn("--price", self.fails(2, "compare", self.ours, "--price", price))
        self.fails(2, "compare")


class Tuning(AppTest):
    def test_what_was_timed_is_kept_for_the_next_run(self):
        quick = [word for word in QUICK if word != "--no-tune"] + ["--epochs", "1", "--tuning-cache", self.folder / "cache"]
        self.assertIn("\ntuning ", self.succeeds("train", *self.data, *quick, "--out", self.folder / "first"))
        self.assertNotIn("\ntuning ", self.succeeds("train", *self.data, *quick, "--out", self.folder / "second"))


class Terminal(AppTest):
    def test_progress_bar(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        process = subprocess.Popen([program.PROGRAM, "train", *map(str, self.data), *QUICK, "--epochs", "2", "--out",
                                    str(self.folder / "run")], stdout=theirs, stderr=theirs,
                                   env={**os.environ, "TERM": "xterm"})
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            shown += piece
        os.close(ours)
        self.assertEqual(process.wait(), 0, shown)
        self.assertRegex(shown, rb"\repoch 1/2 \[#*\.*\] [\d.]+ images/s  \d:\d\d left  loss [\d.]+  age \d+%  gender")
        self.assertRegex(shown, rb"\x1b\[Kepoch 2/2  training loss")


if __name__ == "__main__":
    unittest.main(verbosity=2)
