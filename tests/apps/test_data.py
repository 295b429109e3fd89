"""Input data of the program facet: manifests of different forms, and images that are damaged or not JPEG.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_data.py [class]
"""

import json
import pathlib
import re
import shutil
import struct
import unittest
import zlib

from program import AppTest, QUICK, facet, rows, tensors


class Manifests(AppTest):
    """CSV files with other columns, other orders of columns and other separators."""

    def write(self, name, header, *columns):
        """Writes a manifest of the sample's 48 images, with the files in the first column; returns its path."""
        files = [row["file"] for row in rows(self.train_csv)]
        manifest = self.folder / "sample" / name
        manifest.write_text("\n".join([header, *map(",".join, zip(files, *columns))]) + "\n")
        return manifest

    def classes(self, run, head):
        page = self.succeeds("inspect", run)
        return re.search(rf"(?m)^  {head} \(\d+\): (.*)$", page).group(1).split(", ")

    def test_named_columns(self):
        kinds = ["cat", "dog"] * 24
        manifest = self.write("columns.csv", "photo,file,kind", map(str, range(48)), kinds)
        run = self.folder / "columns"
        words = ["--file-column", "photo", "--label-column", "kind"]
        output = self.succeeds("train", "--train", manifest, "--validation", manifest, *QUICK, *words, "--epochs", 1,
                               "--out", run)
        self.assertIn("\nheads\n  kind (2): cat, dog\n", output)
        self.assertIn(f"--data {manifest} --file-column photo\n", output)
        config = (run / "run.cfg").read_text()
        self.assertIn("\nfile-column = photo\nlabel-column = kind\n", config)
        self.succeeds("train", "--resume", "--out", run, "--epochs", 2)
        self.assertIn("no column for head 'kind'",
                      self.fails(1, "train", "--resume", "--out", run, "--file-column", "kind"))
        self.assertRegex(self.fails(1, "train", "--resume", "--out", run, "--label-column", "file"),
                         "has the heads file, the model has kind; a run to be resumed can't change its heads")
        other = self.write("other.csv", "image,answer", kinds)
        output = self.succeeds("evaluate", run, "--data", other, "--label-column", "answer")
        self.assertRegex(output, r"(?m)^note .*other\.csv: column 'image' names the files$")
        self.assertRegex(output, r"(?m)^kind .* 48 +2$")
        self.assertIn("columns.csv:1: no column is called file, image,",
                      self.fails(1, "inspect", self.write("columns.csv", "photo,kind", kinds)))
        self.assertIn("--label-column is 'kind' and --heads is 'kind,mood'",
                      self.fails(2, "train", "--train", manifest, "--label-column", "kind", "--heads", "kind,mood"))
        self.assertIn("--file-column needs a manifest", self.fails(2, "inspect", run, "--file-column", "photo"))

    def test_order_of_integer_classes_in_new_and_older_runs(self):
        numbers = [str(i % 12) for i in range(48)]
        manifest = self.write("numbers.csv", "file,number", numbers)
        new, old = self.folder / "numbers", self.folder / "text"
        words = ["train", "--train", manifest, *QUICK, "--epochs", 1, "--out"]
        self.succeeds(*words, new)
        self.assertEqual(self.classes(new, "number"), [str(i) for i in range(12)])
        text = sorted(set(numbers))
        self.succeeds(*words, old, "--classes", "number=" + ",".join(text))
        config = old / "run.cfg"
        config.write_text(re.sub("(?m)^classes = .*\n", "", config.read_text()))
        self.succeeds("train", "--resume", "--out", old, "--epochs", 2)
        self.assertEqual(self.classes(old, "number"), text)
        self.succeeds("evaluate", old, "--data", manifest)
        self.assertIn("a run to be resumed can't change its heads",
                      self.fails(1, "train", "--resume", "--out", old, "--classes",
                                 "number=" + ",".join(reversed(text))))

    def test_fairface_classes_are_reported(self):
        output = self.succeeds("inspect", self.train_csv)
        self.assertRegex(output, r"(?m)^note .*train\.csv: FairFace's classes, in its order, are used for age, gender, "
                                 r"race; --classes")
        manifest = self.write("colours.csv", "file,colour", ["White", "Black"] * 24)
        self.assertNotIn("Indian", self.succeeds("inspect", manifest))
        self.assertIn("Indian", self.succeeds("inspect", manifest, "--classes", "colour=fairface"))

    def test_separators_and_backslashes(self):
        manifest = self.write("windows.csv", "file,mood", ["sad", "glad"] * 24)
        manifest.write_text(manifest.read_text().replace("/", "\\").replace(",", ";"))
        output = self.succeeds("inspect", manifest)
        for part in ["48 images", "all there", "semicolons separate the fields", "backslashes", "glad"]:
            self.assertIn(part, output)

    def test_thousands_of_classes(self):
        people = self.folder / "people.csv"
        people.write_text("file,person,mood\n" + "".join(f"{i}.jpg,{i},{i % 2}\n" for i in range(1100)))
        output = self.succeeds("inspect", people)
        self.assertIn("columns ignored as identifiers, with fewer than two rows per value: "
                      "person (1100 values in 1100 rows)", output)
        self.assertLess(output.count("\n"), 10)
        self.assertIn("\n(and 100 more classes)\n", self.succeeds("inspect", people, "--heads", "person"))

        manifest = self.write("many.csv", "file,person", [str(i % 24 * 200) for i in range(48)])
        run, result, lines = self.folder / "many", self.folder / "many.json", self.folder / "many.jsonl"
        classes = "person=" + ",".join(map(str, range(5000)))
        output = self.succeeds("train", "--train", manifest, "--validation", manifest, *QUICK, "--classes", classes,
                               "--epochs", 1, "--out", run)
        self.assertIn("\n  person (5000): 0, 1, 2, ", output)
        self.assertLess(max(map(len, output.splitlines())), 400)
        self.assertLess(len(self.succeeds("inspect", run)), 10000)
        output = self.succeeds("evaluate", run, "--data", manifest, "--json", result)
        self.assertIn("(and 4,000 more classes)", output)
        head = json.loads(result.read_text())["heads"]["person"]
        self.assertEqual(sum(images for _, _, images in head["confusion_cells"]), 48)
        self.assertEqual(sum(images for label, answer, images in head["confusion_cells"] if label == answer) / 48,
                         head["accuracy"])
        self.assertNotIn("confusion", head)
        self.assertEqual([i for i, one in enumerate(head["per_class"]) if one["support"]], list(range(0, 4800, 200)))
        self.succeeds("predict", run, self.folder / "sample", "--jsonl", lines)
        probabilities = json.loads(lines.read_text().splitlines()[0])["heads"]["person"]["probabilities"]
        self.assertEqual(list(probabilities), [str(i) for i in range(5000)])


class BadImages(AppTest):
    """Images that are damaged, missing, or readable with warnings, and images of other formats."""

    def test_fail_and_skip(self):
        (self.folder / "sample/torn.jpg").write_bytes(next((self.folder / "sample").rglob("*.jpg")).read_bytes()[:400])
        manifest = self.folder / "sample/torn.csv"
        bad = [f"{name}.jpg,0-2,Male,White,True\n" for name in ["torn", "gone"]]
        manifest.write_text(self.train_csv.read_text() + "".join(bad))
        words = ["train", "--train", manifest, *QUICK, "--epochs", 1]
        error = self.fails(1, *words, "--out", self.folder / "fail")
        self.assertIn(f"{manifest}:51: gone.jpg: no such file; --root sets the folder of the files", error)
        self.assertFalse((self.folder / "fail").exists())
        manifest.write_text(self.train_csv.read_text() + 2 * bad[1])
        self.assertIn("torn.csv:50: gone.jpg: no such file (and 1 more); ",
                      self.fails(1, *words, "--out", self.folder / "fail"))
        manifest.write_text(self.train_csv.read_text() + 2 * bad[0])
        self.assertRegex(self.fails(1, *words, "--out", self.folder / "fail"),
                         r"torn\.csv:5[01]: .*torn\.jpg: truncated")
        shutil.rmtree(self.folder / "fail")
        manifest.write_text(self.train_csv.read_text() + "".join(bad))
        output = self.succeeds(*words, "--out", self.folder / "skip", "--bad-images", "skip")
        self.assertRegex(output, r"2 of 50 images .* the first: .*torn\.csv:50: torn\.jpg: ")
        skipped = rows(self.folder / "skip/skipped.csv")
        self.assertEqual([(row["file"], row["line"]) for row in skipped], [("torn.jpg", "50"), ("gone.jpg", "51")])
        self.assertTrue(all(row["reason"] for row in skipped))
        error = self.fails(1, "evaluate", self.folder / "skip", "--data", manifest)
        self.assertRegex(error, r"(torn|gone)\.jpg")
        tables = self.succeeds("evaluate", self.folder / "skip", "--data", manifest, "--bad-images", "skip")
        self.assertIn("on 48 images", tables)

    def test_images_with_warnings(self):
        sample = self.folder / "sample"
        whole = next((sample / "train").glob("*.jpg")).read_bytes()
        for name in ("unended.jpg", "again.jpg"):
            (sample / name).write_bytes(whole[:-2])
        manifest = sample / "unended.csv"
        manifest.write_text(self.train_csv.read_text() +
                            "unended.jpg,0-2,Male,White,True\nagain.jpg,3-9,Male,White,True\n")
        run = self.folder / "warned"
        output = self.succeeds("train", "--train", manifest, *QUICK, "--epochs", 2, "--out", run)
        self.assertEqual(output.count(f"2 images read with warnings: {run}/image-warnings.csv\n"), 1, output)
        reason = "the end marker is missing"
        self.assertEqual(rows(run / "image-warnings.csv"),
                         [{"file": name, "line": line, "reason": reason, "manifest": str(manifest)}
                          for name, line in (("unended.jpg", "50"), ("again.jpg", "51"))])
        status, _, error = facet("evaluate", run, "--data", manifest)
        self.assertEqual((status, error), (0, f"facet: 2 of 50 images read with warnings; the first: {manifest}:50: "
                                              f"unended.jpg: {reason}\n"))
        status, _, error = facet("predict", run, sample / "again.jpg", sample / "train")
        self.assertEqual(status, 0, error)
        waited, warned = error.splitlines()
        self.assertRegex(waited, r"^facet: waited for images in [\d.]+ % of [\d.]+ s, with \d+ decoding threads?$")
        self.assertEqual(warned, f"facet: 1 of 49 images read with warnings; the first: {sample}/again.jpg: {reason}")
        self.assertIn(f"warnings    2 of 50 tried; the first: {sample}/unended.jpg: {reason}\n",
                      self.succeeds("inspect", manifest))

    def test_png(self):
        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        rows_of_red = b"".join(b"\0" + b"\xFF\0\0" * 32 for _ in range(32))
        png = (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) +
               chunk(b"IDAT", zlib.compress(rows_of_red)) + chunk(b"IEND", b""))
        sample = self.folder / "sample"
        (sample / "png").mkdir()
        for name in ("a.PNG", "b.jpg"):  # the format is recognised by the content
            (sample / "png" / name).write_bytes(png)
        (sample / "c.gif").write_bytes(b"GIF89a")
        manifest = sample / "png.csv"
        manifest.write_text(self.train_csv.read_text() +
                            "png/a.PNG,0-2,Male,White,True\npng/b.jpg,0-2,Male,White,True\n")
        run = self.folder / "with_png"
        self.succeeds("train", "--train", manifest, *QUICK, "--epochs", 1, "--out", run)
        self.assertFalse((run / "image-warnings.csv").exists())
        output = self.succeeds("predict", run, sample / "png", "--csv", "-")
        answers = [line.split(",", 1) for line in output.splitlines()[1:3]]
        self.assertEqual([pathlib.Path(file).name for file, _ in answers], ["a.PNG", "b.jpg"])
        self.assertEqual(answers[0][1], answers[1][1])
        self.assertIn("c.gif: is a GIF; JPEG, PNG and WebP can be read",
                      self.fails(1, "predict", run, sample / "c.gif"))


class Sampling(AppTest):
    """facet train --sample: classes of a head that are equally likely, and weights by a column."""

    def train(self, name, *options):
        folder = self.folder / name
        output = self.succeeds("train", "--train", self.weighted, "--validation", self.validation_csv, *QUICK,
                               "--epochs", 1, "--out", folder, *options)
        return output, tensors(folder / "checkpoints/last.safetensors")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        images = rows(cls.train_csv)
        cls.weighted = cls.folder / "sample/weighted.csv"
        lines = [",".join([*row.values(), str(0.5 * (i % 4))]) for i, row in enumerate(images)]
        cls.weighted.write_text("\n".join([",".join([*images[0], "how much"]), *lines]) + "\n")

    def test_samples(self):
        _, shuffled = self.train("shuffled", "--heads", "age,gender,race")
        output, balanced = self.train("balanced", "--heads", "age,gender,race", "--sample", "balanced:race")
        output, weighted = self.train("weighted", "--sample", "weights:how much")
        self.assertNotRegex(output, r"(?m)^  how much ")  # it is no head
        self.assertEqual(len({shuffled, balanced, weighted}), 3)
        again = self.folder / "again"
        self.succeeds("train", "--config", self.folder / "weighted/run.cfg", "--out", again)
        self.assertEqual(tensors(again / "checkpoints/last.safetensors"), weighted)
        self.assertIn("another sampler", self.fails(1, "train", "--resume", "--out", again, "--epochs", 2,
                                                    "--sample", "balanced:age"))

    def test_refusals(self):
        words = ["train", "--train", self.weighted, "--heads", "age,gender", *QUICK, "--out", self.folder / "none"]
        for text in ["balanced", "balanced:", "often:age"]:
            self.assertIn(f"--sample is '{text}'; balanced:HEAD or weights:COLUMN is needed",
                          self.fails(2, *words, "--sample", text))
        self.assertIn("--sample balances the head mood; the heads are age, gender",
                      self.fails(2, *words, "--sample", "balanced:mood"))
        self.assertIn("there is no column 'mood' of weights; the columns are: age, ",
                      self.fails(1, *words, "--sample", "weights:mood"))
        text = self.weighted.read_text()
        bad = self.folder / "sample/bad_weights.csv"
        for found in ["-1", "much", "inf", ""]:
            lines = text.splitlines()
            lines[5] = lines[5].rpartition(",")[0] + "," + found
            bad.write_text("\n".join(lines) + "\n")
            self.assertIn(f"bad_weights.csv:6: the weight in column 'how much' is '{found}'; a number of at least 0",
                          self.fails(1, "train", "--train", bad, *QUICK, "--out", self.folder / "none",
                                     "--sample", "weights:how much"))
        bad.write_text("\n".join([text.splitlines()[0]] + [line.rpartition(",")[0] + ",0"
                                                           for line in text.splitlines()[1:]]) + "\n")
        self.assertIn("column 'how much': the sampler has no weight above 0",
                      self.fails(1, "train", "--train", bad, *QUICK, "--out", self.folder / "none",
                                 "--sample", "weights:how much"))
        self.assertFalse((self.folder / "none").exists())


class Augmentation(AppTest):
    """facet train --augment and the options of single changes."""

    def test_presets_and_single_changes(self):
        seen = {}
        for name, words in {"none": [], "light": ["--augment", "light"], "strong": ["--augment", "strong"],
                            "unmixed": ["--augment", "strong", "--mixup", 0, "--cutmix", 0, "--rand-augment", 0],
                            "named": ["--random-resized-crop", 0.25, "--random-erasing", 0.1]}.items():
            run = self.folder / name
            self.succeeds("train", *self.data, *QUICK, "--epochs", 1, "--out", run, *words)
            seen[name] = tensors(run / "checkpoints/last.safetensors")
        self.assertEqual(seen["unmixed"], seen["named"])
        self.assertEqual(len(set(seen.values())), 4)
        again = self.folder / "again"
        self.succeeds("train", "--config", self.folder / "strong/run.cfg", "--out", again)
        self.assertEqual(tensors(again / "checkpoints/last.safetensors"), seen["strong"])
        self.assertIn('the run was started with random_resized_crop "0.25", requested is "0.5"',
                      self.fails(1, "train", "--resume", "--out", again, "--epochs", 2, "--augment", "light"))

    def test_refusals(self):
        words = ["train", *self.data, *QUICK, "--out", self.folder / "refused"]
        for options, message in [(["--augment", "much"], "--augment is 'much'; allowed: none, light, strong"),
                                 (["--color-jitter", "0.4"], "--color-jitter is '0.4'; B,C,S,H is needed"),
                                 (["--mixup", "1e-9"], "--mixup is '1e-9'; mixup is 1e-09; 0, or 0.001 to 1000 is allowed"),
                                 (["--trivial-augment", "--rand-augment", "2,9"],
                                  "trivial_augment and rand_augment are both on; one of them is allowed")]:
            with self.subTest(options):
                status, _, error = facet(*words, *options)
                self.assertIn(status, (1, 2))
                self.assertIn(message, error)
                self.assertEqual(error.count("\n"), 1)
        self.assertFalse((self.folder / "refused").exists())


if __name__ == "__main__":
    unittest.main(verbosity=2)
