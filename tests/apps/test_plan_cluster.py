"""facet plan-cluster: predictions that can be checked by hand, and what it refuses.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_plan_cluster.py [class]
"""

import json
import unittest

from program import AppTest

INFINITE = "1000000GB/s,0us"


def bucket(megabytes, ready, needed):
    return {"bytes": int(megabytes * 1e6), "ready_ms": ready, "needed_ms": needed}


def result(buckets, **members):
    """A line of bench_scaling: a step of 100 ms on one host, of 50 images in 2 ranks; None removes a member."""
    line = {"framework": "facet", "bench": "scaling", "name": "weak 2x1", "mode": "training", "scaling": "weak",
            "model": "reference", "size": 224, "precision": "bf16", "machine": {"cpu": "A CPU"}, "ranks": 2, "hosts": 1,
            "ranks_per_host": 2, "threads": 1, "batch": 50, "batch_per_rank": 25, "reduce": "f32",
            "step_ms": {"median": 100, "min": 99, "max": 102}, "images_per_s": {"median": 500}, "buckets": buckets,
            **members}
    return json.dumps({name: value for name, value in line.items() if value is not None})


ONE_BUCKET = result([bucket(8, 60, 10)])


class PlanTest(AppTest):
    def setUp(self):
        self.file = self.folder / "node.json"

    def write(self, *lines):
        self.file.write_text("\n".join(lines) + "\n")

    def plan(self, *options):
        return json.loads(self.succeeds("plan-cluster", "--bench", self.file, *options, "--json"))

    def steps(self, *options):
        """Milliseconds of a step, by the number of nodes."""
        return {row["nodes"]: row["step_ms"] for row in self.plan(*options)["clusters"]}

    def assert_near(self, found, expected):
        self.assertEqual(found.keys(), expected.keys())
        for key, value in expected.items():
            self.assertAlmostEqual(found[key], value, places=6, msg=key)


class Plan(PlanTest):
    def test_one_bucket(self):
        self.write(ONE_BUCKET)
        # 8 Gb/s are 1 MB a ms. A bucket takes (n - 1) (1 + 8 / n) ms, and is read 10 ms after the step begins.
        plan = self.plan("--network", "8Gb/s,1ms", "--nodes", "1..8")
        rows = {row["nodes"]: row for row in plan["clusters"]}
        self.assert_near({nodes: row["step_ms"] for nodes, row in rows.items()},
                         {1: 100, 2: 100 + 5, 4: 100 + 9, 8: 100 + (14 - 10) + 14})
        self.assertAlmostEqual(rows[8]["communication_ms"], 28)
        self.assertAlmostEqual(rows[8]["waited_ms"], 18)
        self.assertAlmostEqual(rows[8]["hidden"], 10 / 28)
        self.assertEqual((rows[1]["communication_ms"], rows[1]["waited_ms"]), (0, 0))
        self.assertNotIn("hidden", rows[1])  # nothing is exchanged
        self.assertAlmostEqual(rows[8]["efficiency"], 100 / 118)
        self.assertAlmostEqual(rows[8]["images_per_s"], 400 / 0.118)
        # 86,744 images are 867.44 steps of 100.
        self.assertAlmostEqual(rows[2]["hours"], 100 * 868 * 0.105 / 3600)
        self.assertEqual([rows[8][name] for name in ("ranks", "batch", "batch_per_rank")], [16, 400, 25])

    def test_units_and_lists_of_nodes(self):
        self.write(ONE_BUCKET)
        self.assertEqual(list(self.steps("--network", INFINITE, "--nodes", "2..12,5")), [2, 4, 5, 8])
        expected = {2: 105, 3: 100 + (2 * (1 + 8 / 3)), 4: 109}
        for network in ("8Gb/s,1ms", "8000Mb/s,1000us", "1GB/s,1000000ns", "1e3MB/s,1.0ms"):
            self.assert_near(self.steps("--network", network, "--nodes", "4,2..5,3"), expected)
        self.assertEqual(list(self.steps("--network", INFINITE)), [2**i for i in range(1, 11)])

    def test_a_link_serves_one_bucket_after_another(self):
        # In backward's order; forward reads the second one first.
        self.write(result([bucket(30, 40, 30), bucket(10, 60, 2)]))
        # 15 and 5 ms. Forward waits for the second bucket until 5 instead of 2; that adds 3. The first one's gradients
        # are reduced from 43 to 58, the second one's from 63 to 68.
        self.assert_near(self.steps("--network", "8Gb/s,0us", "--nodes", "2"), {2: 100 + 3 + 5})
        # 30 and 10 ms. Forward waits from 2 to 10, and from 38 to 40. The first bucket's gradients are reduced from 50
        # to 80; the second one's, ready at 70, from 80 to 90.
        row, = self.plan("--network", "4Gb/s,0us", "--nodes", "2")["clusters"]
        self.assertAlmostEqual(row["step_ms"], 100 + 10 + 20)
        self.assertAlmostEqual(row["hidden"], 1 - 30 / 80)

    def test_an_infinite_network_costs_nothing(self):
        self.write(result([bucket(30, 40, 30), bucket(10, 60, 0)]))
        for row in self.plan("--network", INFINITE)["clusters"]:
            self.assertAlmostEqual(row["efficiency"], 1, places=5)

    def test_a_slow_network_is_the_bound(self):
        self.write(ONE_BUCKET)
        for row in self.plan("--network", "1Mb/s,0us", "--nodes", "2..64")["clusters"]:
            nodes = row["nodes"]
            exchange = 2 * 8e6 * (nodes - 1) / nodes / 125e3  # seconds
            self.assertAlmostEqual(row["communication_ms"], exchange * 1e3, places=6)
            self.assertTrue(exchange < row["step_ms"] / 1e3 < exchange + 0.1)
            self.assertTrue(0 <= row["hidden"] < 0.1, row["hidden"])
        self.assertNotIn("-0.0 %", self.page("--network", "1Mb/s,0us"))

    def test_bytes_of_bf16(self):
        for line, options in ((result([bucket(8, 60, 10)], reduce="bf16"), []), (ONE_BUCKET, ["--reduce", "bf16"])):
            self.write(line)
            row, = self.plan("--network", "8Gb/s,1ms", "--nodes", "2", *options)["clusters"]
            self.assertAlmostEqual(row["step_ms"], 103)
            self.assertAlmostEqual(row["communication_ms"], 8)
        # Weights that forward reads in bf16.
        self.write(result([{**bucket(8, 60, 10), "gathered_bytes": 4000000}]))
        row, = self.plan("--network", "8Gb/s,1ms", "--nodes", "2")["clusters"]
        self.assertAlmostEqual(row["step_ms"], 105)
        self.assertAlmostEqual(row["communication_ms"], 8)

    def worth(self, *options):
        plan = self.plan(*options)
        return plan["worth_from"], plan["worth_up_to"]

    def test_where_adding_nodes_stops_paying(self):
        self.write(ONE_BUCKET)
        # n - 1 ms for a bucket: steps of 120, 152 and 216 ms on 16, 32 and 64 nodes.
        latency = ["--network", "1000000GB/s,1ms"]
        self.assertEqual(self.worth(*latency), (1, 32))
        self.assertEqual(self.worth(*latency, "--worth", "1.6"), (1, 16))
        self.assertEqual(self.worth(*latency, "--nodes", "2,16"), (1, 32))  # whatever is asked for
        self.assertIn("up to 32 nodes: doubling to 64 gives 1.41 times the images/s; --worth is 1.5\n",
                      self.page(*latency))
        # 86,744 images are an epoch: 1,734 nodes have 86,700 in a step.
        self.assertEqual(self.worth("--network", INFINITE), (1, 1024))
        self.assertIn("up to 1,024 nodes at least; 2,048 aren't predicted: a step has more images than an epoch\n",
                      self.page("--network", INFINITE))
        self.assertEqual(self.worth("--network", INFINITE, "--images", 10**12), (1, 2**19))
        self.assertIn("up to 524,288 nodes at least\n", self.page("--network", INFINITE, "--images", 10**12))
        self.assertEqual(self.worth("--network", INFINITE, "--images", 99, "--nodes", 1), (None, None))
        self.assertIn("no doubling of the nodes is predicted", self.page("--network", INFINITE, "--images", 99,
                                                                         "--nodes", 1))

    def test_a_slow_network_pays_for_no_node(self):
        """Where the link is the bound, later doublings gain nearly twice, of which none makes up for the first."""
        self.write(ONE_BUCKET)
        slow = ["--network", "100Mb/s,0us"]
        plan = self.plan(*slow)
        rates = {row["nodes"]: row["images_per_s"] for row in plan["clusters"]}
        self.assertLess(rates[4], 500)  # one node's
        self.assertGreater(rates[64], 1.5 * rates[32])
        self.assertEqual((plan["worth_from"], plan["worth_up_to"]), (1, 1))
        self.assertRegex(self.page(*slow), r"worth it +up to 1 node: doubling to 2 gives 0\.\d\d times the images/s; ")

    def test_a_step_is_no_larger_than_an_epoch(self):
        self.write(ONE_BUCKET)
        options = ["--network", INFINITE, "--images", 200, "--nodes", "2..16"]
        rows = {row["nodes"]: row for row in self.plan(*options)["clusters"]}
        self.assertEqual(["step_ms" in row for row in rows.values()], [True, True, False, False])
        self.assertEqual(rows[8]["not_predicted"], "a step has more images than an epoch")
        self.assertIn("not predicted for 8, 16 nodes: a step has more images than an epoch\n", self.page(*options))
        self.assertEqual(self.worth(*options), (1, 4))

    def page(self, *options):
        return self.succeeds("plan-cluster", "--bench", self.file, *options)

    def test_page(self):
        self.write(ONE_BUCKET)
        page = self.page("--network", "8Gb/s,1ms", "--nodes", "1,8", "--images", "400", "--epochs", "36000")
        for part in ["node.json:1", "2 ranks of 1 thread, A CPU",
                     "reference 224 bf16: 100.0 ms for 50 images, 500.0 images/s",
                     "8.0 MB of gradients (f32) and 8.0 MB of weights", "50 images per node and step (weak scaling)",
                     "Assumptions:"]:
            self.assertIn(part, page)
        first, row = [line.split() for line in page.splitlines() if line.split()[:1] in (["1"], ["8"])]
        self.assertEqual(first[4:7], ["100.0", "-", "-"])
        self.assertEqual(row, "8 16 400 25 118.0 28.0 35.7 % 3389.8 84.7 % 1.18".split())
        self.page("--network", "8Gb/s,1ms", "--json", self.folder / "plan.json")
        self.assertEqual(len(json.loads((self.folder / "plan.json").read_text())["clusters"]), 10)

    def test_strong_scaling_lies_between_measured_batches(self):
        small = result([bucket(8, 40, 10)], batch=10, batch_per_rank=5, step_ms={"median": 60})
        self.write(result([bucket(8, 60, 10)]), small)
        plan = self.plan("--network", INFINITE, "--batch", "100", "--nodes", "1,2,3,4,10,20,60")
        rows = {row["nodes"]: row for row in plan["clusters"]}
        # The largest shares of a rank: of 100 images, 6 ranks have 17 at most, and 8 have 13.
        self.assertEqual([row["batch_per_rank"] for row in rows.values()], [50, 25, 17, 13, 5, 3, 1])
        measured = "a rank has other than the 5 to 25 images that are measured"
        self.assertEqual({nodes: row.get("not_predicted") for nodes, row in rows.items()},
                         {1: measured, 2: None, 3: None, 4: None, 10: None, 20: measured,
                          60: "there is no image for each rank"})
        for nodes, expected in {2: 100, 3: 60 + 40 * 12 / 20, 4: 60 + 40 * 8 / 20, 10: 60}.items():
            self.assertAlmostEqual(rows[nodes]["step_ms"], expected, places=3)
        self.assertAlmostEqual(rows[4]["efficiency"], 100 / 0.076 / (4 * 500), places=5)
        # 100 / 76 on twice the nodes.
        self.assertEqual((plan["worth_from"], plan["worth_up_to"]), (2, 2))
        page = self.page("--network", INFINITE, "--batch", "100", "--nodes", "1,10,20,60", "--worth", "1.2")
        self.assertIn(f"not predicted for 1, 20 nodes: {measured}\n"
                      "not predicted for 60 nodes: there is no image for each rank\n", page)
        # 8 nodes have 7 images on a rank: 64 ms.
        self.assertIn("from 2 nodes on, up to 4 nodes: doubling to 8 gives 1.19 times the images/s", page)
        # A second file may hold the other batch.
        other = self.folder / "small.json"
        other.write_text(small)
        self.write(ONE_BUCKET)
        row = self.plan("--bench", other, "--network", INFINITE, "--batch", "100", "--nodes", "2..8")["clusters"][1]
        self.assertAlmostEqual(row["step_ms"], 76, places=3)

    def test_choice_of_the_node(self):
        # 500 images/s in 2 ranks; 833, 1000 and, on two hosts or in inference, more in 4 and 16.
        bigger = {"ranks": 4, "batch": 100, "name": "weak 4x1"}
        self.write(result(None, ranks=1, threads=8, name="weak 1x8"), ONE_BUCKET,
                   result([bucket(8, 60, 10)], **bigger, step_ms={"median": 120}),
                   result([bucket(8, 60, 10)], **bigger),
                   result([bucket(8, 60, 10)], threads=2, name="weak 2x2", batch=60),
                   result([bucket(8, 60, 10)], ranks=8, hosts=2, batch=200),
                   result([bucket(8, 60, 10)], ranks=16, mode="inference"), '{"bench": "training", "images_per_s": 1}')
        node = self.plan("--network", INFINITE)["node"]
        expected = {"origin": f"{self.file}:4", "name": "weak 4x1", "model": "reference", "size": "224",
                    "precision": "bf16", "device": "A CPU", "ranks": 4, "threads": 1, "batch": 100, "step_ms": 100}
        self.assertEqual({key: node[key] for key in expected}, expected)
        self.assertEqual(self.plan("--network", INFINITE, "--ranks", "2")["node"]["name"], "weak 2x2")
        self.assertEqual(self.plan("--network", INFINITE, "--ranks", "2", "--threads", "1")["node"]["batch"], 50)
        for options, words in ((["--ranks", "3"], "--ranks is 3; the results of --bench have 2, 4"),
                               (["--threads", "3"], "--threads is 3; the results of --bench have 1, 2"),
                               (["--ranks", "4", "--threads", "2"], "--threads is 2; the results of --bench have 1")):
            self.assertIn(words, self.fails(2, "plan-cluster", "--bench", self.file, "--network", INFINITE, *options))

    def test_one_workload(self):
        for member, value, name in (("model", "resnet34", "resnet34 224 bf16 on A CPU"),
                                    ("size", "64x96", "reference 64x96 bf16 on A CPU"),
                                    ("precision", "f32", "reference 224 f32 on A CPU"),
                                    ("machine", {"cpu": "Another"}, "reference 224 bf16 on Another")):
            with self.subTest(member):
                self.write(ONE_BUCKET, result([bucket(8, 60, 10)], **{member: value}))
                line = self.fails(1, "plan-cluster", "--bench", self.file, "--network", INFINITE)
                self.assertIn("has results of ", line)
                self.assertIn("reference 224 bf16 on A CPU", line)
                self.assertIn(name, line)


class PlanRefusing(PlanTest):
    def test_results(self):
        good = bucket(8, 60, 10)
        cases = [
            ("", "node.json: no result found"),
            ("nonsense", "node.json:1: the line isn't JSON"),
            ("[]", "node.json:1: a JSON object is needed"),
            ('{"bench": "training", "images_per_s": 1}', "node.json: no result is one of training that bench_scaling "),
            (result([good], hosts=2), "node.json: its results of bench_scaling are of several hosts"),
            (result([good], hosts=2) + "\n" + result(None, ranks=1),
             "node.json: its results of one host are of one rank, which exchanges nothing; mpirun -n 2 bench_scaling "
             "--json node.json measures a node"),
            (ONE_BUCKET + "\n" + result([good], ranks="two"), 'node.json:2: "ranks" is "two"'),
            (result([good], ranks=1), '"ranks" is 1; a whole number from 2 to 1000000'),
            (result([good], threads=None), 'no "threads" found'),
            (result([good], batch=1), '"batch" is 1; a whole number from 2 to 1000000 is needed'),
            (result([good], batch=2**64 - 1), '"batch" is 18446744073709551615'),
            (result([good], reduce="f16"), '"reduce" is "f16"; f32 or bf16'),
            (result([good], step_ms=None), 'no "step_ms" found'),
            (result([good], step_ms={}), 'node.json:1: step_ms: no "median" found'),
            (result([good], step_ms={"median": 0}), 'step_ms: "median" is 0'),
            (result([good], step_ms={"median": 1e300}), 'step_ms: "median" is 1e+300'),
            (result([good], images_per_s={"median": "many"}), 'node.json:1: images_per_s: "median" is "many"'),
            (result("all"), '"buckets" is no array'),
            (result([good, 7]), "node.json:1: buckets[1]: an object is needed"),
            (result([good, {**good, "bytes": 2.5}]), 'buckets[1]: "bytes" is 2.5'),
            (result([{**good, "gathered_bytes": 0}]), 'buckets[0]: "gathered_bytes" is 0'),
            (result([{"bytes": 4, "needed_ms": 1}]), 'buckets[0]: no "ready_ms" found'),
            (result([{**good, "needed_ms": -1}]), 'buckets[0]: "needed_ms" is -1'),
            (result([good, bucket(8, 111, 10)]),
             'buckets[1]: "ready_ms" is 111; at most the median of "step_ms", 100, is allowed'),
            (result([bucket(8, 60, 71)]), 'buckets[0]: "needed_ms" is 71; at most "ready_ms", 60, is allowed'),
            (result([good], model=5), '"model" is 5; a string is needed'),
        ]
        for text, words in cases:
            with self.subTest(words):
                self.write(text)
                self.assertIn(words, self.fails(1, "plan-cluster", "--bench", self.file, "--network", INFINITE))
        self.assertIn("missing.json: no such file", self.fails(1, "plan-cluster", "--bench",
                                                               self.folder / "missing.json", "--network", INFINITE))

    def test_options(self):
        self.write(ONE_BUCKET)
        bench = ["plan-cluster", "--bench", self.file]
        self.assertIn("--bench FILE is needed", self.fails(2, "plan-cluster", "--network", INFINITE))
        self.assertIn("--network BANDWIDTH,LATENCY is needed", self.fails(2, *bench))
        for network in ("100Gb/s", "100,2us", "100Gb/s,2", "100Gb/s,2us,3us", "2us,100Gb/s", "0Gb/s,2us", "-1Gb/s,2us",
                        "nanGb/s,2us", "100Gb/s,-2us", "100gb/s,2us", "Gb/s,us", ",", "1e300GB/s,0us"):
            self.assertIn(f"--network is '{network}'; BANDWIDTH,LATENCY is needed",
                          self.fails(2, *bench, f"--network={network}"))
        whole = " a whole number from {} to 1000000 is needed"
        for nodes, words in (("0", "'0' of --nodes is '0';" + whole.format(1)), ("-1", whole.format(1)),
                             ("two", "'two' of --nodes is 'two';" + whole.format(1)), ("..8", whole.format(1)),
                             ("8..2", "'8..2' of --nodes is '2';" + whole.format(8)), ("2..", whole.format(2)),
                             ("2..2000000", "'2..2000000' of --nodes is '2000000';" + whole.format(2)),
                             ("2,,4", "--nodes is '2,,4'")):
            self.assertIn(words, self.fails(2, *bench, "--network", INFINITE, f"--nodes={nodes}"))
        for option, value in (("worth", "1"), ("worth", "2"), ("worth", "x"), ("images", "0"), ("epochs", "0.5"),
                              ("batch", "0"), ("ranks", "1"), ("threads", "0"), ("reduce", "f16")):
            self.assertIn(f"--{option} ", self.fails(2, *bench, "--network", INFINITE, f"--{option}={value}"))
        self.assertIn("nothing is predicted for 2, 4, 8 nodes: a rank has other than the 25 images that are measured",
                      self.fails(2, *bench, "--network", INFINITE, "--batch", "64", "--nodes", "2..8"))
        self.fails(2, *bench, "--network", INFINITE, "more")

    def test_strong_scaling_needs_equal_buckets(self):
        plan = ["plan-cluster", "--bench", self.file, "--network", INFINITE]
        for buckets, words in (([bucket(9, 60, 10)], f'buckets[0]: "bytes" is 8000000, and 9000000 in {self.file}:2; '),
                               ([bucket(8, 60, 10)] * 2, f'"buckets" are 1, and 2 in {self.file}:2; ')):
            self.write(ONE_BUCKET, result(buckets, batch=10))
            self.assertIn("node.json:1: " + words, self.fails(1, *plan, "--batch", "64"))
            self.plan("--network", INFINITE)  # one result is all that weak scaling needs


if __name__ == "__main__":
    unittest.main(verbosity=2)
