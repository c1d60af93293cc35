"""Products of sparse and dense rows against scipy's in float64."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from softmax import _native
from softmax.products import Sparse, affine, moments, transposed_product

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 129, 300]
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-13}


def sparse(n, features, dtype, density=0.2, seed=0):
    rng = np.random.default_rng(seed)
    return scipy.sparse.random_array((n, features), density=density, rng=rng, format="csr").astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("width", WIDTHS)
def test_products_are_those_of_scipy(width, dtype):
    entries = sparse(67, 41, dtype).toarray()
    entries[3], entries[:, 7] = 0, 0  # an empty row and an empty column
    matrix = scipy.sparse.csr_array(entries)
    rng = np.random.default_rng(1)
    coef, intercept = (rng.standard_normal(shape).astype(dtype) for shape in ((41, width), width))
    error = rng.standard_normal((67, width)).astype(dtype)
    exact = entries.astype(np.float64)
    X = Sparse(matrix)

    product = affine(X, coef, intercept)
    assert product.dtype == dtype
    np.testing.assert_allclose(product, exact @ coef + intercept, rtol=0, atol=10 * TOLERANCE[dtype])
    total = np.full((41, width), np.nan, dtype)
    transposed_product(X, error, out=total)
    np.testing.assert_allclose(total, exact.T @ error, rtol=0, atol=10 * TOLERANCE[dtype])
    first, second = moments(X, np.zeros(41), error)
    np.testing.assert_allclose(first, exact.T @ error, rtol=0, atol=10 * TOLERANCE[dtype])
    np.testing.assert_allclose(second, (exact**2).T @ error, rtol=0, atol=10 * TOLERANCE[dtype])


@given(st.integers(0, 9), st.integers(1, 9), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_any_shape_and_density(n, features, width, density, seed):
    matrix = sparse(n, features, np.float64, density, seed)
    rng = np.random.default_rng(seed)
    coef, error = rng.standard_normal((features, width)), rng.standard_normal((n, width))
    np.testing.assert_allclose(affine(Sparse(matrix), coef, np.zeros(width)), matrix @ coef, atol=1e-12)
    np.testing.assert_allclose(transposed_product(Sparse(matrix), error), matrix.T @ error, atol=1e-12)


def test_moments_of_dense_rows_are_shifted():
    rng = np.random.default_rng(0)
    X, weights = rng.standard_normal((50, 4)) + 1e6, rng.random((50, 3))
    shift = X.mean(axis=0)
    first, second = moments(X, shift, weights)
    np.testing.assert_allclose(first, (X - shift).T @ weights, atol=1e-9)
    np.testing.assert_allclose(second, ((X - shift) ** 2).T @ weights, atol=1e-9)


def test_operands_of_any_stride():
    matrix = sparse(30, 20, np.float64)
    wide = np.random.default_rng(0).standard_normal((40, 26))
    X = Sparse(matrix)
    for coef in (wide[::2, ::2], np.asfortranarray(wide[:20, :13]), wide[19::-1, :13]):
        np.testing.assert_allclose(affine(X, coef, coef[0]), matrix @ coef + coef[0], atol=1e-12)


def test_indices_of_64_bits_and_slices():
    matrix = sparse(30, 20, np.float32)
    coef = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
    whole = affine(Sparse(matrix), coef, np.zeros(5, np.float32))
    wide = scipy.sparse.csr_array((matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)))
    wide.resize(matrix.shape)
    np.testing.assert_array_equal(affine(Sparse(wide), coef, np.zeros(5, np.float32)), whole)
    np.testing.assert_array_equal(affine(Sparse(matrix)[3:9], coef, np.zeros(5, np.float32)), whole[3:9])
    mixed = affine(Sparse(matrix), coef.astype(np.float64), np.zeros(5))
    assert mixed.dtype == np.float64


def test_same_bits_for_any_number_of_threads():
    matrix, threads = sparse(3000, 700, np.float32), _native.num_threads()
    coef = np.random.default_rng(0).standard_normal((700, 20)).astype(np.float32)
    results = []
    try:
        for count in (1, 2, 3, 7):
            _native.set_num_threads(count)
            product = affine(Sparse(matrix), coef, np.zeros(20, np.float32))
            results.append((product, transposed_product(Sparse(matrix), product)))
    finally:
        _native.set_num_threads(threads)
    for product, total in results[1:]:
        np.testing.assert_array_equal(product, results[0][0])
        np.testing.assert_array_equal(total, results[0][1])
