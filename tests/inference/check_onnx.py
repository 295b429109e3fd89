"""Checks a file that facet exported, with heads of 9, 2 and 7 classes, with the ONNX project's own checker.

    check_onnx.py MODEL.onnx HEIGHTxWIDTH folded|kept
"""
import json
import sys

import onnx
import onnx.shape_inference


def shape(value):
    return [extent.dim_param or extent.dim_value for extent in value.type.tensor_type.shape.dim]


def main(file, size, batch_norm):
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    height, width = map(int, size.split("x"))
    assert [shape(value) for value in graph.input] == [["batch", 3, height, width]]
    outputs = {value.name: shape(value) for value in graph.output}
    assert outputs == {"age": ["batch", 9], "gender": ["batch", 2], "race": ["batch", 7]}, outputs
    inferred = {value.name: shape(value) for value in graph.value_info}
    for node in graph.node:
        assert node.output[0] in outputs or inferred[node.output[0]][0] == "batch", node
    types = [node.op_type for node in graph.node]
    normalizations = types.count("BatchNormalization")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert [head["name"] for head in json.loads(metadata["heads"])] == list(outputs)
    assert json.loads(metadata["mean"]) == [0.485, 0.456, 0.406]
    assert metadata["size"] == (str(height) if height == width else size)
    if batch_norm == "kept":
        assert "Softmax" not in types and graph.node[0].op_type == "Conv"
        assert (metadata["input"], metadata["outputs"]) == ("normalized", "logits")
        assert (normalizations > 0) == (metadata["model"] != "alexnet")
    else:
        assert types.count("Softmax") == 3 and graph.node[0].op_type == "BatchNormalization"
        assert (metadata["input"], metadata["outputs"]) == ("pixels", "probabilities")
        assert (normalizations > 1) == metadata["model"].startswith("densenet")


if __name__ == "__main__":
    main(*sys.argv[1:])
