#!/usr/bin/env python3
"""Writes with torch.save the files that facet's tests read weights from, and the values that PyTorch has for them.

state_dict.pth, protocol4.pth and the legacy_ files, in the format before PyTorch 1.6, hold the same tensors, of every
data type that facet reads and with every layout in a storage; state_dict.safetensors holds their values as F32.
resnet18.pth is torchvision's state_dict with random weights and resnet18.expected.safetensors its values. weights-*.pth
are torchvision's models with FairFace's 18 rows in the classifier, saved in the ways that are common for published
weights; weights.expected.safetensors holds pixels and, for each file, PyTorch's logits for them. facet must refuse the
other files.

    make_pretrained_files.py --out FOLDER

Needs python3-torchvision; without it the script prints a line that begins with SKIPPED:.
"""
import argparse
import collections
import copy
import pathlib
import re

import reference_file
from reference_file import torch

try:
    import torchvision
except ImportError:
    torchvision = None


def tensors():
    generator = torch.Generator().manual_seed(7)
    whole = torch.randn(6, 5, 4, generator=generator)
    found = collections.OrderedDict(
        f32=whole.clone(), f64=whole.double() * 3, f16=whole.half(), bf16=whole.bfloat16(),
        scalar=torch.tensor(2.5), none=torch.empty(0, 3), count=torch.tensor(1 << 20),
        f16_special=torch.tensor([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 65504.0]).half(),
        whole=whole, transposed=whole.transpose(0, 2), part=whole[2:4, 1:, ::2], row=whole[3, 2], last=whole[5, 4, 3],
        expanded=whole[0, :1, :1].expand(3, 4), channels_last=torch.randn(2, 3, 4, 5, generator=generator).contiguous(
            memory_format=torch.channels_last),
        parameter=torch.nn.Parameter(torch.randn(7, generator=generator)))
    found._metadata = collections.OrderedDict([("", {"version": 1})])
    return found


def settled(model, images):
    """Returns the model in evaluation mode, with running statistics and counters above 0 as after training."""
    with torch.no_grad():
        for _ in range(3):
            model.train()(images)
    return model.eval()


def with_rows(model, rows):
    """Returns the model with a last layer of that many rows."""
    if hasattr(model, "fc"):
        model.fc = torch.nn.Linear(model.fc.in_features, rows)
    elif isinstance(model.classifier, torch.nn.Linear):
        model.classifier = torch.nn.Linear(model.classifier.in_features, rows)
    else:
        model.classifier[-1] = torch.nn.Linear(model.classifier[-1].in_features, rows)
    return model


def renamed(state_dict, rename):
    return collections.OrderedDict((rename(name), tensor) for name, tensor in state_dict.items())


def old_densenet(state_dict):
    """Returns the state_dict with the names of torchvision's files before version 0.3, and without counters."""
    return collections.OrderedDict(
        (re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])", r"\1.\2", name), tensor)
        for name, tensor in state_dict.items() if not name.endswith("num_batches_tracked"))


def strided(state_dict):
    """Returns the same values as parts of larger storages, with gaps or in another order."""
    def lay(tensor):
        if tensor.dim() == 4:
            return tensor.contiguous(memory_format=torch.channels_last)
        if tensor.dim() == 2:
            return tensor.t().contiguous().t()
        if tensor.dim() == 1:
            return torch.stack([torch.zeros_like(tensor), tensor], dim=1)[:, 1]
        return tensor
    return collections.OrderedDict((name, lay(tensor)) for name, tensor in state_dict.items())


def make_published_weights(out):
    """Writes weights in each form that facet reads, and PyTorch's logits of the model with these values."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    pixels = torch.randint(0, 256, (2, 64, 64, 3), generator=torch.Generator().manual_seed(3))
    images = (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
    torch.manual_seed(5)
    fairface = settled(with_rows(torchvision.models.resnet34(), 18), images)
    densenet = settled(with_rows(torchvision.models.densenet121(), 18), images)
    mobilenet = settled(with_rows(torchvision.models.mobilenet_v2(), 18), images)
    optimizer = torch.optim.Adam(mobilenet.parameters())
    state = mobilenet.state_dict()
    averaged = {name: tensor + 1 for name, tensor in state.items()}
    legacy = {"_use_new_zipfile_serialization": False}
    files = {
        "resnet34": (fairface, fairface.state_dict(), legacy),
        "densenet121": (densenet, old_densenet(densenet.state_dict()), legacy),
        "checkpoint": (mobilenet, {"epoch": 3, "best": 0.5, "args": argparse.Namespace(lr=0.1, data=pathlib.Path("x")),
                                   "optimizer": optimizer.state_dict(), "scheduler": None,
                                   "random": torch.get_rng_state(), "state_dict_ema": averaged,
                                   "history": {"loss": [1.5, 0.5], "done": {1, 2}},
                                   "state_dict": renamed(state, lambda name: "module." + name)}, {}),
        "legacy-checkpoint": (mobilenet, {"optimizer": optimizer.state_dict(), "random": torch.get_rng_state(),
                                          "model": renamed(state, lambda name: "module.model." + name)}, legacy),
        "compiled": (mobilenet, {"model_state_dict": renamed(state, lambda name: "_orig_mod.module." + name)}, {}),
        "averaged": (mobilenet, {"state_dict_ema": state}, {}),
        "half": (copy.deepcopy(mobilenet).half(),) * 2 + (legacy,),
        "bfloat16": (copy.deepcopy(mobilenet).bfloat16(),) * 2 + ({},),
        "double": (copy.deepcopy(mobilenet).double(),) * 2 + ({},),
        "counters": (mobilenet, {name: tensor.float() for name, tensor in state.items()}, {}),
        "strided": (mobilenet, strided(state), {}),
    }
    expected = {"pixels": pixels}
    for name, (model, content, options) in files.items():
        content = content.state_dict() if isinstance(content, torch.nn.Module) else content
        torch.save(content, out / f"weights-{name}.pth", **options)
        with torch.no_grad():
            expected[name] = copy.deepcopy(model).float()(images)
    reference_file.write_safetensors(out / "weights.expected.safetensors", expected, {})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    mark = reference_file.Mark(out / "pretrained_files.json",
                               [pathlib.Path(__file__), pathlib.Path(reference_file.__file__)])
    if torch is None or torchvision is None:
        mark.remove()
        print("SKIPPED: python3-torchvision isn't installed; it is needed to write these files")
        return
    if mark.is_current():
        print(f"{out} is up to date")
        return
    mark.remove()
    out.mkdir(parents=True, exist_ok=True)
    found = tensors()
    torch.save(found, out / "state_dict.pth")
    torch.save(dict(found), out / "protocol4.pth", pickle_protocol=4)
    torch.save(found, out / "legacy_state_dict.pth", _use_new_zipfile_serialization=False)
    torch.save(dict(found), out / "legacy_protocol4.pth", pickle_protocol=4, _use_new_zipfile_serialization=False)
    reference_file.write_safetensors(out / "state_dict.safetensors", found, {})
    torch.manual_seed(1)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), out / "resnet18.pth")
    reference_file.write_safetensors(out / "resnet18.expected.safetensors", model.state_dict(), {})
    small = torch.nn.Linear(3, 2)
    torch.save(small, out / "module.pth")
    torch.save(small, out / "legacy_module.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": small}, out / "checkpoint.pth")
    torch.save({"epoch": 3, "net": small.state_dict()}, out / "other_checkpoint.pth")
    torch.save({"mask": torch.ones(3, dtype=torch.bool)}, out / "mask.pth")
    torch.jit.save(torch.jit.script(small), out / "script.pth")
    make_published_weights(out)
    mark.set()
    print(f"PyTorch {torch.__version__}: {out}")


if __name__ == "__main__":
    main()
