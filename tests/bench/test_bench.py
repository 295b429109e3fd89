r"""The bench executables: the JSON results of short runs, and errors in the command line.

Run as: FACET_BENCH=path/to/bench_training FACET_BENCH_PRIMITIVES=path/to/bench_primitives \
        FACET_BENCH_ALLREDUCE=path/to/bench_allreduce FACET_BENCH_SCALING=path/to/bench_scaling \
        FACET_BENCH_LOADING=path/to/bench_loading FACET_PROGRAM=path/to/facet \
        FACET_MPIEXEC=path/to/mpirun python3 test_bench.py [class]
"""

import base64
import ctypes
import json
import math
import mmap
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "apps"))
from program import MPI_ENVIRONMENT, MPIEXEC

BENCH = os.environ.get("FACET_BENCH", "bench_training")
PRIMITIVES = os.environ.get("FACET_BENCH_PRIMITIVES", "bench_primitives")
ALLREDUCE = os.environ.get("FACET_BENCH_ALLREDUCE", "bench_allreduce")
SCALING = os.environ.get("FACET_BENCH_SCALING", "bench_scaling")
LOADING = os.environ.get("FACET_BENCH_LOADING", "bench_loading")
FACET = os.environ.get("FACET_PROGRAM")
SMALLEST = ["--size", "16", "--batch", "2", "--threads", "1", "--iterations", "1", "--no-tune"]
SMALL = [*SMALLEST, "--warmup", "0"]

for name in [name for name in os.environ if name.startswith(("OMP_", "GOMP_", "KMP_"))]:
    del os.environ[name]


def bench(*words, program=BENCH, **options):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=240, **options)
    return done.returncode, done.stdout, done.stderr


def result_of(*words, program=BENCH, **options):
    with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
        file = pathlib.Path(folder) / "result.json"
        status, _, error = bench(*words, "--json", file, program=program, **options)
        assert (status, error) == (0, ""), error
        return json.loads(file.read_text())


def convolution_flops(primitive):
    """FLOPs of "convolution 64x8x8 by 64x64x3x3 to 64x8x8": two per multiply-add, for SMALL's batch of two images."""
    weights, _, output = primitive["work"].split()[-3:]
    return 2 * 2 * math.prod(map(int, output.split("x"))) * math.prod(list(map(int, weights.split("x")))[1:])


def status_line(file, name):
    """The value of a name in a file of /proc; None if the file or the line doesn't exist."""
    try:
        lines = pathlib.Path(file).read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((line.split()[1] for line in lines if line.startswith(name + ":")), None)


def gives_huge_pages():
    """Whether new memory that is advised MADV_HUGEPAGE is on huge pages as soon as it is written."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return False
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        try:
            memory.madvise(mmap.MADV_HUGEPAGE)
        except OSError:
            return False
        for at in range(0, len(memory), mmap.PAGESIZE):
            memory[at] = 7
        return int(status_line("/proc/self/smaps_rollup", "AnonHugePages") or 0) >= 32 << 10


class Bench(unittest.TestCase):
    def test_json(self):
        for mode in ["training", "inference"]:
            with self.subTest(mode), tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
                file = pathlib.Path(folder) / "result.json"
                status, output, error = bench(*SMALL, "--mode", mode, "--json", file, "--profile")
                self.assertEqual((status, error), (0, ""))
                self.assertIn(f"reference {mode} f32 batch 2 at 16x16, 1 thread", output)
                self.assertIn("convolution", output)
                result = json.loads(file.read_text())
                expected = {"framework": "facet", "model": "reference", "mode": mode, "precision": "f32", "batch": 2,
                            "size": 16, "threads": 1, "tuned": False}
                self.assertEqual({key: result[key] for key in expected}, expected)
                rates = result["images_per_s"]
                self.assertGreater(rates["min"], 0)
                self.assertEqual(rates["min"], rates["max"])  # there is only one step
                for key in ["parameters", "arena_bytes", "peak_resident_bytes", "compile_seconds"]:
                    self.assertGreater(result[key], 0, key)
                self.assertTrue(result["versions"]["onednn"])
                self.assertGreaterEqual(result["machine"]["cores"], 1)
                self.assertEqual(os.listdir(folder), ["result.json"])

    def test_balance(self):
        status, output, error = bench("--size", 16, "--batch", 2, "--threads", 1, "--iterations", 2, "--balance", 5,
                                      "--no-tune")
        self.assertEqual((status, error), (0, ""))
        self.assertRegex(output, r"(?m)^ *[\d.]+ +[\d.]+ +\d+ +[\d.]+[ !] heads\.age\.hidden\.weight\.update \(facet:update, "
                                 r"loop 1\)$")
        result = result_of("--size", 16, "--batch", 2, "--threads", 1, "--iterations", 2, "--balance", 5, "--no-tune")
        self.assertEqual((result["bench"], result["threads"]), ("balance", 5))
        balance = result["balance"]
        self.assertEqual(balance["threads"], 5)
        self.assertGreaterEqual(balance["step_seconds"], balance["ideal_seconds"])
        loops = balance["loops"]
        self.assertEqual([loop["share"] for loop in loops], sorted((loop["share"] for loop in loops), reverse=True))
        for loop in loops:
            self.assertIn(loop["pieces"], range(1, 6), loop)
            self.assertLessEqual(loop["longest"], loop["seconds"])
            self.assertLessEqual(loop["seconds"], loop["longest"] * loop["pieces"] * 1.0001)
            self.assertEqual(loop["balanced"], loop["share"] <= 0.005 or
                             loop["pieces"] == 5 and loop["longest"] * 5 <= 1.5 * loop["seconds"], loop)
        # 256 x 256 elements in ranges of at least 8192
        self.assertEqual([loop["pieces"] for loop in loops if loop["loop"] == 1 and
                          loop["instruction"] == "heads.age.hidden.weight.update"], [5])
        self.assertEqual([loop["pieces"] for loop in loops if loop["loop"] == 1 and
                          loop["instruction"] == "heads.age.logits.weight.update"], [1])

    def test_machine_and_versions_are_recorded(self):
        for program in [BENCH, PRIMITIVES]:
            result = result_of(*SMALLEST, program=program)
            self.assertEqual(result["bench"], "training" if program == BENCH else "primitives")
            self.assertEqual(set(result["versions"]), {"facet", "onednn", "compiler"})
            self.assertEqual(set(result["machine"]), {"cpu", "cpu_isa", "limit", "cores", "frequency_mhz",
                                                      "last_level_cache_bytes", "huge_pages"})

    def test_huge_pages_are_recorded(self):
        if not gives_huge_pages():
            self.skipTest("the kernel gives no huge pages at the page fault")
        huge_pages = result_of(*SMALLEST)["machine"]["huge_pages"]
        self.assertIn(huge_pages["policy"], ["always", "madvise"])
        self.assertGreater(huge_pages["bytes"], 0)

    def test_forbidden_huge_pages_are_recorded(self):
        def forbid():
            pr_set_thp_disable = 41
            if ctypes.CDLL(None).prctl(pr_set_thp_disable, 1, 0, 0, 0) != 0:
                raise OSError("prctl")

        try:
            huge_pages = result_of(*SMALLEST, preexec_fn=forbid)["machine"]["huge_pages"]
        except subprocess.SubprocessError:  # raised by forbid
            self.skipTest("the kernel doesn't let a process forbid huge pages")
        self.assertEqual(huge_pages["bytes"], 0)
        if status_line("/proc/self/status", "THP_enabled"):  # since Linux 5.0
            self.assertEqual(huge_pages["policy"], "never")

    def test_scaling(self):
        words = ["--size", "16", "--batch", "2", "--iterations", "1", "--warmup", "0", "--no-tune", "--threads", "1,2"]
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "scaling.json"
            status, output, error = bench(*words, "--json", file)
            self.assertEqual((status, error), (0, ""))
            self.assertRegex(output, r"(?m)^threads +images/s +speed-up +efficiency\n +1 .* 1.00 +100%\n +2 ")
            one, two = map(json.loads, file.read_text().splitlines())
            self.assertEqual([one["threads"], two["threads"]], [1, 2])
            self.assertEqual([one["speed_up"], one["efficiency"]], [1, 1])
            self.assertAlmostEqual(two["speed_up"], two["images_per_s"]["median"] / one["images_per_s"]["median"])
            self.assertAlmostEqual(two["efficiency"], two["speed_up"] / 2)
            if FACET:
                rows = subprocess.run([FACET, "compare", file], capture_output=True, text=True, check=True).stdout
                self.assertRegex(rows, rf"(?m)^scaling .* 1\.000 [^\n]*\nscaling#2 .* {two['speed_up']:.3f} ")

    def test_pinned(self):
        self.assertEqual(result_of(*SMALLEST)["placement"], "not pinned")
        _, _, error = bench(*SMALLEST, "--pin")
        if "oneTBB" in error or "pinned to by other programs" in error:
            self.skipTest(error)
        self.assertRegex(result_of(*SMALLEST, "--pin")["placement"], r"^pinned to CPU \d+$")

    def test_primitives(self):
        result = result_of(*SMALLEST, program=PRIMITIVES)
        primitives = result["primitives"]
        self.assertGreater(result["peak"]["f32_gflops"], 0)
        self.assertGreater(result["peak"]["copy_gb_per_s"], 0)
        for primitive in primitives:
            chosen = [way for way in primitive["candidates"] if way["chosen"]]
            self.assertGreaterEqual(len(chosen), 1, primitive)
            for way in primitive["candidates"]:
                self.assertGreater(way["ms"]["min"], 0)
                self.assertLessEqual(way["ms"]["min"], way["ms"]["median"])
                self.assertLessEqual(way["ms"]["median"], way["ms"]["max"])
                self.assertEqual("gflops" in way, primitive["flops"] > 0)
        count = {kind: sum(p["count"] for p in primitives if p["kind"] == kind) for kind in
                 ["convolution forward", "convolution backward data", "convolution backward weights", "update"]}
        self.assertEqual(list(count.values()), [12, 11, 12, 48])  # the first convolution needs no gradient of the image
        convolutions = [p for p in primitives if p["kind"].startswith("convolution")]
        for primitive in convolutions:
            self.assertEqual(primitive["flops"], convolution_flops(primitive))
            self.assertEqual([way["candidate"] for way in primitive["candidates"] if way["chosen"]],
                             [primitive["candidates"][0]["candidate"]])
            if " by 64x3x7x7" not in primitive["work"]:  # a Winograd algorithm and a direct one
                self.assertGreaterEqual(len(primitive["candidates"]), 2, primitive)
        self.assertEqual(len({(p["kind"], p["work"], p["part"]) for p in primitives}), len(primitives))
        # An update reads gradient, weight and two moments, and writes all but the gradient: 28 bytes per parameter.
        updates = {p["work"]: p["candidates"][0]["bytes"] for p in primitives if p["kind"] == "update"}
        self.assertEqual(updates["update 64x64x3x3"], 28 * 64 * 64 * 9)

    def test_primitives_of_inference(self):
        kinds = {p["kind"] for p in result_of(*SMALLEST, "--mode", "inference", program=PRIMITIVES)["primitives"]}
        self.assertIn("convolution forward", kinds)
        self.assertNotIn("convolution backward data", kinds)
        self.assertNotIn("update", kinds)

    def test_floor(self):
        result = result_of(*SMALL, "--profile")
        floor = result["floor"]
        seconds = sum(p["count"] * p["seconds"] for p in floor["primitives"])
        self.assertAlmostEqual(floor["seconds"], seconds)
        self.assertAlmostEqual(floor["seconds"], sum(kind["seconds"] for kind in floor["by_kind"].values()))
        self.assertAlmostEqual(floor["ratio"], floor["step_seconds"] / floor["seconds"])
        self.assertAlmostEqual(floor["step_seconds"], 2 / result["images_per_s"]["median"])
        self.assertNotIn("reorder", [p["kind"] for p in floor["primitives"]])
        self.assertEqual(floor["over"], sorted(floor["over"], key=lambda one: -one["seconds"]))
        self.assertGreater(result["share_of_peak"], 0)

    def test_check_against_an_earlier_result(self):
        earlier = result_of(*SMALL, "--profile")
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "earlier.json"

            def check(ratio, share, **changes):
                file.write_text(json.dumps({**earlier, "floor": {"ratio": ratio}, "share_of_peak": share, **changes}))
                return bench(*SMALL, "--check", file)

            status, output, error = check(1e6, 1e-9)
            self.assertEqual((status, error), (0, ""))
            self.assertIn("share of peak", output)
            self.assertEqual(check(1e-6, 1e-9)[0], 1)
            self.assertEqual(check(1e6, 1e3)[0], 1)
            status, output, error = check(1e6, 1e-9, batch=3)
            self.assertEqual((status, output), (1, ""))
            self.assertIn("/batch is 3 in that file and 2 in this result", error)
            status, output, error = check("fast", 1)
            self.assertEqual((status, output), (1, ""))
            self.assertIn(f"{file}: no number above 0 at /floor/ratio", error)
            self.assertIn("/nowhere.json: can't be read", bench(*SMALL, "--check", "/nowhere.json")[2])

    def test_trace_and_profile_hold_the_same_instructions(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file, trace = pathlib.Path(folder) / "result.json", pathlib.Path(folder) / "trace.json"
            self.assertEqual(bench(*SMALL, "--profile", "--json", file, "--trace", trace)[0], 0)
            profile = json.loads(file.read_text())["profile"]
            events = json.loads(trace.read_text())["traceEvents"]
            self.assertEqual([instruction["name"] for instruction in profile["instructions"]],
                             [event["name"] for event in events])
            self.assertAlmostEqual(sum(profile["by_kind"].values()), profile["seconds"])
            for before, after in zip(events, events[1:]):
                self.assertAlmostEqual(before["ts"] + before["dur"], after["ts"])
            self.assertEqual({event["ph"] for event in events}, {"X"})

    def test_save_memory(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "result.json"
            arena = {}
            for words in [[], ["--save-memory"]]:
                status, output, error = bench("--size", 64, *SMALL[2:], "--json", file, "--profile", *words)
                self.assertEqual((status, error), (0, ""))
                result = json.loads(file.read_text())
                self.assertEqual(result["save_memory"], bool(words))
                again = [one["name"] for one in result["profile"]["instructions"] if one["name"].endswith(".recompute")]
                self.assertEqual(bool(again), bool(words))
                arena[bool(words)] = result["arena_bytes"]
            self.assertLess(arena[True], arena[False])

    def test_cpu_isa_is_limited(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "result.json"
            status, output, error = bench(*SMALL, "--instructions", "avx2", "--json", file, "--profile")
            self.assertEqual((status, error), (0, ""))
            self.assertNotIn("avx512", output)
            self.assertEqual(json.loads(file.read_text())["machine"]["limit"], "avx2")
            self.assertEqual(bench(*SMALL, "--max-cpu-isa", "avx2", "--precision", "bf16")[0], 1)

    def test_misuse(self):
        cases = [
            (["--precision", "auto"], "allowed: f32, bf16"), (["--mode", "train"], "allowed: training, inference"),
            (["--model", "refernce"], "allowed: reference"), (["--warmup", "-5"], "--warmup is -5"),
            (["--threads", "-3"], "--threads is -3"), (["--batch", "0"], "--batch is 0"),
            (["--iterations", "0"], "--iterations is 0"), (["--size", "17"], "17"), (["--batch", "x"], "--batch"),
            (["--size", "64x"], "--size is '64x'"), (["--size", "16x17"], "width 17"),
            (["--size", "16x16385"], "--size is '16x16385'"),
            (["--batc", "2"], "--batc"), (["stray"], "'stray'"), (["--tune"], "--tune"),
            (["--max-cpu-isa", "sse9"], "avx2, avx512, avx512_bf16"), (["--threads", "1,x"], "--threads is 1,x"),
            (["--balance", "-1"], "--balance is -1"), (["--balance", "4", "--profile"], "--balance can't be used with"),
            (["--threads", "1,2", "--profile"], "--profile, --check and --trace need a single number"),
        ]
        if "oneTBB" not in bench("--pin", "--threads", "4096")[2]:
            cases.append((["--threads", "4096", "--pin"], "each of 4096 compute threads needs a core"))
        for words, message in cases:
            with self.subTest(words):
                status, output, error = bench(*words)
                self.assertEqual((status, output), (2, ""), error)
                self.assertTrue(error.startswith("bench_training: "), error)
                self.assertEqual(error.count("\n"), 1, error)
                self.assertIn(message, error)
        status, output, error = bench("--iterations", "0", program=PRIMITIVES)
        self.assertEqual((status, output), (2, ""))
        self.assertTrue(error.startswith("bench_primitives: --iterations is 0"), error)
        self.assertIn("--threads is 1,2; a single number is needed", bench("--threads", "1,2", program=PRIMITIVES)[2])

    def test_output_that_cannot_be_written(self):
        status, output, error = bench(*SMALL, "--json", "/nowhere/result.json")
        self.assertEqual((status, output), (1, ""))
        self.assertIn("/nowhere/result.json", error)


class Loading(unittest.TestCase):
    SMALL = ["--images", 12, "--size", 32, "--batch", 4, "--iterations", 2]
    STAGES = ["read", "decode", "resize", "transforms", "collate", "other"]

    def test_synthetic_jpegs(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file, temporary = pathlib.Path(folder) / "loading.json", pathlib.Path(folder) / "tmp"
            temporary.mkdir()
            status, output, error = bench(*self.SMALL, "--jpeg-size", "96x64", "--augment", "strong", "--color-jitter",
                                          "0.4,0.4,0.4,0", "--json", file, program=LOADING,
                                          env={**os.environ, "TMPDIR": str(temporary)})
            self.assertEqual((status, error), (0, ""))
            self.assertEqual(os.listdir(temporary), [])
            self.assertIn("12 images of synthetic JPEGs of 96x64 to 32x32 --augment strong --color-jitter 0.4,0.4,0.4,0, "
                          "batch 4, ", output)
            self.assertRegex(output, r"\n1 thread: [\d.]+ images/s a core .*; bare decode [\d.]+, ratio [\d.]+\n")
            result = json.loads(file.read_text())
        expected = {"framework": "facet", "bench": "loading", "mode": "loading", "data": "synthetic JPEGs of 96x64",
                    "threads": 1, "images": 12, "batch": 4, "size": 32, "resize": "squash",
                    "augmentation": "--augment strong --color-jitter 0.4,0.4,0.4,0"}
        self.assertEqual({key: result[key] for key in expected}, expected)
        self.assertEqual(set(result["versions"]), {"facet", "onednn", "compiler", "libjpeg"})
        self.assertEqual(result["images_per_s"], result["images_per_s_per_core"])
        loaded, decoded = result["images_per_s_per_core"], result["bare_decode_images_per_s_per_core"]
        self.assertLessEqual(loaded["min"] / decoded["max"], result["ratio"])
        self.assertLessEqual(result["ratio"], loaded["max"] / decoded["min"])
        self.check_stages(output, result)

    def check_stages(self, output, result):
        self.assertEqual(re.findall(r"(?m)^(\w+) +[\d.]+ +[\d.]+%$", output), self.STAGES)
        self.assertEqual(set(result["stages"]), set(self.STAGES))
        for stage in result["stages"].values():
            self.assertGreater(stage["us"]["min"], 0)
            self.assertGreater(stage["share"], 0)
        # The stages of both rounds and the rest are the time of an image.
        sums = [sum(stage["us"][value] for stage in result["stages"].values()) for value in ("min", "max")]
        for rate in (result["images_per_s"]["min"], result["images_per_s"]["max"]):
            self.assertTrue(sums[0] <= 1.001e6 / rate and 0.999e6 / rate <= sums[1], (sums, rate))

    def test_data_on_several_numbers_of_threads(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file, sample = pathlib.Path(folder) / "loading.json", pathlib.Path(folder) / "sample"
            if not FACET:
                self.skipTest("the program facet isn't built")
            subprocess.run([FACET, "synth", sample, "--train", "16", "--validation", "0"], capture_output=True, check=True)
            (sample / "train.csv").rename(pathlib.Path(folder) / "list.csv")
            words = ["--data", pathlib.Path(folder) / "list.csv", "--root", sample]
            status, output, error = bench(*words, *self.SMALL, "--threads", "1,2", "--json", file, program=LOADING)
            self.assertEqual((status, error), (0, ""))
            self.assertRegex(output, r"(?m)^threads +images/s +speed-up +efficiency\n +1 .* 1.00 +100%\n +2 ")
            one, two = map(json.loads, file.read_text().splitlines())
            self.assertEqual([one["threads"], two["threads"]], [1, 2])
            self.assertAlmostEqual(two["images_per_s"]["median"], 2 * two["images_per_s_per_core"]["median"])
            self.assertAlmostEqual(two["speed_up"], two["images_per_s"]["median"] / one["images_per_s"]["median"])
            rows = subprocess.run([FACET, "compare", file], capture_output=True, text=True, check=True).stdout
            self.assertRegex(rows, rf"(?m)^loading#2 .* loading .* {two['images_per_s']['median']:.2f} ")

            # Without a JPEG among the images there is nothing to hold against libjpeg-turbo.
            png = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC")
            (sample / "train" / "figure-000001.jpg").write_bytes(png)
            result = result_of(*words, "--iterations", 1, program=LOADING)
            self.assertEqual(result["images"], 16)
            self.assertNotIn("ratio", result)
            (sample / "train" / "figure-000001.jpg").write_bytes(b"")
            status, output, error = bench(*words, program=LOADING)
            self.assertEqual((status, error.count("\n")), (1, 1), error)
            self.assertIn("figure-000001.jpg: is empty", error)
            self.assertIn(f"--images is 17; {folder}/list.csv has 16",
                          bench(*words, "--images", 17, program=LOADING)[2])

    def test_help_has_the_options_of_facet_train(self):
        status, output, error = bench("--help", program=LOADING)
        self.assertEqual((status, error), (0, ""))
        for option in ("data", "root", "jpeg-size", "threads", "json", "no-flip", "augment", "random-resized-crop",
                       "trivial-augment", "rand-augment", "rotation", "affine", "color-jitter", "grayscale", "blur",
                       "random-erasing", "mixup", "cutmix", "interpolation"):
            self.assertIn(f"--{option} ", output)

    def test_misuse(self):
        for words, message in (
                (["--jpeg-size", "1024"], "--jpeg-size is '1024'; WIDTHxHEIGHT is needed"),
                (["--jpeg-size", "1024x16"], "a whole number from 32 to 2048 is needed"),
                (["--images", "-1"], "--images is -1"), (["--iterations", "0"], "--iterations is 0"),
                (["--threads", "1,-1"], "--threads is 1,-1"), (["--augment", "heavy"], "--augment is 'heavy'; allowed"),
                (["--color-jitter", "0.4,0.4"], "--color-jitter is '0.4,0.4'"), (["--mixup", "-1"], "mixup is -1"),
                (["--resize", "cover"], "--resize is 'cover'; allowed: squash, crop"),
                (["--root", "images"], "--data names none"), (["train.csv"], "'train.csv' is not an option")):
            with self.subTest(words):
                status, output, error = bench(*words, program=LOADING)
                self.assertEqual((status, output), (2, ""), error)
                self.assertTrue(error.startswith("bench_loading: "), error)
                self.assertEqual(error.count("\n"), 1, error)
                self.assertIn(message, error)

    def test_failures(self):
        for words in (["--data", "/nowhere/train.csv"], ["--json", "/nowhere/loading.json"]):
            status, output, error = bench(*words, program=LOADING)
            self.assertEqual((status, output), (1, ""))
            self.assertIn(words[1], error)


class Allreduce(unittest.TestCase):
    """bench_allreduce in one process."""

    def test_one_rank_has_nothing_to_exchange(self):
        status, output, error = bench(program=ALLREDUCE)
        self.assertEqual((status, output), (2, ""))
        self.assertEqual(error, "bench_allreduce: one rank has nothing to exchange; start several, as in: mpirun -n 2 "
                                "bench_allreduce\n")

    def test_help(self):
        status, output, error = bench("--help", program=ALLREDUCE)
        self.assertEqual((status, error), (0, ""))
        for option in ("bytes", "warmup", "iterations", "threads", "json"):
            self.assertIn(f"--{option} ", output)

    def test_misuse(self):
        for sizes in ("0", "5", "4k", "4KB", "8G", "4K,", "-4", "1M-4K", "4K-", "99999999999999999999", "4-8-16"):
            self.assertIn(f"--bytes is {sizes}; sizes such as", self.refused(f"--bytes={sizes}"))
        self.assertIn("--iterations is 0", self.refused("--iterations", 0))
        self.assertIn("--warmup is -1", self.refused("--warmup", -1))
        self.assertIn("--threads is -1", self.refused("--threads", -1))
        self.assertIn("'4K' is not an option", self.refused("4K"))

    def refused(self, *words):
        status, output, error = bench(*words, program=ALLREDUCE)
        self.assertEqual((status, output), (2, ""), error)
        self.assertTrue(error.startswith("bench_allreduce: "), error)
        self.assertEqual(error.count("\n"), 1, error)
        return error


class OnRanks(unittest.TestCase):
    """A bench executable in several processes; skipped where there is no mpirun or facet is built without MPI."""

    program = ""

    @classmethod
    def setUpClass(cls):
        if not MPIEXEC or not os.path.exists(MPIEXEC):
            print("SKIPPED: there is no mpirun, or facet is built without MPI")
            raise unittest.SkipTest("there is no mpirun")

    def on_ranks(self, ranks, *words):
        done = subprocess.run([MPIEXEC, "-n", str(ranks), self.program, *map(str, words)], capture_output=True,
                              text=True, timeout=120, stdin=subprocess.DEVNULL, env={**os.environ, **MPI_ENVIRONMENT})
        return done.returncode, done.stdout, done.stderr


class AllreduceOnRanks(OnRanks):
    """bench_allreduce in two processes."""

    program = ALLREDUCE

    def test_results(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "sums.json"
            status, output, error = self.on_ranks(2, "--bytes", "4,4K-70K,1000004", "--iterations", 4, "--warmup", 1,
                                                  "--threads", 1, "--json", file)
            self.assertEqual(status, 0, output + error)
            title, _, *rows = output.splitlines()
            self.assertRegex(title, r"^sum of f32 over 2 ranks on 1 host, 1 thread each, .* \(.+\)$")
            self.assertEqual([" ".join(row.split()[:2]) for row in rows],
                             ["4 B", "4 KiB", "16 KiB", "64 KiB", "1000004 B"])
            results = [json.loads(line) for line in file.read_text().splitlines()]
            self.assertEqual(os.listdir(folder), ["sums.json"])
            self.assertEqual([(result["bytes"], result["function"]) for result in results],
                             [(size, function) for size in (4, 4096, 16384, 65536, 1000004)
                              for function in ("facet", "MPI_Allreduce", "MPI_Iallreduce")])
            for result in results:
                self.check(result, results)
            if FACET:
                table = subprocess.run([FACET, "compare", file], capture_output=True, text=True, check=True).stdout
                lines = table.splitlines()
                self.assertEqual(len(lines), 1 + len(results))
                for line, result in zip(lines[1:], results):
                    for cell in (result["name"], result["function"], f"{result['gb_per_s']['median']:.3f}"):
                        self.assertIn(cell, line)
                    if result["function"] == "facet":
                        self.assertTrue(line.endswith(" 1.000"), line)

    def check(self, result, results):
        """Checks one of the results of two ranks."""
        expected = {"bench": "allreduce", "precision": "f32", "ranks": 2, "hosts": 1, "threads": 1, "iterations": 4}
        self.assertEqual({key: result[key] for key in expected}, expected)
        self.assertEqual(set(result["versions"]), {"facet", "onednn", "compiler", "mpi"})
        self.assertEqual(result["framework"], "facet" if result["function"] == "facet" else result["versions"]["mpi"])
        self.assertGreaterEqual(result["machine"]["cores"], 1)
        ms, rate = result["ms"], result["gb_per_s"]
        self.assertTrue(0 < ms["min"] <= ms["median"] <= ms["max"], ms)
        # With two ranks, each must send as many bytes as the message has.
        self.assertAlmostEqual(rate["median"] / (result["bytes"] / ms["median"] / 1e6), 1)
        self.assertAlmostEqual(rate["max"] / (result["bytes"] / ms["min"] / 1e6), 1)
        best = min(other["ms"]["median"] for other in results
                   if other["bytes"] == result["bytes"] and other["function"] != "facet")
        self.assertAlmostEqual(result["ratio"], best / ms["median"])

    def test_rank_0_alone_prints(self):
        status, output, error = self.on_ranks(2, "--help")
        self.assertEqual((status, output.count("--iterations ")), (0, 1), error)
        for words, expected, message in ((["--bytes", "5"], 2, "--bytes is 5"),
                                         (["--bytes", "4K", "--json", "/nowhere/sums.json"], 1, "/nowhere/sums.json")):
            status, output, error = self.on_ranks(2, *words)
            self.assertEqual((status, output), (expected, ""), error)
            self.assertEqual(error.count("bench_allreduce: "), 1, error)
            self.assertIn(message, error)


SCALING_STEP = ["--size", 32, "--batch", 2, "--warmup", 1, "--iterations", 2, "--rounds", 2, "--no-tune"]


def check_efficiency(test, result, first):
    """Checks a result of bench_scaling against the first of the same scaling."""
    speed_up = result["images_per_s"]["median"] / first["images_per_s"]["median"]
    test.assertAlmostEqual(result["speed_up"], speed_up)
    resources = result["ranks"] * result["threads"] / (first["ranks"] * first["threads"])
    test.assertAlmostEqual(result["efficiency"], speed_up / resources)


class Scaling(unittest.TestCase):
    """bench_scaling in one process, where it measures numbers of threads."""

    def test_one_process_measures_threads(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "scaling.json"
            status, output, error = bench(*SCALING_STEP, "--threads", "1,2", "--scaling", "strong", "--json", file,
                                          program=SCALING)
            self.assertEqual((status, error), (0, ""))
            self.assertIn("training reference f32 batch 2 at 32x32, 1 rank on 1 host, ", output)
            results = [json.loads(line) for line in file.read_text().splitlines()]
            self.assertEqual([result["name"] for result in results], ["strong 1x1", "strong 1x2"])
            for result in results:
                self.assertEqual((result["ranks"], result["batch"]), (1, 2))
                self.assertNotIn("communication_ms", result)
            check_efficiency(self, results[1], results[0])

    def test_help(self):
        status, output, error = bench("--help", program=SCALING)
        self.assertEqual((status, error), (0, ""))
        for option in ("model", "size", "scaling", "ranks", "threads", "batch", "reduce", "rounds", "json"):
            self.assertIn(f"--{option} ", output)

    def test_misuse(self):
        for words, message in (
                (["--ranks", "1,2"], "--ranks is 1,2; one rank is started: mpirun -n 2 bench_scaling starts as many"),
                (["--ranks", "0"], "--ranks is 0; a whole number from 1 "), (["--ranks", "1,"], "--ranks is 1,;"),
                (["--threads", "1,x"], "--threads is 1,x;"), (["--threads", "-1"], "--threads is -1"),
                (["--scaling", "week"], "--scaling is 'week'; allowed: weak, strong"),
                (["--scaling", "weak,"], "--scaling is ''"), (["--batch", "0"], "--batch is 0"),
                (["--batch", "x"], "--batch is x; a whole number from 1 to 65536 is needed"),
                (["--rounds", "0"], "--rounds is 0; a whole number from 1 to 1000000 is needed"),
                (["--iterations", "2.5"], "--iterations is 2.5; a whole number from 1 to 1000000 is needed"),
                (["--warmup", "-1"], "--warmup is -1; a whole number from 0 "), (["--size", "17"], "height 17"),
                (["--model", "x"], "--model is 'x'"), (["--precision", "auto"], "allowed: f32, bf16"),
                (["--reduce", "f16"], "--reduce is 'f16'; allowed: f32, bf16"), (["--mode", "inference"], "--mode"),
                (["stray"], "'stray'")):
            with self.subTest(words):
                status, output, error = bench(*words, program=SCALING)
                self.assertEqual((status, output), (2, ""), error)
                self.assertTrue(error.startswith("bench_scaling: "), error)
                self.assertEqual(error.count("\n"), 1, error)
                self.assertIn(message, error)


class ScalingOnRanks(OnRanks):
    """bench_scaling in two processes."""

    program = SCALING
    MEASURED = [("weak", 1, 2), ("weak", 2, 4), ("strong", 1, 2), ("strong", 2, 2)]  # with ranks and batch

    def test_results(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "scaling.json"
            status, output, error = self.on_ranks(2, *SCALING_STEP, "--threads", 1, "--json", file)
            self.assertEqual(status, 0, output + error)
            title, _, *rows = output.splitlines()
            self.assertRegex(title, r"^training reference f32 batch 2 at 32x32, 2 ranks on 1 host, .* \(.+\)$")
            self.assertEqual([row.split()[:5] for row in rows],
                             [[scaling, str(ranks), "1", "1", str(batch)] for scaling, ranks, batch in self.MEASURED])
            results = [json.loads(line) for line in file.read_text().splitlines()]
            self.assertEqual(os.listdir(folder), ["scaling.json"])
            self.assertEqual([result["name"] for result in results],
                             [f"{scaling} {ranks}x1" for scaling, ranks, _ in self.MEASURED])
            for result, measured in zip(results, self.MEASURED):
                with self.subTest(result["name"]):
                    self.check(result, *measured)
            check_efficiency(self, results[1], results[0])
            check_efficiency(self, results[3], results[2])
            # On one rank weak scaling is strong scaling, and measured once.
            self.assertEqual(results[0]["step_ms"], results[2]["step_ms"])
            if FACET:
                table = subprocess.run([FACET, "compare", file], capture_output=True, text=True, check=True).stdout
                lines = table.split("\n\n")[0].splitlines()
                self.assertIn(" ranks ", lines[0])
                self.assertEqual(len(lines), 1 + len(results))
                for line, result in zip(lines[1:], results):
                    self.assertIn(f" {result['name']} ", line)
                    self.assertIn(f" {result['images_per_s']['median']:.2f} ", line)
                self.check_plan(file, results[1], results[3])

    def check_plan(self, file, *nodes):
        """facet plan-cluster reads the results, of which those of two ranks on this host are nodes."""
        plan = json.loads(subprocess.run([FACET, "plan-cluster", "--bench", file, "--network", "100Gb/s,2us", "--json"],
                                         capture_output=True, text=True, check=True).stdout)
        fastest = max(nodes, key=lambda node: node["images_per_s"]["median"])
        self.assertEqual(plan["node"]["name"], fastest["name"])
        self.assertAlmostEqual(plan["node"]["step_ms"], fastest["step_ms"]["median"])
        row = next(row for row in plan["clusters"] if row["nodes"] == 2)
        self.assertEqual((row["ranks"], row["batch"]), (4, 2 * fastest["batch"]))
        # Between two nodes, half of each bucket goes each way twice, at 12.5 GB/s.
        seconds = 2 * sum(2e-6 + bucket["bytes"] / 2 / 12.5e9 for bucket in fastest["buckets"])
        self.assertAlmostEqual(row["communication_ms"], seconds * 1e3)
        self.assertAlmostEqual(row["step_ms"], fastest["step_ms"]["median"] + row["waited_ms"])

    def check(self, result, scaling, ranks, batch):
        expected = {"framework": "facet", "bench": "scaling", "mode": "training", "model": "reference", "size": 32,
                    "precision": "f32", "tuned": False, "scaling": scaling, "ranks": ranks, "hosts": 1,
                    "ranks_per_host": ranks, "threads": 1, "batch": batch, "batch_per_rank": batch // ranks,
                    "reduce": "f32"}
        self.assertEqual({key: result[key] for key in expected}, expected)
        self.assertEqual(set(result["versions"]), {"facet", "onednn", "compiler", "mpi"})
        ms, rate = result["step_ms"], result["images_per_s"]
        self.assertTrue(0 < ms["min"] <= ms["median"] <= ms["max"], ms)
        self.assertAlmostEqual(rate["median"] * ms["median"] / 1e3 / batch, 1)
        self.assertAlmostEqual(rate["max"] * ms["min"] / 1e3 / batch, 1)
        communication = ["communication_ms", "waited_ms", "cpu_ms", "hidden", "gradient_bytes", "buckets"]
        self.assertEqual([key in result for key in communication], [ranks > 1] * len(communication))
        if ranks == 1:
            return
        self.assertGreater(result["communication_ms"], 0)
        # Waiting for the other rank is no part of the communication, so that it may be longer.
        self.assertAlmostEqual(result["hidden"], max(0, 1 - result["waited_ms"] / result["communication_ms"]))
        self.assertGreater(result["waited_ms"], 0)
        self.assertGreater(result["cpu_ms"], 0)
        buckets = result["buckets"]
        self.assertTrue(buckets)
        # All trained parameters are exchanged, in f32, and what lies between two of them.
        self.assertEqual(sum(bucket["bytes"] for bucket in buckets), result["gradient_bytes"])
        self.assertGreaterEqual(result["gradient_bytes"], 4 * result["parameters"])
        ready = [bucket["ready_ms"] for bucket in buckets]
        self.assertEqual(ready, sorted(ready))
        self.assertGreaterEqual(ready[0], 0)
        self.assertLess(ready[-1], ms["median"])  # both are medians over the same steps
        for bucket in buckets:
            self.assertEqual(bucket["gathered_bytes"], bucket["bytes"], "in f32")
            self.assertTrue(0 <= bucket["needed_ms"] < bucket["ready_ms"], bucket)

    def test_the_ranks_that_are_left_out_wait(self):
        with tempfile.TemporaryDirectory(prefix="facet-bench-") as folder:
            file = pathlib.Path(folder) / "scaling.json"
            status, output, error = self.on_ranks(3, *SCALING_STEP, "--threads", 1, "--ranks", "2", "--scaling", "weak",
                                                  "--json", file)
            self.assertEqual(status, 0, output + error)
            result = json.loads(file.read_text())
            self.assertEqual((result["name"], result["ranks"], len(result["buckets"]) > 0), ("weak 2x1", 2, True))

    def test_rank_0_alone_prints(self):
        status, output, error = self.on_ranks(2, "--help")
        self.assertEqual((status, output.count("--iterations ")), (0, 1), error)
        for words, expected, message in (
                (["--ranks", "3"], 2, "--ranks is 3; 2 ranks are started"),
                (["--batch", 1], 2, "--batch is 1; strong scaling over 2 ranks needs an image for each"),
                (["--json", "/nowhere/scaling.json"], 1, "/nowhere/scaling.json"),
                # A rank's share is one image, which is a single pixel before the last block.
                (["--size", 16, "--batch", 2, "--ranks", "1,2", "--threads", 1, "--no-tune"], 1, "use a larger batch")):
            with self.subTest(words):
                status, output, error = self.on_ranks(2, *words)
                self.assertEqual(status, expected, error)
                self.assertNotIn("images/s", output)
                self.assertEqual(error.count("bench_scaling: "), 1, error)
                self.assertIn(message, error)


if __name__ == "__main__":
    unittest.main(verbosity=2)
