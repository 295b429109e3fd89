#!/usr/bin/env python3
"""Computes in PyTorch the references that tests compare facet's ops, its reference model and its recipes with.

For each case of a table (tests/ops/cases.json) and for the reference model, images, labels and weights are drawn, and
loss, logits, every parameter's gradient and the running statistics are computed in float64. For 20 Adam steps of the
reference model, the losses of two float32 runs, on 1 and on 2 threads, are written as well. For the recipes, the
references are the results of PyTorch's optimisers and AveragedModel for given gradients, the learning rates of its
schedulers, and losses with label smoothing and class weights. The files are safetensors with elements stored as F32.

    make_references.py --cases cases.json --out FOLDER

Nothing is computed if FOLDER already holds the output of these scripts for these cases. Needs python3-torch, 1.13 or
newer; without it the script prints a line that begins with SKIPPED: and leaves FOLDER without references.json.
"""
import argparse
import json
import pathlib
import sys
import zlib

import network
import reference_file
import reference_model
from network import Network, image_input, tensors_of
from reference_file import F, Mark, torch, write_safetensors

SOURCES = [pathlib.Path(module) for module in (__file__, network.__file__, reference_file.__file__,
                                               reference_model.__file__)]
MEAN, STD = 0.5, 0.25  # of pixels / 255; exact in float32
# Least distance of a case's values from a kink, as a fraction of the values' rms; float32's rounding is smaller.
MARGIN = 2e-5


# --- ops -------------------------------------------------------------------------------------------------------------


def head_loss(logits, labels, targets=None, loss="softmax_cross_entropy"):
    if targets is not None:
        return value_loss(logits, targets, loss)
    if loss == "coral_loss":
        return coral_loss(logits, labels)
    return F.cross_entropy(logits, labels) if (labels >= 0).all() else masked_loss(logits, labels)


def masked_loss(logits, labels):
    """Mean cross-entropy over the labelled images; 0 if no image has a label."""
    present = labels >= 0
    return F.cross_entropy(logits[present], labels[present]) if present.any() else logits.sum() * 0


def coral_loss(logits, labels, weight=None, label_smoothing=0.0):
    """The loss of CORAL (Cao et al. 2020), the sum of the binary cross-entropies of [label > k]: its mean over the images
    with a label, weighed like cross_entropy's; 0 if no image has one."""
    classes, present = logits.shape[1] + 1, labels >= 0
    if not present.any():
        return logits.sum() * 0
    weight = torch.ones(classes, dtype=logits.dtype) if weight is None else weight
    targets = (1 - label_smoothing) * F.one_hot(labels[present], classes) * weight + label_smoothing / classes * weight
    return (targets * coral_losses(logits[present])).sum() / weight[labels[present]].sum()


def coral_losses(logits):
    """The loss that each class, {images, classes}, has as a label."""
    classes = logits.shape[1] + 1
    above = (torch.arange(classes)[:, None] > torch.arange(classes - 1)).to(logits.dtype)
    each = logits[:, None].expand(-1, classes, -1)
    return F.binary_cross_entropy_with_logits(each, above.expand_as(each), reduction="none").sum(2)


VALUE_LOSSES = {"binary_cross_entropy": F.binary_cross_entropy_with_logits, "mean_squared_error": F.mse_loss} if F else {}


def value_loss(logits, targets, loss):
    """Mean loss over the targets that aren't NaN; 0 if all are."""
    present = ~targets.isnan()
    return VALUE_LOSSES[loss](logits[present], targets[present]) if present.any() else logits.sum() * 0


def draw_targets(generator, head, batch):
    """Draws a value for each output of a head whose loss needs them, of which a fraction is NaN; None for others."""
    shape = (batch, head["classes"])
    if head.get("loss") == "binary_cross_entropy":
        targets = torch.rand(shape, generator=generator)
        hard = torch.rand(shape, generator=generator) < 0.5
        targets[hard] = targets[hard].round()
    elif head.get("loss") == "mean_squared_error":
        targets = 3 * torch.randn(shape, generator=generator)
    else:
        return None
    targets = targets.double()
    count = round(head.get("missing", 0) * targets.numel())
    targets.view(-1)[torch.randperm(targets.numel(), generator=generator)[:count]] = float("nan")
    return targets


def draw_labels(generator, classes, batch, missing):
    """Draws labels, of which a fraction `missing` is -1."""
    labels = torch.randint(0, classes, (batch,), generator=generator)
    count = round(missing * batch)
    labels[torch.randperm(batch, generator=generator)[:count]] = -1
    return labels


def forward_case(net, case, x, statistics):
    """Returns the logits of each head; in training, stores the running statistics after the step in `statistics`."""
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
            x = inputs[0]  # the rate is 0, or the network is evaluated
        else:
            sys.exit(f"case {case['name']}: unknown op {kind}")
        for key in (name, alias):
            if key:
                values[key] = x
    logits = {}
    for head in case["heads"]:
        y = values[head["from"]] if "from" in head else x
        layer = net.coral if head.get("loss") == "coral_loss" else net.linear
        logits[head["name"]] = layer(y.flatten(1), head["name"], head["classes"])
    return logits


def try_case(case, seed):
    """The tensors of a case drawn with a seed, and the least distance of its values from kinks."""
    net = Network(seed)
    batch, (height, width) = case.get("batch", 3), case["size"]
    pixels = torch.randint(0, 256, (batch, height, width, 3), generator=net.generator)
    labels = [draw_labels(net.generator, h["classes"], batch, h.get("missing", 0)) for h in case["heads"]]
    targets = [draw_targets(net.generator, h, batch) for h in case["heads"]]
    x = image_input(pixels, torch.float64, [MEAN] * 3, [STD] * 3)
    statistics = {}
    logits = forward_case(net, case, x, statistics)
    loss = sum(head_loss(logits[h["name"]], y, t, h.get("loss")) for h, y, t in zip(case["heads"], labels, targets))
    gradients = torch.autograd.grad(loss, list(net.parameters.values()))
    tensors = tensors_of(net, pixels, labels, logits, loss, gradients)
    tensors.update({"targets." + h["name"]: t for h, t in zip(case["heads"], targets) if t is not None})
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
    """Writes a case, drawn with the first seed that keeps its values away from kinks."""
    case = dict(case)
    case.setdefault("heads", [{"name": "head", "classes": 5}])
    first = zlib.crc32(f"{op}.{case['name']}".encode()) % 100000
    for seed in range(first, first + 500):
        tensors, least = try_case(case, seed)
        if least > MARGIN:
            write_safetensors(folder / f"{op}.{case['name']}.safetensors", tensors, {"seed": str(seed)})
            return
    sys.exit(f"{op}.{case['name']}: no seed keeps its values {MARGIN} away from kinks")


# --- recipes ---------------------------------------------------------------------------------------------------------


Optimizer = torch.optim.Optimizer if torch else object  # without PyTorch nothing is computed


class Lars(Optimizer):
    """Algorithm 1 of You et al. 2017, "Large Batch Training of Convolutional Networks", for each parameter."""

    def __init__(self, params, lr, momentum=0.9, weight_decay=0.0, trust_coefficient=0.001, adapt=True):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay,
                                      trust_coefficient=trust_coefficient, adapt=adapt))

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for w in group["params"]:
                    self.update(w, group, self.state[w])

    def update(self, w, group, state):
        decay, norm, gradient_norm = group["weight_decay"], w.norm(), w.grad.norm()
        local_rate = group["trust_coefficient"] * norm / (gradient_norm + decay * norm) if group["adapt"] else 1
        v = state.setdefault("momentum_buffer", torch.zeros_like(w))
        v.mul_(group["momentum"]).add_(group["lr"] * local_rate * (w.grad + decay * w))
        w.sub_(v)


class Lamb(Optimizer):
    """Algorithm 2 of You et al. 2020, "Large Batch Optimization for Deep Learning", with phi(x) = x."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, adapt=True):
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, adapt=adapt))

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for x in group["params"]:
                    self.update(x, group, self.state[x])

    def update(self, x, group, state):
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, m=torch.zeros_like(x), v=torch.zeros_like(x))
        state["step"] += 1
        state["m"] = beta1 * state["m"] + (1 - beta1) * x.grad
        state["v"] = beta2 * state["v"] + (1 - beta2) * x.grad ** 2
        m, v = state["m"] / (1 - beta1 ** state["step"]), state["v"] / (1 - beta2 ** state["step"])
        direction = m / (v.sqrt() + group["eps"]) + group["weight_decay"] * x
        ratio = x.norm() / direction.norm() if group["adapt"] else 1
        x.sub_(group["lr"] * ratio * direction)


UPDATES = {  # by the names in tests/reference/updates.cpp; each takes a matrix and a vector
    "sgd": lambda m, v: torch.optim.SGD([m, v], lr=0.1),
    "sgd.decay": lambda m, v: torch.optim.SGD([m, v], lr=0.1, weight_decay=0.05),
    "sgd.momentum": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.9),
    "sgd.nesterov": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.05),
    "sgd.spared": lambda m, v: torch.optim.SGD([{"params": [m]}, {"params": [v], "weight_decay": 0}], lr=0.1,
                                               momentum=0.9, weight_decay=0.05),
    "adam": lambda m, v: torch.optim.Adam([m, v], lr=0.01),
    "adam.decay": lambda m, v: torch.optim.Adam([m, v], lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.05),
    "adamw": lambda m, v: torch.optim.AdamW([m, v], lr=0.01, weight_decay=0.5),
    "adamw.spared": lambda m, v: torch.optim.AdamW([{"params": [m]}, {"params": [v], "weight_decay": 0}], lr=0.01,
                                                   weight_decay=0.5),
    "adamw.fan_in": lambda m, v: torch.optim.AdamW([{"params": [m], "lr": 0.01 * 6 / 9}, {"params": [v]}], lr=0.01,
                                                   weight_decay=0.5),
    "lars": lambda m, v: Lars([m, v], lr=20.0),
    "lars.decay": lambda m, v: Lars([m, v], lr=1.0, momentum=0.8, weight_decay=0.05, trust_coefficient=0.02),
    "lars.spared": lambda m, v: Lars([{"params": [m], "weight_decay": 0.05, "lr": 0.1, "trust_coefficient": 0.1},
                                      {"params": [v], "adapt": False}], lr=0.1),
    "lars.fan_in": lambda m, v: Lars([{"params": [m], "lr": 20.0 * 6 / 9}, {"params": [v]}], lr=20.0),
    "lamb": lambda m, v: Lamb([m, v], lr=0.01),
    "lamb.decay": lambda m, v: Lamb([m, v], lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.5),
    "lamb.spared": lambda m, v: Lamb([{"params": [m], "weight_decay": 0.5}, {"params": [v], "adapt": False}], lr=0.01),
    "lamb.one-cycle": lambda m, v: Lamb([m, v], lr=0.1, weight_decay=0.5),
    "sgd.one-cycle": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.5),
    "nesterov.one-cycle": lambda m, v: torch.optim.SGD([m, v], lr=0.1, momentum=0.5, nesterov=True),
    "adam.one-cycle": lambda m, v: torch.optim.Adam([m, v], lr=0.1),
    "adamw.one-cycle": lambda m, v: torch.optim.AdamW([m, v], lr=0.1, weight_decay=0.5),
}


def make_updates(folder, steps=12):
    """Writes weights, and their exponential averages, after steps of each rule with the same gradients."""
    generator = torch.Generator().manual_seed(11)
    draw = lambda *shape: torch.randn(shape, generator=generator).double()  # exact in float32
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


RECIPES = {  # by the names in tests/reference/recipes.cpp; each takes the matrices and the vectors of a network
    "sgd": lambda ms, vs: torch.optim.SGD([{"params": ms, "weight_decay": 0.05}, {"params": vs}], lr=0.1, momentum=0.9),
    "adamw": lambda ms, vs: torch.optim.AdamW([{"params": ms, "weight_decay": 0.05}, {"params": vs, "weight_decay": 0}],
                                              lr=0.01),
    "lars": lambda ms, vs: Lars([{"params": ms, "weight_decay": 0.05}, {"params": vs, "adapt": False}], lr=0.5,
                                trust_coefficient=0.1),
    "lamb": lambda ms, vs: Lamb([{"params": ms, "weight_decay": 0.05}, {"params": vs, "adapt": False}], lr=0.01),
}


def recipe_loss(weights, pixels, labels):
    x = image_input(pixels, torch.float64, [MEAN] * 3, [STD] * 3)
    x = F.relu(F.conv2d(x, weights["front.weight"], weights["front.bias"], 2, 1)).flatten(1)
    x = F.relu(F.linear(x, weights["hidden.weight"], weights["hidden.bias"]))
    return F.cross_entropy(F.linear(x, weights["head.weight"], weights["head.bias"]), labels)


def make_recipes(folder, steps=6, parts=2, batch=4, size=12, classes=5):
    """Writes a network's weights, and their averages, after steps of several batches with clipped gradients.

    The layer `front` is frozen.
    """
    generator = torch.Generator().manual_seed(13)
    pixels = torch.randint(0, 256, (steps, parts, batch, size, size, 3), generator=generator)
    labels = torch.randint(0, classes, (steps, parts, batch), generator=generator)
    shapes = {"front.weight": (8, 3, 3, 3), "front.bias": (8,), "hidden.weight": (12, 8 * (size // 2) ** 2),
              "hidden.bias": (12,), "head.weight": (classes, 12), "head.bias": (classes,)}
    start = {name: (0.3 * torch.randn(shape, generator=generator)).double() for name, shape in shapes.items()}
    tensors = {"pixels": pixels, "labels": labels, **{f"start.{name}": value for name, value in start.items()}}
    for rule, make in RECIPES.items():
        weights = {name: value.clone().requires_grad_(not name.startswith("front")) for name, value in start.items()}
        trained = [weight for weight in weights.values() if weight.requires_grad]
        optimizer = make([w for w in trained if w.dim() > 1], [w for w in trained if w.dim() == 1])
        average, norms = {}, []
        for step in range(steps):
            optimizer.zero_grad()
            for part in range(parts):
                (recipe_loss(weights, pixels[step, part], labels[step, part]) / parts).backward()
            norms.append(torch.nn.utils.clip_grad_norm_(trained, 1.0).item())
            optimizer.step()
            for name, weight in weights.items():
                before = average.get(name, weight.detach())
                average[name] = 0.75 * before + 0.25 * weight.detach()
        assert min(norms) > 1, f"{rule}: the norms {norms} are not clipped"
        tensors.update({f"{rule}.{name}": weight for name, weight in weights.items()})
        tensors.update({f"{rule}.average.{name}": mean for name, mean in average.items()})
    write_safetensors(folder / "recipes.safetensors", tensors, {})


def make_losses(folder, images=23, classes=5):
    """Writes cross-entropies with label smoothing and class weights, of labels and of distributions, the losses whose
    targets are values, and their gradients."""
    generator = torch.Generator().manual_seed(12)
    logits = (3 * torch.randn(images, classes, generator=generator)).double()
    labels = draw_labels(generator, classes, images, 0.2)
    weights = torch.tensor([0.5, 1.0, 0.0, 2.25, 1.5], dtype=torch.float64)
    distributions = torch.rand(images, classes, generator=generator).double()
    distributions = (distributions / distributions.sum(1, keepdim=True)).float().double()
    distributions[labels < 0] = float("nan")
    present = labels >= 0
    tensors = {"logits": logits, "labels": labels, "weights": weights, "distributions": distributions}
    losses = {}
    for name, options in {"plain": {}, "smoothed": {"label_smoothing": 0.1}, "weighed": {"weight": weights},
                          "smoothed.weighed": {"label_smoothing": 0.1, "weight": weights}}.items():
        losses[name] = lambda x, o=options: F.cross_entropy(x, labels, ignore_index=-1, **o)
        losses["distributions." + name] = lambda x, o=options: F.cross_entropy(x[present], distributions[present], **o)
    for name, options in {"coral": {}, "coral.smoothed.weighed": {"label_smoothing": 0.1, "weight": weights}}.items():
        losses[name] = lambda x, o=options: coral_loss(x[:, 1:], labels, **o)
    losses["coral.distributions"] = lambda x: (distributions[present] * coral_losses(x[present, 1:])).sum(1).mean()
    for name in VALUE_LOSSES:
        tensors[name + ".targets"] = t = draw_targets(generator, {"classes": classes, "loss": name, "missing": 0.3}, images)
        losses[name] = lambda x, n=name, t=t: value_loss(x, t, n)
    for name, loss_of in losses.items():
        x = logits.clone().requires_grad_()
        loss = loss_of(x)
        tensors[name + ".loss"] = loss.reshape(1)
        [tensors[name + ".gradient"]] = torch.autograd.grad(loss, [x])
    write_safetensors(folder / "losses.safetensors", tensors, {})


def make_schedules(folder, epochs=6, steps_per_epoch=7, peak=0.1):
    """Writes the learning rate and momentum of every step; tests/reference/schedules.cpp has the same schedules."""
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
    mark = Mark(args.out / "references.json", SOURCES + [args.cases])
    if torch is None:
        mark.remove()
        print("SKIPPED: python3-torch isn't installed; there is nothing to compare facet with")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    if mark.is_current():
        print(f"{args.out} is up to date")
        return
    mark.remove()
    torch.set_num_threads(2)
    for op, cases in json.loads(args.cases.read_text()).items():
        for case in cases:
            make_case(op, case, args.out)
    reference_model.make_model(args.out, 64, 4)
    reference_model.make_model(args.out, 224, 2)
    reference_model.make_adam(args.out)
    make_updates(args.out)
    make_recipes(args.out)
    make_losses(args.out)
    make_schedules(args.out)
    mark.set()
    print(f"PyTorch {torch.__version__}: {args.out}")


if __name__ == "__main__":
    main()
