#!/usr/bin/env python3
"""Computes in PyTorch the references for facet's models with frozen parts, from torchvision's models.

Frozen parameters have requires_grad = False, and a batch normalisation whose weight and bias are both frozen is in
evaluation mode. The references are those of make_torchvision_references.py, with gradients of the trained parameters
only, and the losses of ten steps of SGD with momentum and weight decay.

    make_frozen_references.py --out FOLDER

Needs python3-torchvision; without it the script prints a line that begins with SKIPPED:.
"""
import argparse
import fnmatch
import pathlib
import sys

import make_torchvision_references as peers
from make_torchvision_references import torch, torchvision
from reference_file import Mark, write_safetensors

FROZEN = {("resnet18", "low"): ["conv1.*", "bn1.*", "layer1.*", "layer2.0.*"],
          ("resnet18", "middle"): ["layer2.*", "layer3.0.bn2.weight", "heads.gender.*"],
          ("densenet121", "low"): ["features.conv0.*", "features.norm0.*", "features.denseblock[12].*",
                                   "features.transition1.*", "features.denseblock3.denselayer[1-9].*"]}
WEIGHT_DECAY = 0.01


def freeze(model, name, patterns):
    """Freezes the parameters that match a pattern; train() leaves frozen batch normalisations in evaluation mode."""
    for key, value in model.named_parameters():
        if any(fnmatch.fnmatchcase(peers.facet_name(name, key), pattern) for pattern in patterns):
            value.requires_grad = False
    for module in peers.batch_norms(model):
        if not module.weight.requires_grad and not module.bias.requires_grad:
            module.train = lambda mode=True, module=module: torch.nn.Module.train(module, False)
    return model.train()


def settle(model, generator):
    """Settles the model twice: the outputs of frozen batch normalisations change with their running statistics."""
    for _ in range(50):
        pixels = peers.settle(model, generator)
        peers.set_momentum(model, 0.0)
        try:
            with torch.no_grad(), peers.Kinks(model, settle=True):
                model(peers.image_input(pixels))
        except peers.NearKink:
            continue
        peers.set_momentum(model, 0.1)
        return pixels
    sys.exit("no image keeps pooling's windows from ties")


def make(name, kind, folder):
    generator = torch.Generator().manual_seed(2)
    model = freeze(peers.with_heads(name), name, FROZEN[name, kind])
    peers.draw_weights(model, generator)
    pixels = settle(model, generator)
    labels = [torch.randint(0, classes, (peers.BATCH,), generator=generator) for classes in peers.HEADS.values()]
    tensors = {"pixels": pixels, "labels": torch.stack(labels)}
    start = {key: value.clone() for key, value in model.state_dict().items()}
    tensors.update({"weight." + peers.facet_name(name, key): value for key, value in start.items() if value.dim() == 1})
    x = peers.image_input(pixels)
    with torch.no_grad():
        for head, value in model.eval()(x).items():
            tensors[f"evaluated.{head}"] = value
    with peers.Kinks(model.train(), settle=False):
        logits = model(x)
    loss = peers.loss_of(logits, labels)
    loss.backward()
    tensors["loss"] = loss.reshape(1)
    tensors.update({f"logits.{head}": value for head, value in logits.items()})
    for key, value in model.named_parameters():
        if value.requires_grad:
            tensors["gradient." + peers.facet_name(name, key)] = peers.sampled(value.grad)
    for key, value in model.named_buffers():
        if "running" in key:
            tensors["after." + key] = value.clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=peers.SGD_RATE, momentum=peers.MOMENTUM,
                                weight_decay=WEIGHT_DECAY)
    model.load_state_dict(start)
    tensors["sgd.learning_rate"] = torch.tensor([peers.SGD_RATE])
    tensors["sgd.losses"] = peers.step_losses(model, optimizer, x, labels)
    write_safetensors(folder / f"{name}.{kind}.safetensors", tensors, {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    mark = Mark(out / "frozen_references.json", [pathlib.Path(__file__), *peers.SOURCES])
    if torch is None or torchvision is None:
        mark.remove()
        print("SKIPPED: python3-torchvision isn't installed; there is nothing to compare facet's frozen models with")
        return
    if mark.is_current():
        print(f"{out} is up to date")
        return
    mark.remove()
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    torch.set_flush_denormal(True)
    for name, kind in FROZEN:
        make(name, kind, out)
    mark.set()
    print(f"torchvision {torchvision.__version__}: {out}")


if __name__ == "__main__":
    main()
