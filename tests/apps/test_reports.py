"""facet summary, inspect and compare: the commands that report on a model, a manifest or benchmark results.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_reports.py [class]
"""

import json
import unittest

from program import AppTest


class Summary(AppTest):
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


class Inspection(AppTest):
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


class Comparing(AppTest):
    """facet compare, on a result of facet and two of PyTorch in one file."""

    def setUp(self):
        self.ours = self.folder / "ours.json"
        self.ours.write_text(json.dumps({
            "framework": "facet", "model": "reference", "mode": "training", "precision": "bf16", "batch": 64,
            "threads": 2, "images_per_s": {"median": 60.0, "min": 59.0, "max": 61.5}, "peak_resident_bytes": 1200 << 20,
            "machine": {"cpu": "A CPU"}}, indent=1))
        self.theirs = self.folder / "theirs.json"
        self.theirs.write_text("\n".join(
            json.dumps({"framework": "PyTorch", "dtype": dtype, "images_per_s": rate, "peak_rss_mib": 2044})
            for dtype, rate in (("bf16", 30.0), ("f32", 15))))

    def test_table_of_results(self):
        lines = self.succeeds("compare", self.ours, self.theirs, "--price", "ours=2/h", "--price",
                              "theirs#2=0.5/h").splitlines()
        self.assertEqual(lines[4:], ["", "hours are those of 100 epochs of 86,744 images, without validation"])
        expected = [["ours", "facet", "A CPU", "60.00", "59.0 - 61.5", "1.000", "1200", "40.2", "80.32", "108000"],
                    ["theirs", "PyTorch", "bf16", "30.00", "0.500", "2044", "80.3"],
                    ["theirs#2", "f32", "15.00", "0.250", "160.6", "80.32", "108000"]]
        for line, cells in zip(lines[1:], expected):
            for cell in cells:
                self.assertIn(cell, line)

    def test_a_price_for_all_results_of_a_file(self):
        lines = self.succeeds("compare", self.theirs, "--price", "theirs=1/h", "--price", "theirs#2=2/h").splitlines()
        self.assertEqual([line.split()[-1] for line in lines[1:3]], ["108000", "27000"])

    def test_energy_and_the_training_asked_for(self):
        self.theirs.write_text(json.dumps({"images_per_s": 2000.0, "mode": "training", "joules_per_image": 0.25}) + "\n"
                               + json.dumps({"images_per_s": 9000.0, "mode": "inference"}))
        lines = self.succeeds("compare", self.ours, self.theirs, "--images", 72000, "--epochs", 10).splitlines()
        self.assertRegex(lines[0], r" hours +images/J$")
        self.assertRegex(lines[1], r" 3\.3 +-$")
        self.assertRegex(lines[2], r" 0\.1 +4$")
        self.assertRegex(lines[3], r" - +-$")
        self.assertEqual(lines[5], "hours are those of 10 epochs of 72,000 images, without validation")
        for bad in ["0", "-1", '"much"']:
            self.theirs.write_text(f'{{"images_per_s": 1, "joules_per_image": {bad}}}')
            self.assertIn("joules_per_image", self.fails(1, "compare", self.theirs))

    def test_nodes_that_train_as_fast(self):
        """On a network without delay n nodes are n times as fast; on a slow one they reach a limit."""
        node = self.folder / "node.json"
        node.write_text(json.dumps({
            "bench": "scaling", "mode": "training", "framework": "facet", "model": "reference", "size": 224,
            "precision": "bf16", "name": "weak 2x8", "ranks": 2, "hosts": 1, "threads": 8, "batch": 64, "reduce": "f32",
            "images_per_s": 64.0, "step_ms": {"median": 1000.0},
            "buckets": [{"bytes": 100_000_000, "ready_ms": 500.0, "needed_ms": 100.0}]}))
        self.theirs.write_text("\n".join(json.dumps({"images_per_s": rate, "model": model, "mode": mode}) for
                                         rate, model, mode in [(1000.0, "reference", "training"), (64.0, "", "training"),
                                                               (1e7, "reference", "training"), (64.0, "alexnet", ""),
                                                               (64.0, "reference", "inference")]))
        lines = self.succeeds("compare", self.theirs, "--node", node, "--network", "1000000Gb/s,0us").splitlines()
        self.assertRegex(lines[0], r" nodes$")
        self.assertEqual([line.split()[-1] for line in lines[1:6]], ["16", "1", "none", "-", "-"])
        self.assertIn(f"nodes are those of {node}:1, weak 2x8, 64 images each", lines[-1])
        # As many as plan-cluster says: fifteen are slower, sixteen or more reach it.
        slow = ["--network", "2Gb/s,100us"]
        count = int(self.succeeds("compare", self.theirs, "--node", node, *slow).splitlines()[1].split()[-1])
        self.assertGreater(count, 16)
        plan = json.loads(self.succeeds("plan-cluster", "--bench", node, *slow, "--nodes", f"{count - 1},{count}", "--json"))
        rates = [row["images_per_s"] for row in plan["clusters"]]
        self.assertLess(rates[0], 1000)
        self.assertGreaterEqual(rates[1], 1000)
        # Gradients that are sent as bf16 are half as many bytes, as for plan-cluster.
        node.write_text(node.read_text().replace('"reduce": "f32"', '"reduce": "bf16"'))
        fewer = int(self.succeeds("compare", self.theirs, "--node", node, *slow).splitlines()[1].split()[-1])
        self.assertLess(fewer, count)
        plan = json.loads(self.succeeds("plan-cluster", "--bench", node, *slow, "--nodes", f"{fewer - 1},{fewer}", "--json"))
        self.assertLess(plan["clusters"][0]["images_per_s"], 1000)
        self.assertGreaterEqual(plan["clusters"][1]["images_per_s"], 1000)
        self.theirs.write_text(json.dumps({"images_per_s": 64, "model": "reference", "size": 96}))
        self.assertEqual(self.succeeds("compare", self.theirs, "--node", node, *slow).splitlines()[1].split()[-1], "-")
        self.assertIn("--network", self.fails(2, "compare", self.theirs, "--node", node))
        self.assertIn("--node", self.fails(2, "compare", self.theirs, *slow))

    def test_invalid_results_are_reported_with_their_line(self):
        bad = self.folder / "bad.json"
        for text, words in (("", "no result"), ("{}", "images_per_s"),
                            ('{"images_per_s": 1}\n{"images_per_s": 0}', ":2: "),
                            ('{"images_per_s": 1}\nnonsense', ":2: the line isn't JSON"), ("[]", "object"),
                            ('{"images_per_s": 1, "batch": "many"}', "batch")):
            bad.write_text(text)
            self.assertIn(words, self.fails(1, "compare", self.ours, bad))
        self.assertIn("missing.json: no such file", self.fails(1, "compare", self.folder / "missing.json"))

    def test_sums_are_a_table_of_their_own(self):
        sums = self.folder / "sums.json"
        sums.write_text("\n".join(
            json.dumps({"framework": framework, "bench": "allreduce", "name": name, "function": function, "ranks": 4,
                        "hosts": 2, "gb_per_s": {"median": rate, "min": 0.25, "max": 9}})
            for name, framework, function, rate in (("allreduce 4 KiB", "facet", "facet", 0.5),
                                                    ("allreduce 16 MiB", "facet", "facet", 4),
                                                    ("allreduce 16 MiB", "Open MPI", "MPI_Allreduce", 3))))
        lines = self.succeeds("compare", sums).splitlines()
        self.assertIn("GB/s", lines[0])
        expected = [["sums", "allreduce 4 KiB", "0.500", "0.250 - 9.000", "1.000"],
                    ["sums#2", "allreduce 16 MiB", "4.000", "1.000"],
                    ["sums#3", "Open MPI", "MPI_Allreduce", "3.000", "0.750"]]
        self.assertEqual(len(lines), 1 + len(expected))
        for line, cells in zip(lines[1:], expected):
            for cell in cells:
                self.assertIn(cell, line)
        steps, _, beside = self.succeeds("compare", sums, self.ours).split("\n\n")
        self.assertIn("60.00", steps)
        self.assertEqual(beside.splitlines(), lines)
        self.assertIn("no result is called sums; the results are ours",
                      self.fails(2, "compare", sums, self.ours, "--price", "sums=2/h"))
        sums.write_text('{"bench": "allreduce", "images_per_s": 1}')
        self.assertIn('sums.json:1: no "gb_per_s"', self.fails(1, "compare", sums))

    def test_ranks_are_columns_where_there_are_any(self):
        scaling = self.folder / "scaling.json"
        scaling.write_text("\n".join(
            json.dumps({"framework": "facet", "bench": "scaling", "name": f"weak {ranks}x3", "ranks": ranks, "hosts": 1,
                        "threads": 3, "batch": 16 * ranks, "images_per_s": {"median": rate, "min": 7, "max": 99}})
            for ranks, rate in ((1, 10.0), (2, 19.0))))
        lines = self.succeeds("compare", scaling, self.ours).splitlines()
        self.assertRegex(lines[0], r" batch +scaling +ranks +hosts +threads +images/s ")
        self.assertRegex(lines[1], r"^scaling +.* 16 +weak 1x3 +1 +1 +3 +10\.00 +7\.0 - 99\.0 +1\.000")
        self.assertRegex(lines[2], r"^scaling#2 +.* 32 +weak 2x3 +2 +1 +3 +19\.00 +7\.0 - 99\.0 +1\.900")
        self.assertRegex(lines[3], r"^ours +.* 64 +- +- +- +2 +60\.00 ")
        self.assertNotIn("ranks", self.succeeds("compare", self.ours))

    def test_invalid_prices_are_refused(self):
        for price in ("ours", "ours=2", "ours=x/h", "ours=-1/h", "=2/h", "others=2/h"):
            self.assertIn("--price", self.fails(2, "compare", self.ours, "--price", price))
        self.fails(2, "compare")


if __name__ == "__main__":
    unittest.main(verbosity=2)
