"""Reads every #include of src/, include/facet/, apps/ and bench/, and reports those that RUNGS forbids.

    includes.py ROOT      prints one line for each violation; exits 1 if there are any
"""
import os
import re
import sys

# Lowest first. A module may include modules of lower rungs and itself, and no other module of its own rung.
RUNGS = [
    ["base"],
    ["kernels", "onednn", "graph", "data", "comm"],
    ["lowering", "synthetic"],
    ["ops", "optim"],
    ["program"],
    ["models", "metrics", "formats"],
    ["inference"],
    ["train"],
    ["apps", "bench"],
]
RUNG = {module: rung for rung, modules in enumerate(RUNGS) for module in modules}

PUBLIC_HEADERS = {  # header of include/facet: the module that it belongs to
    "error": "base", "export": "base", "files": "base", "machine": "base", "tensor_types": "base", "text": "base",
    "threads": "base",
    "process_group": "comm",
    "graph": "graph",
    "image": "data", "augmentation": "data", "dataset": "data", "source": "data", "manifest": "data", "sampler": "data", "loader": "data",
    "synthetic": "synthetic",
    "ops": "ops",
    "parameters": "program", "precision": "program", "platform": "program", "summary": "program",
    "models": "models",
    "metrics": "metrics",
    "model_file": "formats", "onnx": "formats",
    "inference": "inference",
    "train_options": "train", "session": "train", "sinks": "train", "training": "train", "run_folder": "train",
}

PUBLIC_ONLY = ("apps",)  # modules that include the public headers and their own only, as any program of a user's does

INCLUDE_FOLDERS = {"apps": ["apps/facet"]}  # include folders of a module besides src and include

SOURCES = (".h", ".cpp", ".cc", ".hpp", ".inc")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
ONEDNN_HEADER = re.compile(r"^(oneapi/dnnl/.*|dnnl[^/]*)$")
HIDDEN_HEADER = re.compile(r"^(oneapi/.*|dnnl[^/]*|tbb/.*|hwloc.*|hwy/.*|google/.*|onnx/.*)$")
HIDDEN_TYPE = re.compile(r"\b(dnnl|tbb|hwy|google|onnx)::")
ONEDNN_VERSION = re.compile(r"\bDNNL_VERSION")
ONEDNN_TYPE = re.compile(r"\bdnnl::")
ONEDNN_MODULES = ("onednn",)
ONEDNN_TYPE_MODULES = ("onednn", "lowering", "ops", "program")


def public_module(header):
    """The module of "facet/HEADER.h"; None for a header that isn't in PUBLIC_HEADERS."""
    return PUBLIC_HEADERS.get(os.path.splitext(header)[0])


def module_of(file):
    """The module of a file, by its path below the root."""
    parts = file.split(os.sep)
    if parts[0] == "include":
        return public_module(parts[-1])
    return parts[1] if parts[0] == "src" else parts[0]


def module_of_include(root, file, name):
    """The module of a quoted include."""
    for folder in (os.path.dirname(file), *INCLUDE_FOLDERS.get(module_of(file), ())):
        if os.path.exists(os.path.join(root, folder, name)):
            return module_of(os.path.relpath(os.path.join(root, folder, name), root))
    first, _, rest = name.partition("/")
    return public_module(rest) if first == "facet" else first


def include_faults(root, file, module, bracket, name):
    public = file.startswith("include" + os.sep)
    if public and HIDDEN_HEADER.match(name):
        yield f"a public header includes {name}"
    elif ONEDNN_HEADER.match(name) and module not in ONEDNN_MODULES:
        yield f"{name} is included outside src/onednn"
    if bracket == "<" and not name.startswith("facet/"):
        return
    target = module_of_include(root, file, name)
    if target not in RUNG:
        yield f"{name} is of no module that the order knows"
    elif module in PUBLIC_ONLY and target != module and not name.startswith("facet/"):
        yield f"{name} is not a public header; {module} may include facet/*.h only"
    elif target != module and RUNG[target] >= RUNG[module]:
        yield f"{module} may not know {target} ({name})"


def line_faults(root, file, module, line):
    include = INCLUDE.match(line)
    if include:
        yield from include_faults(root, file, module, *include.groups())
        return
    if ONEDNN_VERSION.search(line) and module not in ONEDNN_MODULES:
        yield "DNNL_VERSION is used outside src/onednn"
    if file.startswith("include" + os.sep) and HIDDEN_TYPE.search(line):
        yield f"a public header names {HIDDEN_TYPE.search(line).group(0)}"
    elif ONEDNN_TYPE.search(line) and module not in ONEDNN_TYPE_MODULES:
        yield f"{module} names a type of oneDNN; {', '.join(ONEDNN_TYPE_MODULES)} may"


def files(root):
    for top in ("src", "include", "apps", "bench"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith(SOURCES):
                    yield os.path.relpath(os.path.join(folder, name), root)


def violations(root):
    """Returns lines of the form "FILE:LINE: FAULT", and the number of files read."""
    faults = []
    count = 0
    for file in files(root):
        count += 1
        module = module_of(file)
        if module not in RUNG:
            faults.append(f"{file}:1: of no module that the order knows")
            continue
        with open(os.path.join(root, file), encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                faults += [f"{file}:{number}: {fault}" for fault in line_faults(root, file, module, line)]
    return faults, count


def main():
    faults, count = violations(sys.argv[1])
    print("\n".join(faults + [f"{count} files read, {len(faults)} forbidden"]))
    sys.exit(1 if faults or count == 0 else 0)


if __name__ == "__main__":
    main()
