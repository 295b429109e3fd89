"""Commands that use a trained model: facet evaluate, predict and export, and facet inspect of a run.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_inference.py [class]
"""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import program
from program import QUICK, AppTest, TrainedRunTest, facet, rows, start, tensors


class Evaluation(TrainedRunTest):
    """facet evaluate: tables, JSON and predictions."""

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

    def test_heads_without_labels(self):
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
        lines = ["file,age,race", *[file + ",,White" for file in files], "missing.jpg,0-2,White"]
        bare.write_text("\n".join(lines) + "\n")
        tables = self.succeeds("evaluate", self.run_folder, "--data", bare, "--bad-images", "skip")
        self.assertRegex(tables, r"(?m)^note .*no_labels\.csv: all images with labels for these heads were skipped: "
                                 r"age$")
        self.assertRegex(tables, r"(?m)^head .*\nrace .* 16 +7\n\n")
        bare.write_text("\n".join(["file,age", *[file + "," for file in files]]) + "\n")
        self.assertIn("no images have labels\n", self.succeeds("evaluate", self.run_folder, "--data", bare))
        bare.write_text("\n".join(["file,mood", *[file + ",sad" for file in files]]) + "\n")
        self.assertIn("no column for any of the model's heads, age, gender, race; the columns are: mood",
                      self.fails(1, "evaluate", self.run_folder, "--data", bare))


class Prediction(TrainedRunTest):
    """facet predict on folders, links and damaged images."""

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

    def fails_to_read_any(self, photo):
        status, _, error = facet("predict", self.run_folder, photo, "--bad-images", "skip")
        self.assertEqual(status, 1)
        self.assertIn("no image could be read", error)

    def test_names_from_standard_input(self):
        photos = sorted((self.folder / "sample").rglob("*.jpg"))[:20]
        self.succeeds("predict", self.run_folder, *photos, "--jsonl", self.folder / "direct.jsonl")
        direct = [json.loads(line) for line in (self.folder / "direct.jsonl").read_text().splitlines()]
        # Each is answered before the next is asked.
        process = start("predict", self.run_folder, "-", "--batch", 4, stdin=subprocess.PIPE)
        answers = []
        for photo in photos[:3]:
            process.stdin.write(f"{photo}\n")
            process.stdin.flush()
            answers.append(json.loads(process.stdout.readline()))
        # Groups of several batches, of a power of two and of one image; an empty line; no line break at the end.
        process.stdin.write("\n".join(map(str, [*photos[3:9], "", *photos[9:]])))
        process.stdin.close()
        answers += [json.loads(line) for line in process.stdout]
        self.assertEqual((process.wait(60), process.stderr.read()), (0, ""))
        self.assertEqual([one["file"] for one in answers], list(map(str, photos)))
        for one, expected in zip(answers, direct):
            self.assertEqual(one["heads"].keys(), expected["heads"].keys())
            for head, answer in one["heads"].items():
                self.assertAlmostEqual(answer["probability"], expected["heads"][head]["probability"], places=5)
        process.stdout.close()
        process.stderr.close()
        names = "\0".join(map(str, photos))
        status, output, error = facet("predict", self.run_folder, "-", "--null", "--jsonl", "-", "--tta", "flip",
                                      input=names)
        self.assertEqual((status, error), (0, ""))
        self.assertEqual([json.loads(line)["file"] for line in output.splitlines()], list(map(str, photos)))
        self.assertEqual(facet("predict", self.run_folder, "-", input="\n"), (0, "", ""))

    def test_bad_names_from_standard_input(self):
        photo = str(next((self.folder / "sample").rglob("*.jpg")))
        names = f"{photo}\nnowhere.jpg\n{photo}\n{self.folder}\n"
        status, output, error = facet("predict", self.run_folder, "-", input=names)
        self.assertEqual((status, [json.loads(line)["file"] for line in output.splitlines()]), (1, [photo]))
        self.assertEqual(error, "facet: nowhere.jpg: no such file\n")
        status, output, error = facet("predict", self.run_folder, "-", "--bad-images", "skip", input=names)
        self.assertEqual((status, error), (0, ""))
        answers = [json.loads(line) for line in output.splitlines()]
        self.assertEqual([list(one) for one in answers], [["file", "heads"], ["file", "error"]] * 2)
        self.assertEqual(answers[1], {"file": "nowhere.jpg", "error": "nowhere.jpg: no such file"})
        status, output, error = facet("predict", self.run_folder, "-", "--bad-images", "skip", input="nowhere.jpg")
        self.assertEqual((status, output.count("\n"), error), (1, 1, "facet: no image could be read\n"))
        for words, message in [(["-", photo], "'-', which reads names from standard input, is allowed alone only"),
                               (["-", "--csv", "a.csv"], "--csv isn't allowed with '-'"),
                               (["-", "--jsonl", "a.jsonl"], "--jsonl isn't allowed with '-'"),
                               ([photo, "--null"], "--null is for names that are read from standard input")]:
            self.assertIn(message, self.fails(2, "predict", self.run_folder, *words))
        # An input that can't be read, and answers that nobody reads.
        with open(self.folder / "closed", "wb") as closed:
            self.assertIn("can't read standard input",
                          self.fails(1, "predict", self.run_folder, "-", stdin=closed))
        process = start("predict", self.run_folder, "-", "--batch", 1, stdin=subprocess.PIPE)
        process.stdout.close()
        process.stdin.write(f"{photo}\n")
        process.stdin.flush()
        self.assertEqual(process.wait(60), 141)
        process.stdin.close()
        process.stderr.close()

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

    def test_folders_without_read_permission(self):
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


class Output(TrainedRunTest):
    """Where the commands write their results, and how they print names."""

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
        self.assertIn("--softmax needs --format onnx",
                      self.fails(2, "export", self.run_folder, "--softmax", "--out", weights))
        self.assertIn("--torchvision needs --format safetensors",
                      self.fails(2, "export", self.run_folder, "--torchvision", "--out", onnx))
        self.assertIn("model 'reference' is not one of torchvision's; allowed: resnet18",
                      self.fails(1, "export", self.run_folder, "--torchvision", "--out",
                                 self.folder / "none.safetensors"))
        self.assertFalse((self.folder / "none.safetensors").exists())
        self.assertIn("is the model itself", self.fails(2, "export", weights, "--out", weights))
        self.assertIn("/none/", self.fails(1, "export", self.run_folder, "--out", "/none/a.onnx"))

    def test_outputs_to_links_pipes_and_folders(self):
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
        """Runs the program in an empty folder, which must stay empty; returns the bytes of its standard output."""
        empty = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run([program.PROGRAM, *map(str, words)], cwd=empty, capture_output=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(empty), [])
        return done.stdout

    def test_a_dash_means_standard_output(self):
        photos, file = self.folder / "sample/validation", self.folder / "dash"
        data = ["--data", self.validation_csv]
        for words in [["predict", self.run_folder, photos, "--csv"], ["predict", self.run_folder, photos, "--jsonl"],
                      ["evaluate", self.run_folder, *data, "--predictions"],
                      ["evaluate", self.run_folder, *data, "--json"],
                      ["summary", "--size", 32, "--batch", 1, "--tuning-cache", "none", "--json"],
                      ["export", self.run_folder, "--format", "onnx", "--out"],
                      ["export", self.run_folder, "--format", "safetensors", "--out"]]:
            with self.subTest(words):
                self.succeeds(*words[:-1], f"{words[-1]}={file}")
                self.assertEqual(self.standard_output(*words, "-"), file.read_bytes())
        both = self.standard_output("predict", self.run_folder, photos, f"--csv={file}", "--jsonl", "-")
        self.assertEqual(len([json.loads(line) for line in both.splitlines()]), 16)
        self.assertIn("are the same file, -",
                      self.fails(2, "predict", self.run_folder, photos, "--csv", "-", "--jsonl", "-"))
        self.assertIn("are the same file, -",
                      self.fails(2, "evaluate", self.run_folder, *data, "--predictions=-", "--json"))
        self.assertIn("--format is needed", self.fails(2, "export", self.run_folder, "--out", "-"))

    def test_inspection(self):
        page = self.succeeds("inspect", self.run_folder)
        for part in ["reference at 16x16", "Latino_Hispanic", "format: facet"]:
            self.assertIn(part, page)

    def test_control_characters_in_names_are_escaped(self):
        folder = self.folder / "escapes"
        folder.mkdir()
        photo = next((self.folder / "sample").rglob("*.jpg"))
        red = "\x1b[31mred"
        shutil.copy(photo, folder / f"{red}.jpg")
        shutil.copy(photo, folder / "plain.jpg")
        manifest = folder / "escapes.csv"
        manifest.write_text(f"file,{red}\nplain.jpg,{red}\n{red}.jpg,b\n\x1b]0;gone.jpg,b\n")
        (folder / "bad.csv").write_text("file,age,gender,race\nplain.jpg,\x1b[1m,Male,White\n")
        config = folder / "escapes.cfg"
        config.write_text(f"{red} = 1\n")
        run = folder / "run"
        for words in [["inspect", manifest],
                      ["train", "--train", manifest, *QUICK, "--epochs", 1, "--bad-images", "skip", "--out", run],
                      ["inspect", run], ["predict", run, folder],
                      ["evaluate", run, "--data", manifest, "--bad-images", "skip"],
                      ["evaluate", run, "--data", manifest],
                      ["evaluate", self.run_folder, "--data", folder / "bad.csv"],
                      ["predict", run, folder / f"{red}.csv"], ["train", "--train", manifest, "--config", config],
                      ["evaluate", run, "--data", manifest, "--json", folder / f"{red}/none"]]:
            with self.subTest(words):
                _, output, error = facet(*words)
                self.assertTrue("\\x1B" in output + error, output + error)
                self.assertNotIn("\x1b", output + error)


class Ordinal(AppTest):
    """A head of ordered classes from training to export, and test-time augmentation."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.run_folder = cls.folder / "run"
        status, cls.output, error = facet("train", *cls.data, *QUICK, "--ordinal", "age", "--epochs", 1, "--out",
                                          cls.run_folder)
        assert status == 0, error

    def evaluate(self, *options):
        return json.loads(self.succeeds("evaluate", self.run_folder, "--data", self.validation_csv, "--json",
                                        *options))["heads"]

    def test_training(self):
        self.assertRegex(self.output, r"(?m)^epoch 1/1 .* age within one class [0-9.]+%, MAE [0-9.]+ ")
        metrics = rows(self.run_folder / "metrics.csv")[0]
        head = self.evaluate("--checkpoint", "last")["age"]
        self.assertEqual(float(metrics["validation_within_one_age"]), head["within_one"])
        self.assertAlmostEqual(float(metrics["validation_mean_absolute_error_age"]), head["mean_absolute_error"])
        self.assertNotIn("validation_within_one_race", metrics)
        self.assertRegex(self.succeeds("inspect", self.run_folder), r"(?m)^  age \(9, ordinal\): 0-2, ")
        again = self.folder / "again"
        shutil.copytree(self.run_folder, again)
        self.assertIn("the run was started with ordinal age, requested is gender",
                      self.fails(1, "train", "--resume", "--out", again, "--epochs", 2, "--ordinal", "gender"))
        self.succeeds("train", "--resume", "--out", again, "--epochs", 2)

    def test_order_of_classes(self):
        manifest = self.folder / "sample/sizes.csv"
        names = [row["file"] for row in rows(self.train_csv)]
        sizes = ["small", "medium", "large"]
        manifest.write_text("file,size,count\n" + "".join(f"{name},{sizes[i % 3]},{i % 12}\n"
                                                          for i, name in enumerate(names)))
        words = ["train", "--train", manifest, *QUICK, "--epochs", 1, "--out", self.folder / "sizes"]
        self.assertIn("--ordinal has size, whose classes are in alphabetical order: large, medium, small; "
                      "--classes 'size=...' declares their order", self.fails(2, *words, "--ordinal", "size"))
        self.assertFalse((self.folder / "sizes").exists())
        output = self.succeeds(*words, "--ordinal", "size,count", "--classes", "size=small,medium,large")
        self.assertRegex(output, r"(?m)^  size \(3, ordinal\): small, medium, large$")
        self.assertRegex(output, r"(?m)^  count \(12, ordinal\): 0, 1, 2, ")
        self.succeeds("train", "--resume", "--out", self.folder / "sizes", "--epochs", 2)

    def test_evaluation(self):
        predictions = self.folder / "answers.csv"
        head = self.evaluate("--predictions", predictions)["age"]
        answers = rows(predictions)
        places = {name: place for place, name in enumerate(head["classes"])}
        errors = [abs(places[row["age"]] - places[row["age_label"]]) for row in answers]
        self.assertEqual(head["within_one"], sum(error <= 1 for error in errors) / 16)
        self.assertAlmostEqual(head["mean_absolute_error"], sum(errors) / 16)
        for row in answers:
            shares = [float(row["age_probability_" + name]) for name in places]
            logits = [float(row["age_logit_above_" + name]) for name in list(places)[:-1]]
            self.assertAlmostEqual(sum(shares), 1, places=5)
            self.assertGreaterEqual(min(shares), 0)
            self.assertEqual(logits, sorted(logits, reverse=True))
            self.assertEqual(places[row["age"]], sum(logit > 0 for logit in logits))
        self.assertNotIn("age_logit_above_more than 70", answers[0])
        tables = self.succeeds("evaluate", self.run_folder, "--data", self.validation_csv)
        self.assertRegex(tables, r"(?m)^head .* within one class +MAE$")
        self.assertRegex(tables, r"(?m)^gender .* - +-$")
        self.assertNotIn("within_one", self.evaluate()["race"])

    def test_views(self):
        plain = self.evaluate()
        for views in ["flip", "crops"]:
            heads = self.evaluate("--tta", views)
            self.assertNotEqual(heads["race"]["loss"], plain["race"]["loss"])
            self.assertEqual(json.loads(self.succeeds("evaluate", self.run_folder, "--data", self.validation_csv,
                                                      "--json", "--tta", views))["tta"], views)
            self.assertAlmostEqual(self.evaluate("--tta", views, "--batch", 5)["race"]["loss"], heads["race"]["loss"],
                                   places=4)
        photo = next((self.folder / "sample").rglob("*.jpg"))
        one = self.succeeds("predict", self.run_folder, photo, "--csv", "-")
        self.assertNotEqual(self.succeeds("predict", self.run_folder, photo, "--csv", "-", "--tta", "crops"), one)
        self.assertIn("--tta is 'all'; allowed: flip, crops",
                      self.fails(2, "predict", self.run_folder, photo, "--tta", "all"))

    def test_other_commands(self):
        self.assertIn("--ordinal has a head mood; the heads are age, gender, race",
                      self.fails(2, "train", *self.data, *QUICK, "--ordinal", "mood", "--out", self.folder / "none"))
        self.assertFalse((self.folder / "none").exists())
        summary = json.loads(self.succeeds("summary", "--size", 16, "--ordinal", "age", "--json"))
        plain = json.loads(self.succeeds("summary", "--size", 16, "--json"))
        # 256 features: a row of weights and 8 biases in place of 9 rows and 9 biases
        self.assertEqual(plain["parameters"] - summary["parameters"], 8 * 256 + 1)
        for options in [[], ["--softmax"]]:
            self.succeeds("export", self.run_folder, "--out", self.folder / "model.onnx", *options)
        self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--model", "resnet18", "--heads", "age", "--ordinal",
                      "age", "--out", self.folder / "single")
        self.assertIn("the head age is ordinal", self.fails(
            1, "export", self.folder / "single", "--torchvision", "--out", self.folder / "weights.safetensors"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
