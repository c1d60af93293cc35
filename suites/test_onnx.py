"""ONNX's own test data for Softmax, LogSoftmax, ReduceLogSumExp, Sigmoid and Hardmax, run through ours.

From the installed onnx (1.22: later wheels lack them), every folder of `onnx/backend/test/data` whose model is one node
of these operators, with inputs and expected outputs. The folders named _expanded hold the same data again, with a model
that spells the operator out in several nodes.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import softmax as ours

DATA = Path(onnx.__file__).parent / "backend/test/data"


class Case(NamedTuple):
    name: str
    operator: str
    opset: int
    attributes: dict[str, Any]
    inputs: list[np.ndarray]
    expected: np.ndarray

    @property
    def axis(self) -> int | tuple[int, ...]:
        """Before opset 13, 1 by default, and all axes from there on were flattened into one."""
        if self.opset >= 13:
            return self.attributes.get("axis", -1)
        ndim = self.inputs[0].ndim
        return tuple(range(self.attributes.get("axis", 1) % ndim, ndim))

    @property
    def axes(self) -> tuple[int, ...] | None:
        """Of a reduction: its second input, without which all axes go."""
        return tuple(map(int, self.inputs[1])) if len(self.inputs) > 1 and self.inputs[1].size else None


OPERATORS = {
    "Softmax": lambda case, x: ours.softmax(x, case.axis),
    "LogSoftmax": lambda case, x: ours.log_softmax(x, case.axis),
    "Hardmax": lambda case, x: ours.hardmax(x, case.axis),
    "ReduceLogSumExp": lambda case, x: ours.logsumexp(x, case.axes, keepdims=bool(case.attributes["keepdims"])),
    "Sigmoid": lambda case, x: ours.sigmoid(x),
}


def read_cases():
    for path in sorted(DATA.glob("*/test_*/model.onnx")):
        model = onnx.load(path)
        node = model.graph.node[0]
        if len(model.graph.node) == 1 and node.op_type in OPERATORS:
            attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
            for data in sorted(path.parent.glob("test_data_set_*")):
                inputs, (expected,) = (
                    [numpy_helper.to_array(onnx.load_tensor(file)) for file in sorted(data.glob(pattern))]
                    for pattern in ("input_*.pb", "output_*.pb")
                )
                opset = model.opset_import[0].version
                yield Case(path.parent.name, node.op_type, opset, attributes, inputs, expected)


CASES = list(read_cases())


def test_every_operator_has_its_cases():
    """What onnx 1.22 holds, counted: data that moved are not data that agree."""
    found = Counter(case.operator for case in CASES)
    assert found == {"Softmax": 10, "LogSoftmax": 10, "ReduceLogSumExp": 9, "Sigmoid": 3, "Hardmax": 7}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_onnx_expects(case):
    """Within 4 eps of the dtype, relatively: the rounding of ONNX's own values takes up to 2.3 of them."""
    result = OPERATORS[case.operator](case, case.inputs[0])
    assert result.dtype == case.expected.dtype
    assert result.shape == case.expected.shape
    np.testing.assert_allclose(result, case.expected, rtol=4 * np.finfo(result.dtype).eps)
