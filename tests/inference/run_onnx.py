"""Runs an ONNX file with ONNX Runtime.

    run_onnx.py MODEL.onnx INPUT HEIGHTxWIDTH FOLDER BATCH...

INPUT is f32 {images, 3, HEIGHT, WIDTH}. For each BATCH, the model runs on the first BATCH images, and its output I is
written to FOLDER/I.BATCH as f32.
"""
import sys

import numpy
import onnxruntime


def main(model, file, size, folder, *batches):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = numpy.fromfile(file, numpy.float32).reshape(-1, 3, *map(int, size.split("x")))
    for batch in batches:
        outputs = session.run(None, {"input": images[:int(batch)]})
        for index, output in enumerate(outputs):
            output.astype(numpy.float32).tofile(f"{folder}/{index}.{batch}")


if __name__ == "__main__":
    main(*sys.argv[1:])
