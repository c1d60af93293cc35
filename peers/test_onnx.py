"""ONNX's own test data for Softmax, LogSoftmax, ReduceLogSumExp, Sigmoid and Hardmax, run through ours.

From the installed onnx (≤ 1.22, later wheels lack it): every folder of `onnx/backend/test/data` whose model is one node
of these operators, with inputs and expected outputs. Folders named _expanded repeat the data of another for a model that
spells the operator out, and are left out by having several nodes.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import softmax as ours

DATA = Path(onnx.__file__).parent / "backend/test/data"


def axis_of(x, attributes, opset):
    """Before opset 13 all axes from the named one on were flattened, and it was 1 by default."""
    if opset >= 13:
        return attributes.get("axis", -1)
    return tuple(range(attributes.get("axis", 1) % x.ndim, x.ndim))


def reduce_log_sum_exp(attributes, opset, x, axes=()):
    return ours.logsumexp(x, tuple(map(int, axes)) or None, keepdims=bool(attributes.get("keepdims", 1)))


OPERATORS = {
    "Softmax": lambda attributes, opset, x: ours.softmax(x, axis_of(x, attributes, opset)),
    "LogSoftmax": lambda attributes, opset, x: ours.log_softmax(x, axis_of(x, attributes, opset)),
    "ReduceLogSumExp": reduce_log_sum_exp,
    "Sigmoid": lambda attributes, opset, x: ours.sigmoid(x),
    "Hardmax": lambda attributes, opset, x: ours.hardmax(x, axis_of(x, attributes, opset)),
}


def cases():
    """(name of the folder, its node, opset, inputs, expected output)."""
    for path in sorted(DATA.glob("*/test_*/model.onnx")):
        model = onnx.load(path)
        if len(model.graph.node) == 1 and model.graph.node[0].op_type in OPERATORS:
            for data in sorted(path.parent.glob("test_data_set_*")):
                inputs = [read(file) for file in sorted(data.glob("input_*.pb"))]
                yield path.parent.name, model.graph.node[0], model.opset_import[0].version, inputs, read(data / "output_0.pb")


def read(path):
    return numpy_helper.to_array(onnx.load_tensor(path))


CASES = list(cases())


def test_each_operator_has_its_cases():
    """As many as onnx 1.22 has: data that moved must not pass for data that agrees."""
    found = Counter(node.op_type for _, node, *_ in CASES)
    assert found == {"Softmax": 10, "LogSoftmax": 10, "ReduceLogSumExp": 9, "Sigmoid": 3, "Hardmax": 7}


@pytest.mark.parametrize(("node", "opset", "inputs", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_onnx_expects_this(node, opset, inputs, expected):
    """Within 4 units of the dtype's relative precision, of which the expected values' own rounding errors take 2.3."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    result = OPERATORS[node.op_type](attributes, opset, *inputs)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    np.testing.assert_allclose(result, expected, rtol=4 * np.finfo(expected.dtype).eps, atol=0)
