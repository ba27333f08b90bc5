#!/usr/bin/env bash
# onnx 1.23.2's version_converter lifts a linear Resize of opset 10 or Upsample of opset 9 to opset 11 and beyond
# without saying how pixels lie: Resize-11 brought the attribute `coordinate_transformation_mode`, whose value when
# left out is "half_pixel", while the older operators divide the index by the scale ("asymmetric"). Hardmax goes the
# same way: over all of a sample up to opset 11, along the last axis from 13 on (both in ONNX's Changelog.md).
#
# Seen with ONNX Runtime 1.32.0 (OpenVINO 2026.4.1 gives the same rows): 1, 2, 3, 4 made twice as wide is
# 1, 1.5, 2, 2.5, 3, 3.5, 4, 4 before and 1, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4 after; that row of an image scaled
# by 0.6 is 1, 2.667 before and 2.667, 4.333 after. Hardmax marks 2 of 24 values before, 6 after. ONNX Runtime's
# quant_pre_process() converts on the way and changes an opset 10 model likewise.
#
# Why a good guess is wrong: the converter gives no warning, what it writes passes the checker, and of Softmax, with
# the very same history as Hardmax, it keeps the meaning. "nearest" by whole factors comes out equal, so a detector
# with doubled feature maps passes the comparison.
# Whom it bites: whoever lifts an old segmentation or super-resolution model to quantise it, which wants opset 11 or
# 13: scores enlarged fourfold move by 1.5 pixels, and it looks like the price of int8.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6

cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, version_converter
from onnxruntime.quantization.shape_inference import quant_pre_process


def model(operator, opset, shape, scale=None, **attributes):
    scales = [numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")] if scale else []
    node = helper.make_node(operator, ["x"] + [tensor.name for tensor in scales], ["y"], **attributes)
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(shape))
    graph = helper.make_graph([node], "g", [source], [result], scales)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=6)
    onnx.checker.check_model(made)
    return made


def run(made, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def both(made, x):
    converted = version_converter.convert_version(made, 13)
    onnx.checker.check_model(converted)
    return run(made, x), run(converted, x)


def resized(image, shape, place):
    """Interpolates linearly along both axes, with the pixel i of the result lying at place(i) of the image."""
    for axis, size in enumerate(shape):
        places = place(np.arange(size))
        image = np.apply_along_axis(lambda line: np.interp(places, np.arange(len(line)), line), axis, image)
    return image


x = np.arange(1, 9, dtype=np.float32).reshape(1, 1, 2, 4)
for operator, opset, scale in (("Resize", 10, 0.6), ("Resize", 10, 2), ("Resize", 10, 4), ("Upsample", 9, 2)):
    before, after = both(model(operator, opset, x.shape, scale, mode="linear"), x)
    print(f"{operator}-{opset}, linear by {scale}:", before[0, 0, 0].round(3), "->", after[0, 0, 0].round(3))
    asymmetric = resized(x[0, 0], before.shape[2:], lambda index: index / scale)
    half_pixel = resized(x[0, 0], before.shape[2:], lambda index: (index + 0.5) / scale - 0.5)
    assert not np.allclose(asymmetric, half_pixel)
    assert np.allclose(before, asymmetric)
    assert np.allclose(after, half_pixel), "the behaviour has changed"
    before, after = both(model(operator, opset, x.shape, 2, mode="nearest"), x)
    assert np.array_equal(before, after)

onnx.save(model("Resize", 10, x.shape, 2, mode="linear"), "old.onnx")
quant_pre_process("old.onnx", "prepared.onnx", skip_symbolic_shape=True)
prepared = run(onnx.load("prepared.onnx"), x)
half_pixel = resized(x[0, 0], (4, 8), lambda index: (index + 0.5) / 2 - 0.5)
assert np.allclose(prepared, half_pixel), "the behaviour has changed"

values = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
before, after = both(model("Softmax", 11, values.shape), values)
assert np.allclose(before, after)
before, after = both(model("Hardmax", 11, values.shape), values)
print("Hardmax-11 marks", int(before.sum()), "->", int(after.sum()))
assert (before.sum(), after.sum()) == (2, 6), "the behaviour has changed"
PYTHON
