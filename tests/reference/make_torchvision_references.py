#!/usr/bin/env python3
"""Computes in PyTorch the references for facet's models, from torchvision's models of the same names.

The models have heads of 9, 2 and 7 classes in place of the last layer. For each model, the references are computed in
float32: the logits in evaluation, and the logits, loss, gradients of all parameters and running statistics of a
training step without dropout. For some models, the losses of ten steps of Adam and of SGD with momentum are added.
models.json has the names and shapes of torchvision's own state_dicts.

To keep the files small, weights with two or more dimensions are computed by a formula that the tests use too, and only
every n-th element of a long gradient is written. Biases are moved until no value is near a ReLU's kink, where rounding
would decide whether a gradient passes; images are drawn until no two values of a pooling window are near each other.

    make_torchvision_references.py --out FOLDER [--steps MODEL,...]

Nothing is computed if FOLDER already holds this script's output. Needs python3-torchvision; without it the script
prints a line that begins with SKIPPED: and leaves FOLDER without torchvision_references.json.
"""
import argparse
import contextlib
import json
import math
import pathlib
import sys

import network
import reference_file
from reference_file import torch

try:
    import numpy
    import torchvision
    from torch import nn
    from torch.nn import functional as F
except ImportError:
    torchvision = None

SOURCES = [pathlib.Path(module) for module in (__file__, network.__file__, reference_file.__file__)]
HEADS = {"age": 9, "gender": 2, "race": 7}
LAST_LAYERS = {"resnet18": "fc", "resnet34": "fc", "resnet50": "fc", "densenet121": "classifier",
               "densenet161": "classifier", "alexnet": "classifier.6", "mobilenet_v2": "classifier.1"}
STEPS_OF = "resnet18,densenet121,mobilenet_v2"  # steps of the other models take long
SIZE, BATCH, STEPS = 64, 4, 10
ADAM_RATE, SGD_RATE, MOMENTUM = 2e-5, 1e-3, 0.9
RELU_MARGIN, POOL_MARGIN = 4e-4, 3e-6  # least distance from a kink, as a fraction of the inputs' rms
GRADIENT_SAMPLE = 4096  # most elements of a gradient that are written


def build(name):
    """Returns torchvision's model without initialising its weights, which takes long."""
    undrawn = lambda tensor, *args, **kwargs: tensor
    with contextlib.ExitStack() as stack:
        for draw in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_"):
            stack.callback(setattr, nn.init, draw, getattr(nn.init, draw))
            setattr(nn.init, draw, undrawn)
        return getattr(torchvision.models, name)()


def with_heads(name):
    """Returns the model without dropout and with a linear layer per head; forward() returns the logits by head."""

    class Heads(nn.ModuleDict):
        def forward(self, x):
            return {head: layer(x) for head, layer in self.items()}

    model = build(name)
    owner, _, place = LAST_LAYERS[name].rpartition(".")
    features = model.get_submodule(LAST_LAYERS[name]).in_features
    heads = Heads({head: nn.Linear(features, classes) for head, classes in HEADS.items()})
    setattr(model.get_submodule(owner), place, heads)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def facet_name(model, name, last="heads."):
    prefix = LAST_LAYERS[model] + "."
    return last + name[len(prefix):] if name.startswith(prefix) else name


# --- weights ---------------------------------------------------------------------------------------------------------


def draw_by_formula(shape, index):
    """Values from a uniform distribution of variance 2 / fan-in, by the indices of tensor and element only.

    index: the position of the tensor in the state_dict.
    """
    bits = numpy.arange(math.prod(shape), dtype=numpy.uint32)
    bits *= numpy.uint32(0x9E3779B1)
    bits += numpy.uint32(index * 0x51ED270B & 0xFFFFFFFF)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits ^= bits >> numpy.uint32(shift)
        bits *= numpy.uint32(factor)
    bits ^= bits >> numpy.uint32(16)
    unit = (bits >> numpy.uint32(8)).astype(numpy.float32) * numpy.float32(2**-23) - numpy.float32(1)
    return torch.from_numpy(unit * numpy.float32(math.sqrt(6 / math.prod(shape[1:])))).reshape(shape)


def batch_norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def draw_weights(model, generator):
    for index, (name, value) in enumerate(model.state_dict().items()):
        if value.dim() > 1:
            value.copy_(draw_by_formula(value.shape, index))
        elif name.endswith("bias"):
            value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    for module in batch_norms(model):
        # Most values are above 0; around 0, rounding errors would grow by a fifth from layer to layer.
        module.weight.data.copy_(0.75 + 0.2 * torch.randn(module.weight.shape, generator=generator).clamp(-2, 2))
        module.bias.data.add_(0.75)


def perturb_statistics(model, generator):
    """Changes the statistics from those of the last batch, which settle() leaves, to others of similar size."""
    for module in batch_norms(model):
        mean, var = module.running_mean, module.running_var
        noise = torch.randn((2, mean.numel()), generator=generator)
        mean.add_(0.1 * noise[0] * var.sqrt())
        var.mul_(1 + 0.1 * noise[1].clamp(-2, 2))


# --- kinks -----------------------------------------------------------------------------------------------------------


class NearKink(Exception):
    pass


class Kinks:
    """A context in which every ReLU, ReLU6 and max-pooling checks how near its inputs are to its kinks.

    settle: moves the bias that was added last until no value of a channel is near a ReLU's kink; otherwise a value near
    a kink raises NearKink.
    """

    def __init__(self, model, settle):
        self.model, self.settle, self.biased = model, settle, None
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        for name, watched in (("relu", self.relu), ("hardtanh", self.relu6), ("max_pool2d", self.max_pool)):
            self.stack.callback(setattr, F, name, getattr(F, name))
            setattr(F, name, watched(getattr(F, name)))
        for module in self.model.modules():
            if getattr(module, "bias", None) is not None:
                self.stack.callback(module.register_forward_hook(self.remember).remove)
        return self

    def __exit__(self, *error):
        self.stack.close()

    def remember(self, module, inputs, output):
        self.biased = module

    def relu(self, function):
        return lambda x, inplace=False: function(self.away_from((0.0,), x))

    def relu6(self, function):
        return lambda x, low, high, inplace=False: function(self.away_from((low, high), x), low, high)

    def away_from(self, kinks, x):
        margin = RELU_MARGIN * x.detach().square().mean().sqrt()
        by_channel = x.detach().transpose(0, 1).flatten(1)
        near = lambda values: (min_distance(values, kinks) <= margin).nonzero().flatten()
        if not self.settle:
            margin *= 0.5  # rounding differs from that of the settling pass
            if near(by_channel).numel():
                raise NearKink("a value is near a ReLU's kink")
            return x
        rows = near(by_channel)
        bias = self.biased.bias.data
        shift = torch.zeros_like(bias)
        for attempt in range(1, 1000):
            if not rows.numel():
                return x + shift.reshape(1, -1, *[1] * (x.dim() - 2))
            step = 2 * margin * (attempt // 2 if attempt % 2 else -(attempt // 2))
            moved = bias[rows] + step
            shift[rows] = moved - bias[rows]
            left = near(by_channel[rows] + shift[rows, None])
            settled = torch.ones(rows.numel(), dtype=torch.bool)
            settled[left] = False
            bias[rows[settled]] = moved[settled]
            rows = rows[left]
        sys.exit("no bias keeps a ReLU's inputs from its kink")

    def max_pool(self, function):
        def watched(x, kernel, stride, padding, *args, **kwargs):
            y = x.detach()
            padded = F.pad(y, (padding,) * 4, value=-1e30)
            windows = padded.unfold(2, kernel, stride).unfold(3, kernel, stride).flatten(4)
            best = windows.topk(2).values
            gaps = best[..., 0] - best[..., 1]
            if gaps[gaps > 0].min() <= POOL_MARGIN * y.square().mean().sqrt():
                raise NearKink("two values of a pooling window are near each other")
            return function(x, kernel, stride, padding, *args, **kwargs)

        return watched


def min_distance(values, kinks):
    return torch.stack([(values - kink).abs().amin(1) for kink in kinks]).amin(0)


# --- references ------------------------------------------------------------------------------------------------------


def image_input(pixels):
    return network.image_input(pixels, torch.float32, network.IMAGENET_MEAN, network.IMAGENET_STD)


def set_momentum(model, momentum):
    for module in batch_norms(model):
        module.momentum = momentum


def settle(model, generator):
    """Moves the model's biases until no value is near a kink; returns the pixels for which this holds."""
    biases = {name: value.clone() for name, value in model.state_dict().items() if value.dim() == 1}
    for _ in range(50):
        pixels = torch.randint(0, 256, (BATCH, SIZE, SIZE, 3), generator=generator)
        model.load_state_dict(biases, strict=False)
        set_momentum(model, 1.0)
        try:
            with torch.no_grad(), Kinks(model, settle=True):
                model(image_input(pixels))
        except NearKink:
            continue
        set_momentum(model, 0.1)
        perturb_statistics(model, generator)
        return pixels
    sys.exit("no image keeps pooling's windows from ties")


def loss_of(logits, labels):
    return sum(F.cross_entropy(value, y) for value, y in zip(logits.values(), labels))


def sampled(gradient):
    """Every n-th element; n has no factor 2 or 3, so that all channels and positions in a kernel occur."""
    step = math.ceil(gradient.numel() / GRADIENT_SAMPLE)
    while step % 2 == 0 or step % 3 == 0:
        step += 1
    return gradient.flatten()[::step]


def step_losses(model, optimizer, x, labels):
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def make_model(name, folder, steps):
    generator = torch.Generator().manual_seed(1)
    model = with_heads(name).train()
    draw_weights(model, generator)
    pixels = settle(model, generator)
    labels = [torch.randint(0, classes, (BATCH,), generator=generator) for classes in HEADS.values()]
    tensors = {"pixels": pixels, "labels": torch.stack(labels)}
    start = {key: value.clone() for key, value in model.state_dict().items() if steps or value.dim() == 1}
    tensors.update({"weight." + facet_name(name, key): value for key, value in start.items() if value.dim() == 1})
    x = image_input(pixels)
    with torch.no_grad():
        for head, value in model.eval()(x).items():
            tensors[f"evaluated.{head}"] = value
    with Kinks(model.train(), settle=False):
        logits = model(x)
    loss = loss_of(logits, labels)
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    tensors.update({f"logits.{head}": value for head, value in logits.items()})
    for key, value in model.named_parameters():
        tensors["gradient." + facet_name(name, key)] = sampled(value.grad)
    for key, value in model.named_buffers():
        if "running" in key:
            tensors["after." + key] = value.clone()
    if steps:
        optimizers = {"adam": torch.optim.Adam(model.parameters(), lr=ADAM_RATE),
                      "sgd": torch.optim.SGD(model.parameters(), lr=SGD_RATE, momentum=MOMENTUM)}
        for rule, optimizer in optimizers.items():
            model.load_state_dict(start)
            tensors[f"{rule}.learning_rate"] = torch.tensor([optimizer.defaults["lr"]])
            tensors[f"{rule}.losses"] = step_losses(model, optimizer, x, labels)
    reference_file.write_safetensors(folder / f"{name}.safetensors", tensors, {})


def state_dicts():
    return {name: [{"name": facet_name(name, key, "heads.label."), "shape": list(value.shape)}
                   for key, value in build(name).state_dict().items()] for name in LAST_LAYERS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", default=STEPS_OF, help="models to train for ten steps (default: %(default)s)")
    args = parser.parse_args()
    mark = reference_file.Mark(args.out / "torchvision_references.json", SOURCES)
    if torch is None or torchvision is None:
        mark.remove()
        print("SKIPPED: python3-torchvision isn't installed; there is nothing to compare facet's models with")
        return
    if mark.is_current():
        print(f"{args.out} is up to date")
        return
    mark.remove()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    (args.out / "models.json").write_text(json.dumps(state_dicts()) + "\n")
    for name in LAST_LAYERS:
        make_model(name, args.out, name in args.steps.split(","))
    mark.set()
    print(f"torchvision {torchvision.__version__}: {args.out}")


if __name__ == "__main__":
    main()
