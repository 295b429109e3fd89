#!/usr/bin/env python3
"""Computes in PyTorch what facet's ops and its reference model are held against.

For each case of a table (tests/ops/cases.json) and for the reference model: images, labels and weights are drawn, loss,
logits, every parameter's gradient and the running statistics are computed in float64 and written as safetensors. For 20
Adam steps of the reference model, the losses of two float32 runs, on 1 and on 2 threads, are written; for the recipes,
what PyTorch's optimisers and AveragedModel make of given gradients, its schedulers' learning rates, and losses with smoothing and class
weights. Elements are stored as F32.

    make_references.py --cases cases.json --out FOLDER

Nothing is computed when FOLDER holds what this script makes of these cases already. Needs python3-torch, 1.13 or newer;
without it the script says so in a line that begins with SKIPPED: and leaves FOLDER without references.json.
"""
import argparse
import ctypes
import hashlib
import json
import math
import pathlib
import struct
import sys
import zlib

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    torch = None

MEAN, STD = 0.5, 0.25  # of pixels / 255; exact in float32
# Least distance of a kink's input from the kink, as a share of the inputs' rms: beyond float32's rounding.
MARGIN = 2e-5
MODEL_MARGIN = 5e-6  # of the reference model, whose values are many


def write_safetensors(file, tensors, metadata):
    """tensors: {name: tensor}; all are stored as F32."""
    header, offset, data = {"__metadata__": metadata}, 0, []
    for name, tensor in tensors.items():
        tensor = tensor.detach().to(torch.float32).contiguous()
        size = 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [offset, offset + size]}
        offset += size
        data.append(tensor)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(file, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for tensor in data:
            out.write(ctypes.string_at(tensor.data_ptr(), 4 * tensor.numel()))


class Mark:
    """A file that says of which scripts, tables and PyTorch the references beside it were made."""

    def __init__(self, file, sources):
        self.file = file
        self.version = torch.__version__ if torch else None
        contents = b"".join(source.read_bytes() for source in sources)
        self.made_of = hashlib.sha256(contents + str(self.version).encode()).hexdigest()

    def is_of_now(self):
        return self.file.exists() and json.loads(self.file.read_text())["made_of"] == self.made_of

    def set(self):
        self.file.write_text(json.dumps({"made_of": self.made_of, "torch": self.version}) + "\n")

    def remove(self):
        self.file.unlink(missing_ok=True)


class Margins:
    """The least distance of any kink's input from its kink, as a share of the inputs' rms."""

    def __init__(self):
        self.least = math.inf

    def add(self, distances, x):
        if distances.numel():
            self.least = min(self.least, (distances.min() / x.square().mean().sqrt()).item())

    def relu(self, x):
        self.add(x.detach().abs(), x.detach())
        return F.relu(x)

    def relu6(self, x):
        self.add((x.detach() - 6).abs(), x.detach())
        self.add(x.detach().abs(), x.detach())
        return F.relu6(x)

    def max_pool(self, x, kernel, stride, padding):
        n, c, h, w = x.shape
        padded = F.pad(x.detach(), (padding,) * 4, value=-math.inf).reshape(n * c, 1, h + 2 * padding, w + 2 * padding)
        padded = padded.clamp(min=-1e300)
        windows = F.unfold(padded, kernel, stride=stride)
        best = windows.topk(2, dim=1).values
        gaps = best[:, 0] - best[:, 1]
        self.add(gaps[gaps > 0], x.detach())  # equals are copies of one value (ReLU's 0), whose gradient is the same
        return F.max_pool2d(x, kernel, stride, padding)


class Network:
    """What a case or the reference model is built on: named parameters, drawn where they are first asked for."""

    def __init__(self, seed, dtype=None):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype or torch.float64
        self.parameters, self.statistics = {}, {}
        self.training, self.margins = True, Margins()

    def draw(self, name, shape, make):
        if name not in self.parameters:
            value = make(torch.randn(shape, generator=self.generator, dtype=torch.float64)).to(torch.float32)
            self.parameters[name] = value.to(self.dtype).requires_grad_()
        return self.parameters[name]

    def draw_kernel(self, name, channels, inputs, kernel, scale=1.0):
        deviation = scale / math.sqrt(inputs * kernel * kernel)
        return self.draw(name + ".weight", (channels, inputs, kernel, kernel), lambda t: t * deviation)

    def convolution(self, x, name, channels, kernel=3, stride=1, padding=-1, groups=1, bias=False, scale=1.0):
        weight = self.draw_kernel(name, channels, x.shape[1] // groups, kernel, scale)
        offset = self.draw(name + ".bias", (channels,), lambda t: t * 0.3) if bias else None
        return F.conv2d(x, weight, offset, stride, kernel // 2 if padding < 0 else padding, groups=groups)

    def linear(self, x, name, features, bias=True):
        weight = self.draw(name + ".weight", (features, x.shape[1]), lambda t: t / math.sqrt(x.shape[1]))
        return F.linear(x, weight, self.draw(name + ".bias", (features,), lambda t: t * 0.3) if bias else None)

    def draw_normalisation(self, name, channels):
        weight = self.draw(name + ".weight", (channels,), lambda t: 1 + 0.25 * t.clamp(-2, 2))
        offset = self.draw(name + ".bias", (channels,), lambda t: 0.5 * t)
        if name not in self.statistics:
            mean = (0.3 * torch.randn(channels, generator=self.generator)).to(self.dtype)
            var = (0.5 + torch.rand(channels, generator=self.generator)).to(self.dtype)
            self.statistics[name] = (mean, var)
        return weight, offset

    def draw_unit(self, conv, bn, channels, inputs, kernel):
        self.draw_kernel(conv, channels, inputs, kernel)
        self.draw_normalisation(bn, channels)

    def settle(self, name, outputs, pool):
        """Redraws rows of a weight that give a value in outputs(rows), {batch, rows, height, width}, near a kink."""
        weight = self.parameters[name]
        deviation = 1 / math.sqrt(weight[0].numel())
        rows = torch.arange(weight.shape[0])
        while rows.numel():
            y = outputs(rows)
            least = y.abs().amin((0, 2, 3))
            if pool:
                windows = F.relu(y).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4).topk(2).values
                gaps = windows[..., 0] - windows[..., 1]
                least = torch.minimum(least, torch.where(gaps > 0, gaps, gaps.max()).amin((0, 2, 3)))
            rows = rows[least <= 1.5 * MODEL_MARGIN * y.square().mean().sqrt()]
            drawn = torch.randn((rows.numel(), *weight.shape[1:]), generator=self.generator) * deviation
            weight.data[rows] = drawn.to(weight.dtype)

    def batch_norm(self, x, name, eps=1e-5, momentum=0.1):
        weight, offset = self.draw_normalisation(name, x.shape[1])
        mean, var = self.statistics[name]
        if self.training:  # the buffers stay as drawn: what they become is worked out apart
            return F.batch_norm(x, None, None, weight, offset, True, 0.0, eps)
        return F.batch_norm(x, mean, var, weight, offset, False, 0.0, eps)

    def updated_statistics(self, x, name, momentum):
        mean, var = self.statistics[name]
        x = x.detach()
        return (mean + momentum * (x.mean((0, 2, 3)) - mean),
                var + momentum * (x.var((0, 2, 3), unbiased=True) - var))


def image_input(pixels, dtype, mean, std):
    """{batch, height, width, 3} bytes to normalised {batch, 3, height, width}."""
    mean, std = (torch.tensor(v, dtype=torch.float32).to(dtype).reshape(1, 3, 1, 1) for v in (mean, std))
    return (pixels.to(dtype).permute(0, 3, 1, 2) / 255 - mean) / std


def head_loss(logits, labels):
    return F.cross_entropy(logits, labels) if (labels >= 0).all() else masked_loss(logits, labels)


def masked_loss(logits, labels):
    """Mean over the labelled images; 0 where there is none."""
    present = labels >= 0
    return F.cross_entropy(logits[present], labels[present]) if present.any() else logits.sum() * 0


def draw_labels(generator, classes, batch, missing):
    labels = torch.randint(0, classes, (batch,), generator=generator)
    count = round(missing * batch)
    labels[torch.randperm(batch, generator=generator)[:count]] = -1
    return labels


def forward_case(net, case, x, statistics):
    """Logits by head; running statistics after the step into `statistics` in training."""
    values = {"input": x}
    if case["front"]:
        x = net.convolution(x, "front", case["front"], bias=True, scale=case.get("front_scale", 1.0))
    values["front"] = x
    for op in case["ops"]:
        op = dict(op)
        kind, name, alias = op.pop("op"), op.pop("name", None), op.pop("as", None)
        inputs = [values[v] for v in op.pop("from")] if "from" in op else [x]
        if kind == "convolution":
            x = net.convolution(inputs[0], name or "conv", **op)
        elif kind == "linear":
            x = net.linear(inputs[0], name or "linear", **op)
        elif kind == "batch_norm":
            name = name or "bn"
            x = net.batch_norm(inputs[0], name, **op)
            if net.training:
                statistics[name] = net.updated_statistics(inputs[0], name, op.get("momentum", 0.1))
        elif kind == "relu":
            x = net.margins.relu(inputs[0])
        elif kind == "relu6":
            x = net.margins.relu6(inputs[0])
        elif kind == "add":
            x = inputs[0] + inputs[1]
        elif kind == "concat":
            x = torch.cat(inputs, 1)
        elif kind == "max_pool":
            x = net.margins.max_pool(inputs[0], op["kernel"], op.get("stride", op["kernel"]), op.get("padding", 0))
        elif kind == "average_pool":
            x = F.avg_pool2d(inputs[0], op["kernel"], op.get("stride", op["kernel"]), op.get("padding", 0),
                             count_include_pad=op.get("count_include_pad", True))
        elif kind == "global_average_pool":
            x = F.adaptive_avg_pool2d(inputs[0], 1)
        elif kind == "adaptive_average_pool":
            x = F.adaptive_avg_pool2d(inputs[0], (op["height"], op["width"]))
        elif kind == "flatten":
            x = inputs[0].flatten(1)
        elif kind in ("dropout", "alpha_dropout"):
            x = inputs[0]  # rate 0, or evaluated
        else:
            sys.exit(f"case {case['name']}: unknown op {kind}")
        for key in (name, alias):
            if key:
                values[key] = x
    logits = {}
    for head in case["heads"]:
        y = values[head["from"]] if "from" in head else x
        logits[head["name"]] = net.linear(y.flatten(1), head["name"], head["classes"])
    return logits


def weights_of(net):
    tensors = {f"weight.{name}": value for name, value in net.parameters.items()}
    for name, (mean, var) in net.statistics.items():
        tensors[f"weight.{name}.running_mean"] = mean
        tensors[f"weight.{name}.running_var"] = var
    return tensors


def tensors_of(net, pixels, labels, logits, loss, gradients):
    tensors = {"pixels": pixels, "labels": torch.stack(labels), "loss": loss.reshape(1), **weights_of(net)}
    tensors.update({f"logits.{name}": value for name, value in logits.items()})
    tensors.update({f"gradient.{name}": value for name, value in zip(net.parameters, gradients)})
    return tensors


def try_case(case, seed):
    """The tensors of a case under one seed, and how far its kinks are."""
    net = Network(seed)
    batch, (height, width) = case.get("batch", 3), case["size"]
    pixels = torch.randint(0, 256, (batch, height, width, 3), generator=net.generator)
    labels = [draw_labels(net.generator, h["classes"], batch, h.get("missing", 0)) for h in case["heads"]]
    x = image_input(pixels, torch.float64, [MEAN] * 3, [STD] * 3)
    statistics = {}
    logits = forward_case(net, case, x, statistics)
    loss = sum(head_loss(logits[h["name"]], y) for h, y in zip(case["heads"], labels))
    gradients = torch.autograd.grad(loss, list(net.parameters.values()))
    tensors = tensors_of(net, pixels, labels, logits, loss, gradients)
    for name, (mean, var) in statistics.items():
        tensors[f"after.{name}.running_mean"] = mean
        tensors[f"after.{name}.running_var"] = var
    least = net.margins.least
    net.training = False
    with torch.no_grad():
        for name, value in forward_case(net, case, x, {}).items():
            tensors[f"evaluated.{name}"] = value
    return tensors, least


def make_case(op, case, folder):
    case = dict(case)
    case.setdefault("heads", [{"name": "head", "classes": 5}])
    first = zlib.crc32(f"{op}.{case['name']}".encode()) % 100000
    for seed in range(first, first + 500):
        tensors, least = try_case(case, seed)
        if least > MARGIN:
            write_safetensors(folder / f"{op}.{case['name']}.safetensors", tensors, {"seed": str(seed)})
            return
    sys.exit(f"{op}.{case['name']}: no seed keeps its kinks {MARGIN} away")


# --- the reference model ---------------------------------------------------------------------------------------------

HEADS = {"age": (256, 9), "gender": (128, 2), "race": (256, 7)}  # hidden features, classes
MODEL_MEAN, MODEL_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def forward_model(net, x, settle=False):
    """The reference model without dropout; logits by head.

    settle: redraws the weights of every channel (hidden feature) of which a value is near a kink, layer after layer, so
    that rounding can't decide whether a gradient passes.
    """

    def unit(x, conv, bn, channels, kernel=3, stride=1, shortcut=None, pool=False):
        """Convolution - BN - plus the shortcut - ReLU - max-pool."""

        def normalised(rows=slice(None)):
            y = F.conv2d(x, net.parameters[conv + ".weight"][rows], None, stride, kernel // 2)
            weight, offset = (net.parameters[bn + kind][rows] for kind in (".weight", ".bias"))
            y = F.batch_norm(y, None, None, weight, offset, True)
            return y if shortcut is None else y + shortcut[:, rows]

        net.draw_unit(conv, bn, channels, x.shape[1], kernel)
        if settle:
            net.settle(conv + ".weight", normalised, pool)
        y = net.margins.relu(normalised())
        return net.margins.max_pool(y, 2, 2, 0) if pool else y

    x = unit(x, "stem.conv", "stem.bn", 64, 7, 2)
    for block, (channels, residuals) in enumerate([(64, 1), (128, 1), (256, 2)], 1):
        scope = f"block{block}."
        x = unit(x, scope + "conv", scope + "bn", channels, pool=True)
        for i in range(residuals):
            inner = f"{scope}residual.{i}."
            y = unit(x, inner + "conv1", inner + "bn1", channels)
            x = unit(y, inner + "conv2", inner + "bn2", channels, shortcut=x)
    x = x.flatten(1)
    logits = {}
    for name, (hidden, classes) in HEADS.items():
        scope = f"heads.{name}."
        y = net.linear(x, scope + "hidden", hidden)
        if settle:
            weight, offset = (net.parameters[scope + "hidden" + kind] for kind in (".weight", ".bias"))
            hidden_rows = lambda rows: F.linear(x, weight[rows], offset[rows])[:, :, None, None]
            net.settle(scope + "hidden.weight", hidden_rows, False)
            y = net.linear(x, scope + "hidden", hidden)
        logits[name] = net.linear(net.margins.relu(y), scope + "logits", classes)
    return logits


def model_sample(net, batch, size):
    pixels = torch.randint(0, 256, (batch, size, size, 3), generator=net.generator)
    labels = [torch.randint(0, classes, (batch,), generator=net.generator) for _, classes in HEADS.values()]
    return pixels, labels


def model_loss(net, pixels, labels):
    logits = forward_model(net, image_input(pixels, net.dtype, MODEL_MEAN, MODEL_STD))
    return logits, sum(F.cross_entropy(value, y) for value, y in zip(logits.values(), labels))


def in_type(net, dtype):
    """The same weights for a run in that type."""
    copy = Network(0, dtype)
    copy.parameters = {k: v.detach().to(dtype).clone().requires_grad_() for k, v in net.parameters.items()}
    copy.statistics = {k: tuple(s.to(dtype).clone() for s in v) for k, v in net.statistics.items()}
    copy.margins = NoMargins()
    return copy


class NoMargins(Margins):
    def add(self, distances, x):
        pass

    def max_pool(self, x, kernel, stride, padding):
        return F.max_pool2d(x, kernel, stride, padding)


def float32_errors(net, pixels, labels, gradients):
    """PyTorch's own float32 error of each gradient: {rms, largest}, as a share of the gradient's rms."""
    small = in_type(net, torch.float32)
    _, loss = model_loss(small, pixels, labels)
    errors = {}
    rounded = torch.autograd.grad(loss, list(small.parameters.values()))
    for name, exact, value in zip(net.parameters, gradients, rounded):
        difference, scale = value.to(torch.float64) - exact, exact.square().mean().sqrt()
        error = torch.stack([difference.square().mean().sqrt(), difference.abs().max()])
        errors[f"float32_error.{name}"] = error / scale
    return errors


def make_model(folder, size, batch):
    net = Network(size)
    pixels, labels = model_sample(net, batch, size)
    x = image_input(pixels, net.dtype, MODEL_MEAN, MODEL_STD)
    with torch.no_grad():
        net.margins = NoMargins()
        forward_model(net, x, settle=True)
    net.margins = Margins()
    logits, loss = model_loss(net, pixels, labels)
    if not net.margins.least > MODEL_MARGIN:
        sys.exit(f"reference model at {size}: a value is {net.margins.least} from a kink")
    gradients = torch.autograd.grad(loss, list(net.parameters.values()))
    tensors = tensors_of(net, pixels, labels, logits, loss, gradients)
    tensors.update(float32_errors(net, pixels, labels, gradients))
    write_safetensors(folder / f"model{size}.safetensors", tensors, {"margin": repr(net.margins.least)})


def adam_losses(net, samples, dtype, threads, learning_rate):
    torch.set_num_threads(threads)
    net = in_type(net, dtype)
    optimizer = torch.optim.Adam(list(net.parameters.values()), lr=learning_rate)
    losses = []
    for pixels, labels in samples:
        optimizer.zero_grad()
        _, loss = model_loss(net, pixels, labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def make_adam(folder, size=64, batch=4, steps=20, learning_rate=1e-4):
    net = Network(7)
    net.margins = NoMargins()
    samples = [model_sample(net, batch, size) for _ in range(steps)]
    with torch.no_grad():
        model_loss(net, *samples[0])
    tensors = {"pixels": torch.stack([p for p, _ in samples]),
               "labels": torch.stack([torch.stack(y) for _, y in samples]),
               "learning_rate": torch.tensor([learning_rate]), **weights_of(net)}
    tensors["losses"] = adam_losses(net, samples, torch.float64, 2, learning_rate)
    for threads in (1, 2):
        tensors[f"losses.float32.threads{threads}"] = adam_losses(net, samples, torch.float32, threads, learning_rate)
    write_safetensors(folder / "adam.safetensors", tensors, {})


# --- recipes ---------------------------------------------------------------------------------------------------------

UPDATES = {  # what tests/reference/updates.cpp has under the same names, for a matrix and a vector
    "sgd": lambda m, v: torch.optim.SGD([m, v], lr=0.1),
    "sgd.decay": lambda m, v: torch.optim.SGD([m, v], lr=0.1, weight_decay=0.05),
    "sgd.momentum": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.9),
    "sgd.nesterov": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "sgd.spared": lambda m, v: torch.optim.SGD([{"params": [m]}, {"params": [v], "weight_decay": 0}], lr=0.1, momentum=0.9,
                                               weight_decay=0.05),
    "adam": lambda m, v: torch.optim.Adam([m, v], lr=0.01),
    "adam.decay": lambda m, v: torch.optim.Adam([m, v], lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.05),
    "adamw": lambda m, v: torch.optim.AdamW([m, v], lr=0.01, weight_decay=0.5),
    "adamw.spared": lambda m, v: torch.optim.AdamW([{"params": [m]}, {"params": [v], "weight_decay": 0}], lr=0.01,
                                                   weight_decay=0.5),
    "sgd.one-cycle": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.5),
    "nesterov.one-cycle": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.5, nesterov=True),
    "adam.one-cycle": lambda m, v: torch.optim.Adam([m, v], lr=0.1),
    "adamw.one-cycle": lambda m, v: torch.optim.AdamW([m, v], lr=0.1, weight_decay=0.5),
}


def make_updates(folder, steps=12):
    generator = torch.Generator().manual_seed(11)
    draw = lambda *shape: torch.randn(shape, generator=generator).double()  # float32's values: both sides start equal
    shapes = {"matrix": (5, 9), "vector": (21,)}
    start = {name: draw(*shape) for name, shape in shapes.items()}
    gradients = {name: draw(steps, *shape) for name, shape in shapes.items()}
    tensors = {**{f"start.{n}": t for n, t in start.items()}, **{f"gradients.{n}": t for n, t in gradients.items()}}
    for rule, make in UPDATES.items():
        model = torch.nn.ParameterDict({name: torch.nn.Parameter(value.clone()) for name, value in start.items()})
        weights = dict(model.items())
        optimizer = make(*weights.values())
        scheduler = None
        if rule.endswith("one-cycle"):
            scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, optimizer.defaults["lr"], total_steps=steps)
        average = torch.optim.swa_utils.AveragedModel(model, avg_fn=lambda mean, new, _: 0.9 * mean + 0.1 * new)
        for step in range(steps):
            for name, weight in weights.items():
                weight.grad = gradients[name][step].clone()
            optimizer.step()
            if scheduler:
                scheduler.step()
            average.update_parameters(model)
        tensors.update({f"{rule}.{name}": weight for name, weight in weights.items()})
        tensors.update({f"{rule}.average.{name}": mean for name, mean in average.module.items()})
    write_safetensors(folder / "updates.safetensors", tensors, {})


def make_losses(folder, images=23, classes=5):
    generator = torch.Generator().manual_seed(12)
    logits = (3 * torch.randn(images, classes, generator=generator)).double()
    labels = draw_labels(generator, classes, images, 0.2)
    weights = torch.tensor([0.5, 1.0, 0.0, 2.25, 1.5], dtype=torch.float64)
    tensors = {"logits": logits, "labels": labels, "weights": weights}
    for name, options in {"plain": {}, "smoothed": {"label_smoothing": 0.1}, "weighed": {"weight": weights},
                          "smoothed.weighed": {"label_smoothing": 0.1, "weight": weights}}.items():
        x = logits.clone().requires_grad_()
        loss = F.cross_entropy(x, labels, ignore_index=-1, **options)
        tensors[name + ".loss"] = loss.reshape(1)
        [tensors[name + ".gradient"]] = torch.autograd.grad(loss, [x])
    write_safetensors(folder / "losses.safetensors", tensors, {})


def make_schedules(folder, epochs=6, steps_per_epoch=7, peak=0.1):
    """The learning rate and momentum of every step; names and options are tests/reference/schedules.cpp's."""
    lr = torch.optim.lr_scheduler
    total = epochs * steps_per_epoch
    constant = lambda o: lr.LambdaLR(o, lambda _: 1.0)
    step = lambda o: lr.StepLR(o, 2 * steps_per_epoch, gamma=0.3)

    def after_warmup(main, steps, factor):
        def make(o):
            return lr.SequentialLR(o, [lr.LinearLR(o, factor, total_iters=steps), main(o)], milestones=[steps])
        return make

    warmup = round(1.4 * steps_per_epoch)
    schedules = {
        "constant": constant,
        "constant.warmup": after_warmup(constant, 2 * steps_per_epoch, 0.1),
        "step": step,
        "step.warmup": after_warmup(step, steps_per_epoch, 0.01),
        "cosine": lambda o: lr.CosineAnnealingLR(o, total, eta_min=0.01),
        "cosine.warmup": after_warmup(lambda o: lr.CosineAnnealingLR(o, total - warmup), warmup, 0.01),
        "one-cycle": lambda o: lr.OneCycleLR(o, peak, total_steps=total),
        "one-cycle.late": lambda o: lr.OneCycleLR(o, peak, total_steps=total, pct_start=0.5, div_factor=10,
                                                  final_div_factor=100, base_momentum=0.7, max_momentum=0.9),
        "one-cycle.rate": lambda o: lr.OneCycleLR(o, peak, total_steps=total, cycle_momentum=False),
    }
    tensors = {}
    for name, make in schedules.items():
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak, momentum=0.6)
        scheduler = make(optimizer)
        rates, momenta = [], []
        for _ in range(total):
            rates.append(optimizer.param_groups[0]["lr"])
            momenta.append(optimizer.param_groups[0]["momentum"])
            optimizer.step()
            scheduler.step()
        tensors[name] = torch.tensor(rates, dtype=torch.float64)
        tensors[name + ".momentum"] = torch.tensor(momenta, dtype=torch.float64)
    write_safetensors(folder / "schedules.safetensors", tensors, {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    args = parser.parse_args()
    mark = Mark(args.out / "references.json", [args.cases, pathlib.Path(__file__)])
    if torch is None:
        mark.remove()
        print("SKIPPED: python3-torch isn't installed; nothing to hold facet against")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if mark.is_of_now():
        print(f"{args.out} is up to date")
        return
    mark.remove()
    torch.set_num_threads(2)
    for op, cases in json.loads(args.cases.read_text()).items():
        for case in cases:
            make_case(op, case, args.out)
    make_model(args.out, 64, 4)
    make_model(args.out, 224, 2)
    make_adam(args.out)
    make_updates(args.out)
    make_losses(args.out)
    make_schedules(args.out)
    mark.set()
    print(f"PyTorch {torch.__version__}: {args.out}")


if __name__ == "__main__":
    main()
