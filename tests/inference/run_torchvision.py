"""Loads weights into torchvision's model of that name, with strict=True, and runs the model.

    run_torchvision.py MODEL CLASSES WEIGHTS.safetensors INPUT SIZE OUTPUT

INPUT is f32 {images, 3, SIZE, SIZE}; the logits are written to OUTPUT as f32 {images, CLASSES}.
"""
import json
import sys

import numpy
import torch
import torchvision

TYPES = {"F32": numpy.float32, "I64": numpy.int64}


def read_safetensors(file):
    """Implements the format's specification, because Debian's Python doesn't have the safetensors library."""
    raw = open(file, "rb").read()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    header.pop("__metadata__")
    tensors = {}
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        values = numpy.frombuffer(raw[begin + first:begin + last], TYPES[tensor["dtype"]])
        tensors[name] = torch.from_numpy(values.reshape(tensor["shape"]).copy())
    return tensors


def main(model, classes, weights, file, size, output):
    network = getattr(torchvision.models, model)(num_classes=int(classes))
    network.load_state_dict(read_safetensors(weights), strict=True)
    images = numpy.fromfile(file, numpy.float32).reshape(-1, 3, *map(int, size.split("x")))
    with torch.no_grad():
        network.eval()(torch.from_numpy(images)).numpy().tofile(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
