"""facet train: a run and its folder, its options of recipe, shape and weights, and what a terminal shows.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_train.py [class]
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
from program import AppTest, QUICK, TrainedRunTest, rows, tensors


class Run(TrainedRunTest):
    """The folder of a run, and a run that repeats it from its config file."""

    def test_printed_lines(self):
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
        self.assertFalse((self.run_folder / "steps.csv").exists())

    def test_metrics(self):
        def columns(what):
            return [f"{what}_{head}" for head in ["age", "gender", "race"]]

        lines = rows(self.run_folder / "metrics.csv")
        self.assertEqual(list(lines[0]), [
            "epoch", "train_loss", "validation_loss", *columns("validation_accuracy"), "learning_rate", "images_per_s",
            "seconds", "peak_resident_bytes", "waited", "best", *columns("train_loss"), *columns("train_accuracy"),
            *columns("validation_loss"), "communication_waited"])
        self.assertEqual({row["communication_waited"] for row in lines}, {"0"})
        for row in lines:
            for what in ["train", "validation"]:
                by_head = sum(float(row[column]) for column in columns(f"{what}_loss"))
                self.assertAlmostEqual(by_head, float(row[f"{what}_loss"]), delta=0.02 * by_head)
        self.assertEqual(lines[0]["best"], "1")
        for row, line in zip(lines, (self.run_folder / "metrics.jsonl").read_text().splitlines()):
            epoch = json.loads(line)
            self.assertEqual(str(int(epoch["best"])), row["best"])
            for column, value in [("train_loss_age", epoch["train_loss_by_head"]["age"]),
                                  ("train_accuracy_race", epoch["train_accuracy"]["race"]),
                                  ("validation_loss_gender", epoch["validation_loss_by_head"]["gender"])]:
                self.assertEqual(float(row[column]), value)

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

    def test_a_run_that_was_moved(self):
        moved, again = self.folder / "moved", self.folder / "from moved"
        shutil.copytree(self.run_folder, moved)
        hidden = self.folder / "hidden"
        self.run_folder.rename(hidden)  # so that the moved run can only use its own files
        try:
            self.succeeds("train", "--config", moved / "run.cfg", "--out", again)
            self.assertIn(f"{moved} holds a run", self.fails(1, "train", "--config", moved / "run.cfg"))
            output = self.succeeds("train", "--resume", "--config", "run.cfg", "--out", ".", folder=moved)
            self.assertIn("nothing is left to train", output)
        finally:
            hidden.rename(self.run_folder)
        for name in ["checkpoints/last.safetensors", "checkpoints/best.safetensors"]:
            self.assertEqual(tensors(self.run_folder / name), tensors(again / name), name)

    def test_pipes_and_folders_in_place_of_files(self):
        for name, status in [("run.cfg", 2), ("tuning.json", 1), ("metrics.csv", 1), ("metrics.jsonl", 1),
                             ("checkpoints/last.safetensors", 1)]:
            for make in [os.mkfifo, os.mkdir]:
                with self.subTest((name, make)):
                    run = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "run"
                    shutil.copytree(self.run_folder, run)
                    (run / name).unlink()
                    make(run / name)
                    error = self.fails(status, "train", *self.data, *QUICK, "--drop-last", "--resume", "--epochs", 3,
                                       "--out", run, timeout=60)
                    self.assertIn(str(run / name), error)
        run = self.folder / "blocked"
        run.mkdir()
        for name in ["error.txt", "run.cfg"]:
            os.mkfifo(run / name)
        self.assertIn("run.cfg: is not a regular file",
                      self.fails(1, "train", *self.data, *QUICK, "--out", run, timeout=60))

    def test_a_folder_that_begins_with_a_dash(self):
        output = self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--out=-dash", folder=self.folder)
        self.assertIn("evaluate with: facet evaluate ./-dash --data ", output)
        self.assertIn("--config ./-dash/run.cfg", (self.folder / "-dash/run.cfg").read_text())
        self.succeeds("evaluate", "./-dash", "--data", self.validation_csv, folder=self.folder)


class NamedRecipe(AppTest):
    """--recipe: its options are those of a run unless they are given, and run.cfg records them."""

    def config(self, *words):
        run = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        self.succeeds("train", *self.data, *QUICK, *words, "--out", run)
        lines = [line for line in (run / "run.cfg").read_text().splitlines() if " = " in line]
        return run, dict(line.split(" = ", 1) for line in lines)

    def test_options(self):
        epochs = ["--epochs", 2, "--warmup-epochs", 0.5]
        run, config = self.config("--recipe", "faces", *epochs)
        self.assertNotIn("recipe", config)
        manual = " ".join(self.succeeds("train", "--help").split("--recipe ")[1].split("--model")[0].split())
        options = re.findall(r" --([a-z-]+) ([^ ]+)", manual.split(" short runs):")[1])
        self.assertGreater(len(options), 3)
        for name, value in options:
            self.assertEqual(config[name], {"epochs": "2", "warmup-epochs": "0.5"}.get(name, value), name)
        _, changed = self.config("--recipe", "faces", *epochs, "--lr", "0.5", "--schedule", "constant")
        self.assertEqual((changed["lr"], changed["schedule"]), ("0.5", "constant"))
        _, plain = self.config("--epochs", 2)
        self.assertEqual((plain["lr"], plain["schedule"]), ("1e-4", "constant"))
        _, unchanged = self.config("--recipe", "faces", *epochs, "--augment", "none")
        self.assertEqual((unchanged["schedule"], "affine" in unchanged), ("cosine", False))
        # Resumed, with the recipe or without, each is the run that it was.
        self.assertIn("nothing is left", self.succeeds("train", "--resume", "--recipe", "faces", "--out", run))
        run, _ = self.config("--epochs", 1)
        self.assertIn("nothing is left", self.succeeds("train", "--resume", "--recipe", "faces", "--out", run))
        file = self.folder / "of_recipe.cfg"
        file.write_text("recipe = faces\nschedule = step\n")
        _, configured = self.config("--config", file, *epochs)
        self.assertEqual((configured["schedule"], configured["lr"]), ("step", config["lr"]))

    def test_unknown(self):
        self.assertIn("--recipe is 'face'; allowed: faces; did you mean 'faces'?",
                      self.fails(2, "train", *self.data, "--recipe", "face"))
        self.assertIn("warmup_epochs is 1; 0 up to below the run's 1 epochs is allowed; some options are those of --recipe "
                      "faces", self.fails(2, "train", *self.data, "--recipe", "faces", "--epochs", 1))


class Recipe(AppTest):
    """Options of the training recipe: run.cfg records them, and a run from it has the same bits."""

    OPTIONS = ["--optimizer", "sgd", "--lr", "0.02", "--momentum", "0.8", "--nesterov", "--weight-decay", "0.001",
               "--no-bias-decay", "--lr-fan-in", "20", "--schedule", "cosine", "--warmup-epochs", "0.5",
               "--label-smoothing", "0.1", "--class-weights", "balanced", "--class-weights", "gender=1,2",
               "--head-weights", "age=2,race=0.5", "--accumulate", "2", "--clip-norm", "0.5",
               "--ema-decay", "0.9", "--patience", "5"]

    def weights(self, run):
        return tensors(run / "checkpoints/last.safetensors")

    def assert_average_is_the_recorded_one(self, run):
        """Without a best checkpoint, the average that last.safetensors names is used, and no other file beside it."""
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
                     "no-bias-decay = yes", "lr-fan-in = 20", "schedule = cosine", "warmup-epochs = 0.5",
                     "label-smoothing = 0.1", "class-weights = balanced", "class-weights = gender=1,2",
                     "head-weights = age=2,race=0.5", "accumulate = 2", "clip-norm = 0.5", "ema-decay = 0.9",
                     "patience = 5"]:
            self.assertIn(f"\n{line}\n", config)
        self.succeeds("train", "--config", first / "run.cfg", "--out", again)
        self.succeeds("train", *self.data, *QUICK, "--epochs", 2, "--out", plain)
        self.assertEqual(self.weights(first), self.weights(again))
        self.assertNotEqual(self.weights(first), self.weights(plain))
        self.assertIn("nothing is left to train", self.succeeds("train", "--resume", "--out", first))
        self.succeeds("evaluate", first, "--data", self.validation_csv, "--checkpoint", "last.average-6")
        self.assert_average_is_the_recorded_one(first)
        stopped = self.succeeds("train", *self.data, *QUICK, "--lr", "1e-12", "--patience", 1, "--out",
                                self.folder / "early")
        self.assertRegex(stopped, r"(?m)^note +stopped early: mean validation accuracy hasn't risen above [\d.]+ "
                                  r"since epoch \d+$")
        words = ["train", *self.data, *QUICK, "--out", self.folder / "none"]
        self.assertIn("has a head mood", self.fails(1, *words, "--head-weights", "mood=1"))
        self.assertIn("its 2 classes need one each: Male, Female",
                      self.fails(1, *words, "--class-weights", "gender=1,2,3"))
        error = self.fails(1, "train", "--resume", "--out", first, "--lr", "0.5")
        self.assertIn("requested is 0.5; a run to be resumed can't change it: a new run from its weights can, by "
                      f"--pretrained {first}/checkpoints/last.safetensors --out NEW", error)


class Size(AppTest):
    """--size HEIGHTxWIDTH in training and in the commands that use its model."""

    def test_commands(self):
        run = self.folder / "tall"
        words = [*self.data, *QUICK[2:], "--size", "64x48", "--out", run]
        output = self.succeeds("train", *words, "--epochs", 1)
        self.assertRegex(output, r"(?m)^model +reference at 64x48: [\d,]+ parameters$")
        self.assertIn("size = 64x48\n", (run / "run.cfg").read_text())
        self.assertIn("reference at 64x48\n", self.succeeds("inspect", run))
        self.assertIn("size 64x48, requested is 48x64",
                      self.fails(1, "train", "--resume", "--out", run, "--size", "48x64", "--epochs", 2))
        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        self.assertEqual([row["epoch"] for row in rows(run / "metrics.csv")], ["1", "2"])

        answers = self.folder / "answers.csv"
        self.succeeds("evaluate", run, "--data", self.validation_csv, "--predictions", answers)
        folder = self.validation_csv.parent
        photos = [folder / row["file"] for row in rows(answers)]
        lines = self.succeeds("predict", run, *photos, "--jsonl", "-").splitlines()
        for row, line in zip(rows(answers), map(json.loads, lines), strict=True):
            for head in ["age", "gender", "race"]:
                for name, share in line["heads"][head]["probabilities"].items():
                    self.assertAlmostEqual(share, float(row[f"{head}_probability_{name}"]), places=4)

    def test_summary(self):
        self.assertTrue(self.succeeds("summary", "--size", "64x48", "--batch", 1).startswith("reference at 64x48\n"))
        summaries = {size: json.loads(self.succeeds("summary", "--size", size, "--batch", 1, "--json"))
                     for size in ["64x48", "48x64", "64x64", "64"]}
        self.assertEqual([summary["size"] for summary in summaries.values()], ["64x48", "48x64", 64, 64])
        self.assertEqual(summaries["64x64"]["planned"], summaries["64"]["planned"])
        pools = {size: [layer["output"] for layer in summary["layers"] if layer["op"] == "max_pool"]
                 for size, summary in summaries.items()}
        self.assertEqual(pools["64x48"], [[64, 16, 12], [128, 8, 6], [256, 4, 3]])
        self.assertEqual(pools["48x64"], [[64, 12, 16], [128, 6, 8], [256, 3, 4]])


class Shape(AppTest):
    """A reference model of another shape: the command line, the model file, and the commands that read it."""

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
        self.assertIn('"alpha":true,"dropout":0.25,"features":12',
                      self.succeeds("inspect", self.folder / "weights.safetensors"))
        self.succeeds("predict", self.folder / "weights.safetensors", photo)

        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        self.assertRegex(self.fails(1, "train", "--resume", "--out", run, "--stem", 12),
                         r'last\.safetensors: the run was started with shape \{.*"stem":8\}, requested is '
                         r'\{.*"stem":12\}; a run to be resumed')
        self.assertRegex(self.fails(2, "train", "--resume", "--out", run, "--model", "resnet18"),
                         r"run\.cfg:\d+: stem needs --model reference")

    def test_pretrained(self):
        run, words = self.folder / "first", ["train", *self.data, *QUICK, "--epochs", 1]
        self.succeeds(*words, *self.SHAPE, "--out", run)
        weights = ["--pretrained", run / "checkpoints/last.safetensors"]
        output = self.succeeds(*words, *self.SHAPE[:-4], *weights, "--out", self.folder / "second")
        self.assertIn('newly initialised: "heads.age.hidden", "heads.age.logits", "heads.gender.hidden"', output)
        self.assertRegex(self.fails(1, *words, *weights, "--out", self.folder / "third"),
                         r"don't fit the model: .*; the file's metadata holds the shape of its model \(`shape`\)$")


class Pretrained(AppTest):
    """Runs that begin with the weights of a file, and runs with frozen parameters."""

    def test_pretrained_and_resumed(self):
        first, second = self.folder / "first", self.folder / "second"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--heads", "age,race", "--out", first)
        weights = self.folder / "weights.safetensors"
        shutil.copy(first / "checkpoints/last.safetensors", weights)
        words = ["train", *self.data, *QUICK, "--epochs", 1, "--heads", "gender,race", "--lr", "1e-12", "--out", second]
        output = self.succeeds(*words, "--pretrained", "weights.safetensors", folder=self.folder)
        self.assertRegex(output, r'(?m)^note +weights\.safetensors: \d+ tensors are loaded; not loaded: '
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
        self.assertIn("'blok1.*'; the names near it are 'stem.*', 'block1.*', 'block2.*', 'block3.*', 'heads.*'",
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
        self.assertIn("weights.pth: the file is a pickle that torch.save didn't write", self.fails(1, *words, weights))
        self.assertIn("nowhere.pth: can't be opened", self.fails(1, *words, "nowhere.pth"))
        with zipfile.ZipFile(weights, "w") as archive:
            archive.writestr("x/data.pkl", b"\x80\x02cos\nsystem\nX\x02\0\0\0id\x85R.")
        self.assertIn('holds an object of "os.system"; a state_dict', self.fails(1, *words, weights))


class Steps(AppTest):
    """--log-every: lines of steps, in the run's folder and for the user."""

    def test_lines(self):
        run = self.folder / "run"
        output = self.succeeds("train", *self.data, *QUICK, "--epochs", 2, "--log-every", 4, "--out", run)
        self.assertRegex(output, r"(?m)^epoch 2/2  step 8  33 %  loss [\d.]+  age [\d.]+%.* images/s  0:0\d left$")
        self.assertEqual(output.count("  step "), 3)
        self.succeeds("train", "--resume", "--out", run, "--epochs", 3)
        lines = rows(run / "steps.csv")
        self.assertEqual([(row["step"], row["epoch"], row["batch"]) for row in lines],
                         [("4", "1", "4"), ("8", "2", "2"), ("12", "2", "6"), ("16", "3", "4")])
        heads = ["age", "gender", "race"]
        self.assertEqual(list(lines[0]), ["step", "epoch", "batch", "loss", *(f"loss_{head}" for head in heads),
                                          *(f"accuracy_{head}" for head in heads), "learning_rate", "images_per_s"])
        steps = [json.loads(line) for line in (run / "steps.jsonl").read_text().splitlines()]
        self.assertEqual(len(steps), 4)
        for row, step in zip(lines, steps):
            for column, value in [("step", step["step"]), ("loss", step["loss"]),
                                  ("loss_race", step["loss_by_head"]["race"]),
                                  ("accuracy_gender", step["accuracy"]["gender"])]:
                self.assertEqual(float(row[column]), value)
            self.assertAlmostEqual(sum(step["loss_by_head"].values()), step["loss"], places=4)
        for make in [os.mkfifo, os.mkdir]:
            (run / "steps.csv").rename(run / "steps.csv.before")
            make(run / "steps.csv")
            self.assertIn("steps.csv: is not a regular file",
                          self.fails(1, "train", "--resume", "--out", run, "--epochs", 4, timeout=60))
            (run / "steps.csv").rename(run / f"steps.csv.{make.__name__}")
            (run / "steps.csv.before").rename(run / "steps.csv")
        self.succeeds("train", "--resume", "--out", run, "--epochs", 4)
        self.assertEqual([row["step"] for row in rows(run / "steps.csv")], ["4", "8", "12", "16", "20", "24"])


class TensorBoard(AppTest):
    """--tensorboard and --histograms: event files as TensorBoard reads them, by a reader of the test's own."""

    @staticmethod
    def crc(data):
        """The masked CRC-32C of bytes, bit by bit."""
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        crc ^= 0xFFFFFFFF
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    def records(self, file):
        data, place = file.read_bytes(), 0
        while place < len(data):
            [length] = struct.unpack_from("<Q", data, place)
            self.assertEqual(struct.unpack_from("<I", data, place + 8), (self.crc(data[place:place + 8]),))
            record = data[place + 12:place + 12 + length]
            self.assertEqual(struct.unpack_from("<I", data, place + 12 + length), (self.crc(record),))
            yield record
            place += length + 16

    @classmethod
    def fields(cls, message):
        """The fields of a Protocol Buffers message, as (number, value); groups don't occur."""
        place = 0

        def varint():
            nonlocal place
            value = shift = 0
            while True:
                byte, place = message[place], place + 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        while place < len(message):
            number, kind = divmod(varint(), 8)
            if kind == 0:
                yield number, varint()
                continue
            size = {1: 8, 5: 4}.get(kind) or varint()
            yield number, message[place:place + size]
            place += size

    def events(self, file):
        """Of each event its step, and the file's version, the scalars and histograms by tag, or "START"."""
        for record in self.records(file):
            event = dict(self.fields(record))
            step = event.get(2, 0)
            if 3 in event:
                yield step, event[3].decode()
            elif 7 in event:
                self.assertEqual(dict(self.fields(event[7])), {1: 1})
                yield step, "START"
            else:
                values = {}
                for _, value in self.fields(event[5]):
                    value = dict(self.fields(value))
                    if 2 in value:
                        [values[value[1].decode()]] = struct.unpack("<f", value[2])
                    else:
                        histogram = dict(self.fields(value[5]))
                        values[value[1].decode()] = [struct.unpack(f"<{len(histogram[n]) // 8}d", histogram[n])
                                                     for n in (3, 6, 7)]
                yield step, values

    def test_files_of_a_resumed_run(self):
        run = self.folder / "run"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 2, "--tensorboard", "--histograms", 5, "--out", run)
        self.succeeds("train", "--resume", "--out", run, "--epochs", 3)
        files = sorted(run.glob("events.out.tfevents.*"))
        self.succeeds("train", "--resume", "--out", run, "--epochs", 4, "--tensorboard=no")
        self.assertEqual(sorted(run.glob("events.out.tfevents.*")), files)
        self.assertEqual(len(files), 2)
        first, second = (list(self.events(file)) for file in files)
        for events, begin in [(first, 1), (second, 13)]:
            self.assertEqual(events[:2], [(0, "brain.Event:2"), (begin, "START")])
        values = [event for event in first + second if isinstance(event[1], dict)]
        steps = [(step, scalars) for step, scalars in values if "step/loss" in scalars]
        self.assertEqual([step for step, _ in steps], list(range(1, 19)))
        for _, scalars in steps:
            self.assertEqual(set(scalars), {"step/loss", "step/loss_age", "step/loss_gender", "step/loss_race",
                                            "step/learning_rate", "step/images_per_s"})
        epochs = [(step, scalars) for step, scalars in values if "loss/train" in scalars]
        self.assertEqual([step for step, _ in epochs], [6, 12, 18])
        for (_, scalars), row in zip(epochs, rows(run / "metrics.csv")[:3], strict=True):
            for tag, column in [("loss/train", "train_loss"), ("loss/validation", "validation_loss"),
                                ("loss_age/train", "train_loss_age"), ("accuracy_race/train", "train_accuracy_race"),
                                ("accuracy_gender/validation", "validation_accuracy_gender"),
                                ("loss_age/validation", "validation_loss_age"), ("learning_rate", "learning_rate"),
                                ("images_per_s", "images_per_s"), ("waited", "waited")]:
                self.assertAlmostEqual(scalars[tag], float(row[column]), delta=1e-3 * abs(float(row[column])), msg=tag)
            self.assertNotIn("communication_waited", scalars)
        histograms = [(step, tags) for step, tags in values if any(tag.startswith("weights/") for tag in tags)]
        self.assertEqual([step for step, _ in histograms], [5, 10, 15])
        data = (run / "checkpoints/last.safetensors").read_bytes()
        weights = {name for name in json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
                   if not name.endswith(("running_mean", "running_var", "num_batches_tracked", "__metadata__"))}
        for _, tags in histograms:
            self.assertEqual(set(tags), {f"{kind}/{name}" for kind in ["weights", "gradients"] for name in weights})
            for [number], limits, counts in tags.values():
                self.assertEqual(len(limits), len(counts))
                self.assertEqual(sum(counts), number)
                self.assertEqual(sorted(set(limits)), list(limits))

    def test_every_other_step(self):
        run = self.folder / "some"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--tensorboard", "--log-every", 2, "--out", run)
        [file] = run.glob("events.out.tfevents.*")
        self.assertEqual([step for step, values in self.events(file) if "step/loss" in values], [2, 4, 6])

    def test_without(self):
        self.assertIn("--histograms is 5; it needs --tensorboard",
                      self.fails(2, "train", *self.data, "--histograms", 5, "--out", self.folder / "none"))
        self.assertFalse((self.folder / "none").exists())
        run = self.folder / "plain"
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--out", run)
        self.assertEqual(list(run.glob("events*")), [])


class Profile(AppTest):
    """--profile-steps: where the time of steps goes, for the user and in the run's folder."""

    def test_table_and_file(self):
        run = self.folder / "run"
        words = [*self.data, *QUICK, "--epochs", 1]
        output = self.succeeds("train", *words, "--profile-steps", 2, "--out", run)
        self.assertRegex(output, r"(?m)^profile     2 steps of 8 images: [\d.]+ images/s\n"
                                 r"  +ms +% *\n(  +[\d.]+ +[\d.]+  [a-z ]+\n)+  +[\d.]+ +100\.0  step$")
        self.assertEqual(len(re.findall("(?m)^profile ", output)), 1)
        self.assertNotIn("communication", output)
        profile = json.loads((run / "profile.json").read_text())
        self.assertEqual((profile["steps"], profile["images"], profile["processes"]), (2, 8, 1))
        self.assertNotIn("communication", profile)
        self.assertLessEqual(sum(profile["seconds_by_kind"].values()) + profile["waited_seconds"], profile["seconds"])
        self.assertIn("profile-steps = 2\n", (run / "run.cfg").read_text())
        plain = self.folder / "plain"
        self.assertNotIn("\nprofile ", self.succeeds("train", *words, "--out", plain))
        self.assertFalse((plain / "profile.json").exists())
        last = "checkpoints/last.safetensors"
        self.assertEqual(tensors(run / last), tensors(plain / last))


class Tuning(AppTest):
    def test_measurements_are_reused_in_the_next_run(self):
        quick = [word for word in QUICK if word != "--no-tune"]
        quick += ["--epochs", "1", "--tuning-cache", self.folder / "cache"]
        self.assertIn("\ntuning ", self.succeeds("train", *self.data, *quick, "--out", self.folder / "first"))
        self.assertNotIn("\ntuning ", self.succeeds("train", *self.data, *quick, "--out", self.folder / "second"))

    def test_a_record_for_other_machines(self):
        """facet tune times all that a run needs, which then has its choices and adds none."""
        model = ["--size", 32, "--stem", 8, "--blocks", "8x1,16x1", "--hidden", 16]
        words = [*model, "--precision", "f32", "--threads", 1]
        fresh = ["--tuning-cache", "none"]
        record = self.folder / "record.json"
        output = self.succeeds("tune", *words, *fresh, "--batch=10", "--out", record)
        self.assertRegex(output, r"(?m)^tuned       [1-9]\d* primitives in 0:\d\d$")
        self.assertIn("for         batches of 10, 1 thread\n", output)
        run = self.folder / "from record"
        train = ["train", *self.data, *words, *fresh, "--epochs", 1, "--tuning-record", record]
        output = self.succeeds(*train, "--batch=10", "--out", run)
        self.assertNotIn("\ntuning ", output)
        self.assertNotIn(" lacks ", output)
        choices = json.loads(record.read_text())["choices"]
        # The smaller batches at the end of an epoch and of a validation have the full one's choices.
        self.assertLessEqual(choices.items(), json.loads((run / "tuning.json").read_text())["choices"].items())
        # Another batch size is timed by the run, which says so.
        output = self.succeeds(*train, "--batch=7", "--out", self.folder / "other")
        self.assertRegex(output, rf"(?m)^note        {record} lacks [1-9]\d* of the primitives that this run needs")
        shares = json.loads(self.succeeds("tune", *words, *fresh, "--batch=20", "--processes", 2, "--out", "-"))
        # A convolution's key names the format of its input, which is the choice of the one before, so that it may differ.
        formats = re.compile(r" from \S+")
        self.assertEqual({formats.sub("", key) for key in shares["choices"]}, {formats.sub("", key) for key in choices})
        self.assertIn("nowhere", self.fails(1, "tune", "--out", self.folder / "nowhere/record.json"))
        self.assertIn("--processes is '9'; a whole number from 1 to 8 is needed",
                      self.fails(2, "tune", "--batch", 8, "--processes", 9))

    def test_processes_that_tune_at_once(self):
        """As jobs do that share a home folder: the cache is whole whenever one reads it."""
        cache = self.folder / "shared"
        words = ["train", *self.data, "--size", 32, "--stem", 8, "--blocks", "8x1,16x1", "--hidden", 16, "--threads", 1,
                 "--precision", "f32", "--epochs", 1, "--tuning-cache", cache]
        jobs = [program.start(*words, "--batch", batch, "--out", self.folder / f"job-{batch}")
                for batch in (4, 6, 8, 12)]
        ends = [job.communicate(timeout=240) for job in jobs]
        for job, (output, error) in zip(jobs, ends):
            self.assertEqual((job.returncode, error), (0, ""))
            self.assertIn("\ntuning ", output)
            self.assertNotRegex(output, "ignored|cannot be kept")
        [file] = cache.iterdir()
        self.assertGreater(len(json.loads(file.read_text())["choices"]), 0)
        output = self.succeeds(*words, "--batch", 4, "--out", self.folder / "later")
        self.assertNotRegex(output, "ignored|cannot be kept")


class Terminal(AppTest):
    def shown(self, *words, width=120, **variables):
        """What a run on a terminal shows."""
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        process = subprocess.Popen([program.PROGRAM, "train", *map(str, self.data), *QUICK, "--epochs", "2", *words],
                                   stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm", **variables})
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
        return shown

    def test_progress_bar(self):
        shown = self.shown("--out", str(self.folder / "run"))
        self.assertRegex(shown, rb"\repoch 1/2 \[#*\.*\] [\d.]+ images/s  \d:\d\d left  loss [\d.]+  age \d+%  gender")
        self.assertRegex(shown, rb"\x1b\[Kepoch 2/2  training loss")
        self.assertNotIn(b"  step ", shown)

    def test_a_narrow_window(self):
        shown = self.shown("--out", str(self.folder / "narrow"), width=40)
        drawn = [line.split(b"\x1b[K")[0] for line in shown.split(b"\r") if line.startswith(b"epoch 1/2 ")]
        self.assertTrue(drawn)
        self.assertLess(max(map(len, drawn)), 40)

    def test_colours(self):
        shown = self.shown("--out", str(self.folder / "colours"))
        self.assertIn(b"\x1b[32mbest so far\x1b[0m", shown)
        self.assertIn(b"\x1b[33mnote\x1b[0m        ", shown)
        for name, variables in [("none", {"NO_COLOR": "1"}), ("dumb", {"TERM": "dumb"})]:
            shown = self.shown("--out", str(self.folder / name), **variables)
            self.assertIn(b"  best so far\r\n", shown)
            self.assertNotRegex(shown, rb"\x1b\[\d+m")
        self.assertIn(b"\x1b[32m", self.shown("--out", str(self.folder / "empty"), NO_COLOR=""))

    def test_quiet(self):
        self.assertEqual(self.shown("--out", str(self.folder / "quiet"), "--quiet"), b"")
        self.assertEqual(len(rows(self.folder / "quiet/metrics.csv")), 2)
        self.assertNotIn("quiet =", (self.folder / "quiet/run.cfg").read_text())
        self.assertIn("holds a run already", self.fails(1, "train", *self.data, "--quiet", "--out", self.folder / "quiet"))
        words = ["evaluate", self.folder / "quiet", "--data", self.data[1]]
        self.assertIn("waited for images", self.succeeds(*words))
        self.assertNotIn("waited for images", self.succeeds(*words, "--quiet"))
        answers = self.folder / "answers.csv"
        self.assertEqual(self.succeeds("predict", self.folder / "quiet", self.folder / "sample", "--csv", answers, "--quiet"), "")
        self.assertGreater(len(rows(answers)), 0)
        self.assertEqual(self.succeeds("synth", self.folder / "silent", "--train", 2, "--validation", 2, "--quiet"), "")
        self.assertNotIn("note", self.succeeds("inspect", self.data[1], "--quiet"))

    def test_verbose(self):
        output = self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--verbose", "--out", self.folder / "verbose")
        self.assertRegex(output, r"(?m)^start-up    [\d.]+ s: options [\d.]+, manifests [\d.]+, model [\d.]+, "
                                 r"primitives and memory [\d.]+, first step [\d.]+$")
        self.assertLess(output.index("start-up"), output.index("epoch 1/1"))

    def test_lines_of_steps_above_the_bar(self):
        shown = self.shown("--out", str(self.folder / "steps"), "--log-every", "3")
        self.assertRegex(shown, rb"\repoch 1/2 \[#*\.*\] [\d.]+ images/s")
        self.assertRegex(shown, rb"\r\x1b\[Kepoch 2/2  step 9  50 %  loss [^\r]* left\r\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
