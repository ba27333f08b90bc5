#!/usr/bin/env bash
# A model made int8 by ONNX Runtime 1.32.0's quantize_dynamic() gives a row other scores when the other rows of its
# batch change. DynamicQuantizeLinear takes one scale and one zero point from the least and the greatest value of the
# whole tensor (so ONNX defines the operator), and the rows of a batch are one tensor.
#
# Seen, 63 rows of a two-layer network (mean distance from the float model, another best class):
#   each row alone                0.013    1 row
#   beside an ordinary row        0.013    2 rows
#   beside one 30 times as large  0.099   10 rows
#   beside one with an infinity   every score of every row is NaN
# A row that is NaN throughout gets finite scores. The float model gives the 63 rows the same bits beside each of
# these neighbours. No error, no warning of it.
#
# Why a good guess is wrong: "dynamic" is read as "by each input", and a batch as so many inputs side by side; static
# quantisation is that. A test that compares batch sizes on rows of one kind passes within its tolerance.
# Whom it bites: whoever resumes, reshuffles or retries a run and compares tables; whoever puts a saturated scene, an
# inset or a blank slide next to ordinary tiles. One infinity spoils a batch, and a tile of NaN passes for sound.
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
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import quantize_dynamic

random = np.random.default_rng(0)
first, last = ((random.standard_normal((64, width)) / 8).astype(np.float32) for width in (64, 10))
graph = helper.make_graph(
    [
        helper.make_node("MatMul", ["x", "first"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "last"], ["scores"]),
    ],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])],
    [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["rows", 10])],
    [numpy_helper.from_array(first, "first"), numpy_helper.from_array(last, "last")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
onnx.checker.check_model(model)
onnx.save(model, "float.onnx")
# Weights of 7 bits, so that processors without VNNI compute the same.
quantize_dynamic("float.onnx", "int8.onnx", reduce_range=True)

sessions = [
    onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"]) for name in ("float.onnx", "int8.onnx")
]
by_float, by_int8 = (lambda rows, session=session: session.run(None, {"x": rows})[0] for session in sessions)
rows = random.standard_normal((64, 64)).astype(np.float32)
right = by_float(rows)[1:]


def apart(name, scores):
    distance = float(np.abs(scores - right).mean())
    changed = int((scores.argmax(1) != right.argmax(1)).sum())
    print(f"{name}: mean distance {distance:.3f}, another best class in {changed} of {len(right)} rows")
    return distance


def beside(neighbour):
    batch = rows.copy()
    batch[0] = neighbour
    assert np.array_equal(by_float(batch)[1:], right)
    return by_int8(batch)


alone = apart("alone", np.concatenate([by_int8(row[None]) for row in rows[1:]]))
ordinary = apart("beside an ordinary row", beside(rows[0])[1:])
large = apart("beside a large row", beside(30 * rows[0])[1:])
assert alone < 0.03 and ordinary < 0.03
assert large > 3 * max(alone, ordinary), "the behaviour has changed"

infinite = rows[0].copy()
infinite[0] = np.inf
scores = beside(infinite)
print("beside an infinity: NaN in", int(np.isnan(scores).all(1).sum()), "of", len(scores), "rows")
assert np.isnan(scores).all(), "the behaviour has changed"
scores = beside(np.nan)
print("a row of NaN:", scores[0].round(2))
assert np.isfinite(scores).all(), "the behaviour has changed"
PYTHON
