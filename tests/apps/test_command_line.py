"""The command line of the program facet: its manual, and errors of usage, of input and of output.

Run as: FACET_PROGRAM=path/to/facet /usr/bin/python3 test_command_line.py [class]
"""

import re
import shutil
import subprocess
import unittest

import program
from program import AppTest, QUICK, facet

COMMANDS = ["synth", "inspect", "summary", "tune", "train", "import", "evaluate", "predict", "export", "compare",
            "plan-cluster", "reproduce", "completion", "man"]


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

    def test_defaults_and_other_forms_of_help(self):
        page = facet("train", "--help")[1]
        self.assertRegex(page, r"--batch N .*\(default: 64\)")
        self.assertIn("--drop-last", page)
        self.assertEqual(page, facet("help", "train")[1])
        self.assertEqual(page, facet("train", "--train", "x", "-h")[1])

    def test_version_lists_the_features_of_the_build(self):
        first, *lines = facet("--version")[1].splitlines()
        self.assertRegex(first, r"^facet \d+\.\d+\.\d+$")
        features = dict(line.split("  ", 1) for line in lines)
        self.assertRegex(features["primitives"],
                         r"^ *oneDNN \d+\.\d+\.\d+, threads of (OpenMP|oneTBB); \w+ on this CPU$")
        compiled, used = re.fullmatch(r" *(.*); (\w+) on this CPU", features["kernels"]).groups()
        self.assertIn(used, compiled.split(", "))
        self.assertRegex(features["image formats"],
                         r"^ *JPEG \(libjpeg-turbo [\d.]+\), PNG \(libpng [\d.]+\), WebP \(libwebp [\d.]+\)$")
        self.assertRegex(features["MPI"], r"^ *(none|Open MPI v?[\d.]+|MPICH Version: [\d.]+|\w.*)$")


class Pages(AppTest):
    """Completion of command lines, and man pages."""

    def bash(self, *words):
        """The words that bash offers in place of the last one, and whether it also offers names of files."""
        script = """
            compopt() { [ "$*" = "+o default" ] && files=no; }
            source "$1"
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) files=yes
            _facet
            echo $files
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        (self.folder / "facet.bash").write_text(facet("completion", "bash")[1])
        done = subprocess.run(["bash", "-u", "-c", script, "bash", self.folder / "facet.bash", *words],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        files, *offered = done.stdout.splitlines()
        return [word for word in offered if word], files == "yes"

    def test_bash(self):
        self.assertEqual(self.bash("facet", "")[0], COMMANDS)
        self.assertEqual(self.bash("facet", "pl"), (["plan-cluster"], False))
        self.assertEqual(self.bash("facet", "--v")[0], ["--version"])
        self.assertEqual(self.bash("facet", "train", "--vali")[0], ["--validation"])
        self.assertIn("--csv", self.bash("facet", "predict", "run", "--")[0])
        self.assertNotIn("--csv", self.bash("facet", "train", "--")[0])
        self.assertEqual(self.bash("facet", "train", "--model", "resnet3")[0], ["resnet34"])
        self.assertEqual(self.bash("facet", "train", "--optimizer", "")[0], ["adam", "adamw", "sgd", "lars", "lamb"])
        self.assertEqual(self.bash("facet", "train", "--precision", "=", "bf")[0], ["bf16"])
        self.assertEqual(self.bash("facet", "train", "--precision", "="), (["auto", "f32", "bf16"], False))
        self.assertEqual(self.bash("facet", "train", "--train", ""), ([], True))
        self.assertEqual(self.bash("facet", "train", "--lr", ""), ([], False))
        self.assertEqual(self.bash("facet", "predict", ""), ([], True))
        self.assertEqual(self.bash("facet", "man", "ev")[0], ["evaluate"])
        self.assertEqual(self.bash("facet", "man", "--out", ""), ([], True))
        self.assertEqual(self.bash("facet", "nonsense", "--"), ([], True))

    def test_every_option_is_offered(self):
        zsh = facet("completion", "zsh")[1]
        for command in COMMANDS:
            page = facet(command, "--help")[1]
            options = sorted(set(re.findall(r"(?m)^  (--[a-z0-9-]+)", page)))
            self.assertEqual(sorted(self.bash("facet", command, "--")[0]), options)
            case = zsh.split(f"\n    {command})\n")[1].split(";;")[0]
            self.assertEqual(sorted(re.findall(r"(?m)^ +'\*?(--[a-z0-9-]+)[=\[]", case)), options)

    def test_zsh(self):
        if shutil.which("zsh") is None:
            self.skipTest("zsh isn't installed")
        script = self.folder / "_facet"
        script.write_text(facet("completion", "zsh")[1])
        done = subprocess.run(["zsh", "-n", script], capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_man_pages(self):
        self.assertIn("there is no command 'trian'; did you mean 'train'?", self.fails(2, "man", "trian"))
        self.assertIn("SHELL is 'fish'; allowed: bash, zsh", self.fails(2, "completion", "fish"))
        self.assertIn("nowhere", self.fails(1, "man", "--out", self.folder / "nowhere"))
        pages = self.folder / "pages"
        pages.mkdir()
        self.succeeds("man", "--out", pages)
        self.assertEqual(sorted(page.name for page in pages.iterdir()),
                         sorted(["facet.1", *(f"facet-{name}.1" for name in COMMANDS)]))
        self.assertEqual((pages / "facet-train.1").read_text(), facet("man", "train")[1])
        if shutil.which("groff") is None:
            self.skipTest("groff isn't installed")
        for name in ["", *COMMANDS]:
            page = pages / (f"facet-{name}.1" if name else "facet.1")
            shown = subprocess.run(["groff", "-man", "-ww", "-rHY=0", "-Tutf8", "-P-cbou", page], capture_output=True, text=True,
                                   timeout=60)
            self.assertEqual((shown.returncode, shown.stderr), (0, ""), page)
            manual = facet(*([name] if name else []), "--help")[1]
            # All words of the manual, in its order, are on the page; lines are broken elsewhere.
            words = iter(re.sub(r"\s+", " ", shown.stdout).split(" "))
            for line in manual.splitlines()[1:]:
                if line and not line.endswith(":"):
                    for word in line.split():
                        self.assertTrue(any(word == other for other in words), f"{page.name}: {word} of '{line}'")


class Misuse(AppTest):
    """Invalid command lines and config files: exit status 2 and a message of one line, with the nearest valid name."""

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
            (["train", "--train", "x", "--momentum", "1.5"], "--momentum is '1.5'; 0 up to below 1 is allowed"),
            (["train", "--train", "x", "--optimizer", "adm"],
             "--optimizer is 'adm'; allowed: adam, adamw, sgd, lars, lamb; did you mean 'adam'?"),
            (["train", "--train", "x", "--keep", "1.5"], "--keep is '1.5'; a whole number from 0 to 1000000 is needed"),
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
            (["predict", "a", ""], "argument is empty ('')"),
            (["synth"], "DIR is needed"),
            (["synth", ""], "argument is empty ('')"),
            (["synth", "x", "--size", "1"], "from 32 to 2048"),
            (["summary", "--heads", "age"], "NAME=CLASSES"),
            (["summary", "--heads", "age=1"], "at least|from 2"),
            (["summary", "--heads", "age=2,age=3"], "--heads is 'age=2,age=3', which has age twice"),
            (["summary", "--size", "100"], "--size is 100: the reference model: height 100 found; a multiple of 16"),
            (["summary", "--size", "64x40"], "--size is 64x40: the reference model: width 40 found; a multiple of 16"),
            *[([*words, "--size", size],
               f"--size is '{size}'; a whole number from 1 to 16384, or HEIGHTxWIDTH of such numbers, is needed")
              for words in [["summary"], ["train", "--train", "x"], ["import", "x", "--model", "alexnet", "--out", "y"]]
              for size in ["64x", "0x5", "axb", "x64", "64x48x3", "64x-48", "64.0", "16385", "16x16400"]],
            (["summary", "--model", "resnet34", "--stem", "8"],
             "--stem needs --model reference; the shape of resnet34"),
            (["summary", "--hidden", "mood=5"], "--hidden has a head mood; the heads are age, gender, race"),
            (["summary", "--dropout", "0.1,0.2"],
             "--dropout is '0.1,0.2', which has a value for all other heads twice"),
            (["summary", "--hidden", "age=1,age=2"], "--hidden is 'age=1,age=2', which has age twice"),
            (["summary", "--blocks", "64"], "--blocks has '64'; CHANNELSxN is needed, such as 64x1"),
            (["summary", "--blocks", ",".join(["8x1"] * 14)], "--blocks has 14 blocks; at most 13 are allowed"),
            (["summary", "--blocks", "8x1,8x1,8x1,8x1,8x1"],
             "--size is 224: the reference model: height 224 found; a multiple of 64"),
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
            ("--nesterov", "yes"), ("--weight-decay", "-1"), ("--schedule", "linear"), ("--warmup-epochs", "200"),
            ("--eta-min", "1"), ("--pct-start", "2"), ("--max-momentum", "1"), ("--base-momentum", "0.96"),
            ("--label-smoothing", "1"), ("--class-weights", "race"), ("--class-weights", "race=1,x"),
            ("--class-weights", "race=balancd"), ("--head-weights", "age"),
            ("--head-weights", "age=0"), ("--head-weights", "age=1,age=2"), ("--accumulate", "0"),
            ("--clip-norm", "-1"), ("--ema-decay", "1"), ("--patience", "-1"), ("--log-every", "-1"),
            ("--profile-steps", "-1"), ("--stem", "0"), ("--stem", "70000"),
            ("--blocks", "64x-1"),
            ("--blocks", "0x1"), ("--blocks", ",".join(["64x1"] * 14)), ("--hidden", "x"), ("--hidden", "=5"),
            ("--hidden", "age=0"), ("--dropout", "1"), ("--dropout", "beta:0.5"), ("--dropout", "race=alpha:-0.1"),
            ("--dropout", "mood=0.1"),
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
            ("\nmomentum = 1.5", ":2: momentum is '1.5'; 0 up to below 1 is allowed"),
            ("epochs =", ":1: epochs has no value"),
            ("epochs = 1\nepochs = 2", ":2: epochs is given twice"),
            ("drop-last = perhaps", "yes and no are allowed"),
            ('out = "a', "has no closing quote"),
            ('out = "a" b # c', ":1: 'b' follows the closing quote"),
            ("size = 17", ":1: size is 17"),
            ("config = other.cfg", "on the command line only"),
        ]
        config = self.folder / "bad.cfg"
        for text, message in cases:
            with self.subTest(text):
                config.write_text(text + "\n")
                self.assertIn(message, self.fails(2, "train", "--train", "x.csv", "--config", config))


class Failure(AppTest):
    """Invalid input, and output that can't be written: exit status 1 and a message of one line."""

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

    def test_outputs_that_cannot_be_written(self):
        self.write("plain", "")
        blocked = self.folder / "sample/plain/run"
        self.assertIn(str(blocked), self.fails(1, "train", *self.data, *QUICK, "--out", blocked))
        self.assertIn(str(blocked), self.fails(1, "synth", blocked))

    def test_files_that_are_not_models(self):
        self.assertIn("doesn't exist", self.fails(1, "evaluate", "nowhere", "--data", self.train_csv))
        self.assertIn("isn't a run's folder", self.fails(1, "predict", self.folder / "sample", self.folder))
        fake = self.write("fake.safetensors", "no model")
        self.assertIn("fake.safetensors", self.fails(1, "inspect", fake))

    def test_one_file_for_two_purposes(self):
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
