"""Files of references: safetensors, and the mark that says whether a folder of references is up to date.

torch and F (torch.nn.functional) are None where PyTorch is not installed.
"""
import ctypes
import hashlib
import json
import struct

try:
    import torch
    from torch.nn import functional as F
except ImportError:
    torch = F = None


def write_safetensors(file, tensors, metadata):
    """Writes {name: tensor} to a safetensors file; every tensor is stored as F32."""
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
    """A file that identifies the scripts, tables and version of PyTorch that the references beside it were made with.

    sources: the files whose contents the references depend on.
    """

    def __init__(self, file, sources):
        self.file = file
        self.version = torch.__version__ if torch else None
        contents = b"".join(source.read_bytes() for source in sources)
        self.made_of = hashlib.sha256(contents + str(self.version).encode()).hexdigest()

    def is_current(self):
        return self.file.exists() and json.loads(self.file.read_text())["made_of"] == self.made_of

    def set(self):
        self.file.write_text(json.dumps({"made_of": self.made_of, "torch": self.version}) + "\n")

    def remove(self):
        self.file.unlink(missing_ok=True)
