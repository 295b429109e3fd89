#!/usr/bin/env python3
"""Measures training and inference of facet's models in PyTorch, on a GPU or a CPU, for `facet compare`.

    pytorch_baseline.py --out gpu.json
    facet compare cpu.json gpu.json --price cpu=1.2/h --price gpu=3.9/h

Each combination of model, mode, precision and batch size is run in all forms that the device has: eager, torch.compile,
and CUDA graphs of both; the fastest is written (--all: each). Tensors are channels_last, Adam is fused, and cuDNN chooses
its algorithms by timing. f32 is IEEE's; tf32 lets tensor cores round the inputs of products; bf16 is autocast's, with
weights in f32, in training, and bf16 throughout in inference, where batch normalisation is folded into convolutions.

Steps run on images that lie on the device, so that nothing is loaded, as bench_training's do. With --data CSV (a column
`file` and a column for each head, as FairFace's) an epoch is trained from the JPEGs instead: decoded by worker processes,
sent from pinned memory, flipped and normalised on the device.

Times are those between CUDA events, or the clock's on a CPU. Energy is that of the GPU as NVML counts it (by nvidia-smi
where there is no pynvml, sampled), or of the CPU packages as RAPL counts it; it is left out where neither can be read.
One JSON object a line, in the form of bench_training's (bench/README.md). Needs python3-torch, 1.13 or newer, and for the
other models python3-torchvision.
"""
import argparse
import contextlib
import csv
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import threading
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    sys.exit("pytorch_baseline.py: PyTorch is needed (Debian: python3-torch)")

HEADS = {"age": 9, "gender": 2, "race": 7}
MODELS = ["reference", "resnet34", "densenet161", "alexnet", "mobilenet_v2"]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- models ----------------------------------------------------------------------------------------------------------


def convolution_bn(inputs, outputs, kernel=3, stride=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.first, self.second = convolution_bn(channels, channels), convolution_bn(channels, channels)

    def forward(self, x):
        return F.relu(self.second(F.relu(self.first(x))) + x)


class Reference(nn.Module):
    """facet's reference model with the paper's shape."""

    def __init__(self, size, heads):
        super().__init__()
        layers, inputs = [convolution_bn(3, 64, 7, 2), nn.ReLU()], 64
        for channels, count in ((64, 1), (128, 1), (256, 2)):
            layers += [convolution_bn(inputs, channels), nn.ReLU(), nn.MaxPool2d(2)]
            layers += [Residual(channels) for _ in range(count)]
            inputs = channels
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        features = inputs * (size // 16) ** 2
        self.heads = nn.ModuleDict()
        for head, classes in heads.items():
            hidden = 128 if head == "gender" else 256
            dropout = nn.AlphaDropout(0.5) if head == "race" else nn.Dropout(0.5)
            self.heads[head] = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), dropout, nn.Linear(hidden, classes))

    def forward(self, x):
        x = self.trunk(x)
        return [head(x) for head in self.heads.values()]


class Torchvision(nn.Module):
    """torchvision's model of that name, whose last layer's outputs are those of all heads."""

    def __init__(self, name, heads):
        super().__init__()
        import torchvision

        self.model, self.classes = getattr(torchvision.models, name)(num_classes=sum(heads.values())), list(heads.values())

    def forward(self, x):
        return self.model(x).split(self.classes, dim=1)


def make_model(name, size, heads):
    return Reference(size, heads) if name == "reference" else Torchvision(name, heads)


def folded(model):
    from torch.fx.experimental.optimization import fuse

    return fuse(model.eval())


# --- energy ----------------------------------------------------------------------------------------------------------


class PackageEnergy:
    """Joules of all CPU packages (RAPL)."""

    def __init__(self):
        self.domains = [(folder / "energy_uj", int((folder / "max_energy_range_uj").read_text()))
                        for folder in pathlib.Path("/sys/class/powercap").glob("intel-rapl:*")
                        if os.access(folder / "energy_uj", os.R_OK) and
                        (folder / "name").read_text().startswith("package")]

    def available(self):
        return bool(self.domains)

    def __enter__(self):
        self.before = [int(file.read_text()) for file, _ in self.domains]
        return self

    def __exit__(self, *error):
        after = [int(file.read_text()) for file, _ in self.domains]
        # A counter begins again at its range.
        self.joules = sum((b - a) % wrap for a, b, (_, wrap) in zip(self.before, after, self.domains)) / 1e6


class GpuEnergy:
    """Joules of the present GPU: NVML's counter, else the power that nvidia-smi tells ten times a second, over the time.

    NVML knows the GPU by its UUID, since it counts GPUs in an order of its own.
    """

    def __init__(self):
        self.handle = None
        uuid = getattr(torch.cuda.get_device_properties(torch.cuda.current_device()), "uuid", None)
        self.uuid = uuid and f"GPU-{uuid}"
        try:
            import pynvml

            pynvml.nvmlInit()
            self.handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
            self.read = lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3
            self.read()
        except Exception:  # no pynvml, or a GPU that counts no energy
            self.handle = None

    def power(self):
        words = ["nvidia-smi", f"--id={self.uuid}", "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
        return float(subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout)

    def available(self):
        if self.handle is not None:
            return True
        if not self.uuid:
            return False
        try:
            self.power()
        except (OSError, ValueError, subprocess.SubprocessError):
            return False
        return True

    def sample(self):
        while not self.done.wait(0.1):
            try:
                self.samples.append(self.power())
            except (OSError, ValueError, subprocess.SubprocessError):
                pass

    def __enter__(self):
        self.begin = time.perf_counter()
        if self.handle is not None:
            self.before = self.read()
        else:
            self.samples, self.done = [], threading.Event()
            self.thread = threading.Thread(target=self.sample)
            self.thread.start()
        return self

    def __exit__(self, *error):
        if self.handle is not None:
            self.joules = self.read() - self.before
            return
        self.done.set()
        self.thread.join()
        seconds = time.perf_counter() - self.begin
        self.joules = statistics.mean(self.samples) * seconds if self.samples else None


# --- steps -----------------------------------------------------------------------------------------------------------


class Steps:
    """Steps of a model on a batch that lies on the device."""

    def __init__(self, args, name, mode, precision, batch, form):
        self.device, self.mode, self.precision, self.form = args.device, mode, precision, form
        torch.manual_seed(0)
        model = make_model(name, args.size, args.heads)
        self.parameters = sum(p.numel() for p in model.parameters())
        tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = True
        self.images = torch.randn(batch, 3, args.size, args.size, device=self.device)
        self.labels = [torch.randint(0, n, (batch,), device=self.device) for n in args.heads.values()]
        if mode == "inference":
            model = folded(model)
            if precision == "bf16":
                model, self.images = model.to(torch.bfloat16), self.images.to(torch.bfloat16)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.images = self.images.contiguous(memory_format=torch.channels_last)
        graph = "graph" in form
        if mode == "training":
            options = {"capturable": True} if graph else {}
            if args.device_type == "cuda" or torch_version() >= (2, 4):
                options["fused"] = True
            self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4, **options)
        self.forward = torch.compile(self.model) if form.startswith("compile") else self.model
        self.run = self.train if mode == "training" else self.infer
        if graph:
            self.capture()

    def loss(self, images, labels):
        with torch.autocast(self.device.split(":")[0], dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.forward(images)
        return sum(F.cross_entropy(output.float(), label) for output, label in zip(outputs, labels))

    def train(self):
        self.optimizer.zero_grad(set_to_none=True)
        self.loss(self.images, self.labels).backward()
        self.optimizer.step()

    def infer(self):
        with torch.inference_mode():
            self.forward(self.images)

    def capture(self):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(5):
                self.run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        if self.mode == "training":
            self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.run()
        self.run = graph.replay


def timer(args):
    return timed_on_gpu if args.device_type == "cuda" else timed_on_cpu


def timed_on_gpu(run, steps):
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    events[0].record()
    for event in events[1:]:
        run()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) / 1e3 for a, b in zip(events, events[1:])]


def timed_on_cpu(run, steps):
    seconds = []
    for _ in range(steps):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return seconds


# --- real data -------------------------------------------------------------------------------------------------------


class Photographs(torch.utils.data.Dataset):
    """The images of a manifest as tensors of 8 bits, {3, size, size}, and a label for each head."""

    def __init__(self, manifest, size):
        with open(manifest, newline="", encoding="utf-8") as stream:
            self.rows = list(csv.DictReader(stream))
        if not self.rows or "file" not in self.rows[0]:
            sys.exit(f"pytorch_baseline.py: {manifest}: a column 'file' and rows are needed")
        self.folder, self.size = pathlib.Path(manifest).parent, size
        names = [name for name in self.rows[0] if name not in ("file", "service_test")]
        self.classes = {name: sorted({row[name] for row in self.rows}) for name in names}

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        from torchvision.io import ImageReadMode, read_image
        from torchvision.transforms.functional import resize

        row = self.rows[index]
        image = read_image(str(self.folder / row["file"]), ImageReadMode.RGB)
        if tuple(image.shape[1:]) != (self.size, self.size):
            image = resize(image, [self.size, self.size], antialias=True)
        return image, [classes.index(row[name]) for name, classes in self.classes.items()]


def train_epochs(args, photographs, steps, batch):
    """Trains an epoch that warms up and one that counts; returns the seconds of its steps, which loading is a part of."""
    if len(photographs) < batch:
        raise ValueError(f"{args.data} has {len(photographs)} images; a batch has {batch}")
    loader = torch.utils.data.DataLoader(photographs, batch, shuffle=True, drop_last=True, num_workers=args.workers,
                                         pin_memory=args.device_type == "cuda", persistent_workers=args.workers > 0)
    mean, std = (torch.tensor(v, device=args.device).reshape(1, 3, 1, 1) * 255 for v in (MEAN, STD))

    def batches():
        for images, labels in loader:
            images = images.to(args.device, non_blocking=True)
            flips = torch.rand(len(images), 1, 1, 1, device=args.device) < 0.5
            images = torch.where(flips, images.flip(3), images)
            steps.images = ((images - mean) / std).contiguous(memory_format=torch.channels_last)
            steps.labels = [label.to(args.device, non_blocking=True) for label in labels]
            yield

    for _ in batches():
        steps.run()
    timed, rest = timer(args), batches()

    def step():
        next(rest)
        steps.run()

    return timed(step, len(loader))


# --- results ---------------------------------------------------------------------------------------------------------


def torch_version():
    return tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2] if part.isdigit())


def cpu_name():
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def statistics_of(rates):
    median = statistics.median(rates)
    return {"median": round(median, 3), "min": round(min(rates), 3), "max": round(max(rates), 3),
            "spread": round((max(rates) - min(rates)) / median, 4)}


def forms_of(args):
    """The forms of a step. A capture that fails may leave PyTorch unusable, so that CUDA graphs come last."""
    compiles = hasattr(torch, "compile") and not args.no_compile
    forms = ["eager"] + (["compile"] if compiles else [])
    if args.device_type == "cuda" and not args.data:
        forms += ["eager+graph"] + (["compile+graph"] if compiles else [])
    return forms


def energy_of(args, steps, batch, seconds):
    """Joules of an image, over steps that take three seconds: the counters advance some ten times a second.

    seconds: what a step takes.
    """
    meter = GpuEnergy() if args.device_type == "cuda" else PackageEnergy()
    if not meter.available():
        return None
    count = max(args.steps, round(3 / seconds))
    with meter:
        timer(args)(steps.run, count)
    return meter.joules and meter.joules / (batch * count)


def measure(args, name, mode, precision, batch, form):
    gpu = args.device_type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    steps = Steps(args, name, mode, precision, batch, form)
    timed, joules_per_image = timer(args), None
    if args.data:
        seconds = train_epochs(args, args.photographs, steps, batch)
    else:
        timed(steps.run, args.warm_up)
        seconds = timed(steps.run, args.steps)
        joules_per_image = energy_of(args, steps, batch, sum(seconds) / len(seconds))
    result = {"framework": f"PyTorch {torch.__version__}", "bench": "training", "model": name,
              "parameters": steps.parameters, "mode": mode, "precision": precision, "batch": batch, "size": args.size,
              "form": form, "data": args.data or "synthetic", "device": args.device_name,
              "machine": {"cpu": args.device_name if gpu else cpu_name(), "host_cpu": cpu_name()},
              "threads": torch.get_num_threads(), "date": time.strftime("%Y-%m-%d"),
              "images_per_s": statistics_of([batch / s for s in seconds])}
    if args.data:  # waiting for images shows in the sum alone
        result["images_per_s"]["median"] = round(batch * len(seconds) / sum(seconds), 3)
    if gpu:
        result["versions"] = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        result["peak_device_bytes"] = torch.cuda.max_memory_allocated()
    if joules_per_image:
        result["joules_per_image"] = joules_per_image
    return result


def released(device_type):
    """Frees what the last measurement has left, so that the next one finds the memory."""
    import gc

    gc.collect()
    if hasattr(torch, "_dynamo"):
        torch._dynamo.reset()
    if device_type == "cuda":
        torch.cuda.empty_cache()


def words(text):
    return text.split(",")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=words, default=MODELS, metavar="NAME,...", help="by default the paper's five")
    parser.add_argument("--modes", type=words, default=["training", "inference"], metavar="MODE,...")
    parser.add_argument("--precisions", type=words, metavar="P,...", help="f32, tf32 (GPU), bf16; by default all")
    parser.add_argument("--batch", type=lambda text: list(map(int, words(text))), default=[64], metavar="N,...")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, cuda:1 or cpu")
    parser.add_argument("--steps", type=int, default=50, help="steps that count (default: 50)")
    parser.add_argument("--warm-up", type=int, default=10, help="steps before them (default: 10)")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; by default PyTorch's")
    parser.add_argument("--data", metavar="CSV", help="train an epoch of this manifest's JPEGs instead")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that decode them")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--all", action="store_true", help="write each form, not the fastest alone")
    parser.add_argument("--out", metavar="FILE", help="the file to write; by default standard output")
    args = parser.parse_args()
    args.device_type = args.device.split(":")[0]
    if args.device_type == "cuda" and not torch.cuda.is_available():
        parser.error("this PyTorch finds no GPU")
    if args.device_type == "cuda":
        torch.cuda.set_device(args.device)
    args.device_name = torch.cuda.get_device_name(args.device) if args.device_type == "cuda" else cpu_name()
    allowed = ["f32", "tf32", "bf16"] if args.device_type == "cuda" else ["f32", "bf16"]
    args.precisions = args.precisions or allowed
    for given, among in ((args.precisions, allowed), (args.modes, ["training", "inference"]), (args.models, MODELS)):
        for word in given:
            if word not in among:
                parser.error(f"'{word}' found; allowed: {', '.join(among)}")
    if args.threads:
        torch.set_num_threads(args.threads)
    args.heads = HEADS
    if args.data:
        args.photographs, args.modes = Photographs(args.data, args.size), ["training"]
        args.heads = {name: len(classes) for name, classes in args.photographs.classes.items()}

    if len(args.models) == 1:
        sys.exit(measure_model(args))
    # A process for each model: what one of them leaves behind, or dies of, doesn't meet the next.
    with open(args.out, "w", encoding="utf-8") if args.out else contextlib.nullcontext(sys.stdout) as out:
        found = False
        for name in args.models:
            lines = subprocess.run([sys.executable, "-B", __file__, *sys.argv[1:], "--models", name, "--out", ""],
                                   stdout=subprocess.PIPE, text=True, check=False).stdout
            out.write(lines)
            out.flush()
            found = found or bool(lines)
    if not found:
        sys.exit("pytorch_baseline.py: nothing could be measured")


def measure_model(args):
    """Measures all forms of the only model, and writes the fastest of each combination, or all."""
    found = {}
    for form in forms_of(args):
        for combination in ((m, p, b) for m in args.modes for p in args.precisions for b in args.batch):
            what = " ".join(map(str, (args.models[0], *combination, form)))
            try:
                result = measure(args, args.models[0], *combination, form)
                found.setdefault(combination, []).append(result)
                print(f"{what}: {result['images_per_s']['median']:.1f} images/s", file=sys.stderr)
            except Exception as error:  # a form that this version or device can't do, or too little memory
                print(f"{what}: {type(error).__name__}: {str(error).partition(chr(10))[0]}", file=sys.stderr)
            released(args.device_type)
    if not found:
        return "pytorch_baseline.py: nothing could be measured"
    text = ""
    for results in found.values():
        results.sort(key=lambda result: result["images_per_s"]["median"], reverse=True)
        text += "".join(json.dumps(result) + "\n" for result in (results if args.all else results[:1]))
    if args.out:
        pathlib.Path(args.out).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    main()
