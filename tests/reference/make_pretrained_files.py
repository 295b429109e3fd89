#!/usr/bin/env python3
"""Writes by torch.save what facet reads weights from, and what PyTorch has in those files.

state_dict.pth and protocol4.pth hold the same tensors, of every type that is read and in every way that tensors lie in
storages; state_dict.safetensors holds their values as F32. resnet18.pth is torchvision's state_dict (drawn, not trained)
and resnet18.expected.safetensors its values. The other files hold what is refused.

    make_pretrained_files.py --out FOLDER

Needs python3-torchvision; without it the script says so in a line that begins with SKIPPED:.
"""
import argparse
import collections
import pathlib

import make_references as base
from make_references import torch

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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    out = parser.parse_args().out
    mark = base.Mark(out / "pretrained_files.json", [pathlib.Path(__file__), pathlib.Path(base.__file__)])
    if torch is None or torchvision is None:
        mark.remove()
        print("SKIPPED: python3-torchvision isn't installed; nothing writes its files")
        return
    if mark.is_of_now():
        print(f"{out} is up to date")
        return
    mark.remove()
    out.mkdir(parents=True, exist_ok=True)
    found = tensors()
    torch.save(found, out / "state_dict.pth")
    torch.save(dict(found), out / "protocol4.pth", pickle_protocol=4)
    base.write_safetensors(out / "state_dict.safetensors", found, {})
    torch.manual_seed(1)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), out / "resnet18.pth")
    base.write_safetensors(out / "resnet18.expected.safetensors", model.state_dict(), {})
    small = torch.nn.Linear(3, 2)
    torch.save(small, out / "module.pth")
    torch.save({"epoch": 3, "model": small.state_dict()}, out / "checkpoint.pth")
    torch.save(small.state_dict(), out / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"mask": torch.ones(3, dtype=torch.bool)}, out / "mask.pth")
    torch.jit.save(torch.jit.script(small), out / "script.pth")
    mark.set()
    print(f"PyTorch {torch.__version__}: {out}")


if __name__ == "__main__":
    main()
