import numpy as np
import softmax


def test_rows_sum_to_one():
    assert np.allclose(softmax.softmax(np.arange(3.0)).sum(), 1)
