"""Texts as sparse rows of word weights (TF-IDF), counted by polars. Needs polars, scikit-learn and SciPy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

__all__ = ["WordWeights"]

WORD = r"\w\w+"


class WordWeights(TransformerMixin, BaseEstimator):
    """Each text as a row of weights, one a word, of Euclidean length 1.

    A word is a run of two or more letters, digits and underscores, in lower case. One that stands c times in a text and
    in d of the n texts trained on weighs (1 + ln c)(1 + ln((1 + n)/(1 + d))), before the row is scaled: the weights of
    scikit-learn's ``TfidfVectorizer(sublinear_tf=True)``. Words of a single text are left out, unless no other is left;
    so are words that training has not seen.

    Attributes
    ----------
    words_ : ndarray of uint8
        The words, sorted, as UTF-8 with a line each: a model file holds it as one block, where a list of words would
        take seconds to write. `get_feature_names_out` gives them apart.
    idf_ : ndarray of shape (n_words,), float32
        1 + ln((1 + n)/(1 + d)) of each word.

    Examples
    --------
    >>> words = WordWeights()
    >>> X = words.fit_transform(["The cat sat.", "the dog sat", "A cat!"])
    >>> words.get_feature_names_out().tolist()
    ['cat', 'sat', 'the']
    >>> X.toarray().round(2)
    array([[0.58, 0.58, 0.58],
           [0.  , 0.71, 0.71],
           [1.  , 0.  , 0.  ]], dtype=float32)
    """

    words_: NDArray[np.uint8]
    idf_: NDArray[np.float32]

    def fit(self, X: Iterable[str | None], y: Any = None) -> WordWeights:
        """Learn the words of texts, a polars Series or any iterable; None is an empty text."""
        self.fit_transform(X)
        return self

    def fit_transform(self, X: Iterable[str | None], y: Any = None) -> Any:
        """Learn the words of texts; their weights as a CSR array (n_texts, n_words) in float32."""
        counts, words = _counts(X)
        texts = np.bincount(counts.indices, minlength=len(words))  # that hold each word
        kept = texts > 1 if (texts > 1).any() else texts > 0
        if not kept.any():
            raise ValueError("the texts hold no words")
        order = np.flatnonzero(kept)[words.filter(kept).arg_sort()]
        self.words_ = np.frombuffer("\n".join(words.gather(order)).encode(), np.uint8)
        self.idf_ = (1 + np.log((1 + counts.shape[0]) / (1 + texts[order]))).astype(np.float32)
        columns = np.full(len(words), -1, np.int32)
        columns[order] = np.arange(len(order))
        return self._weights(counts, columns)

    def transform(self, X: Iterable[str | None]) -> Any:
        """The weights of texts as a CSR array (n_texts, n_words) in float32."""
        check_is_fitted(self)
        counts, words = _counts(X)
        known = pl.DataFrame({"word": pl.Series(self.get_feature_names_out(), dtype=pl.String)}).with_row_index(
            "column"
        )
        found = pl.DataFrame({"word": words}).join(known, on="word", how="left", maintain_order="left")
        return self._weights(counts, found["column"].cast(pl.Int32).fill_null(-1).to_numpy())

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The words, in the order of the columns."""
        return np.array(self.words_.tobytes().decode().split("\n"), object)

    def _weights(self, counts: Any, columns: NDArray[np.int32]) -> Any:
        """The rows of `counts`, weighted; `columns` says where each of its columns belongs, -1 for nowhere."""
        columns = columns[counts.indices]
        known = columns >= 0
        ends = np.append(0, np.cumsum(known, dtype=np.int32))[counts.indptr]
        columns = columns[known]
        weights = (1 + np.log(counts.data[known])) * self.idf_[columns]
        X = scipy.sparse.csr_array((weights, columns, ends), shape=(counts.shape[0], len(self.idf_)))
        X.sort_indices()
        lengths = np.sqrt(np.asarray(X.multiply(X).sum(axis=1)))
        X.data /= np.repeat(np.maximum(lengths, 1e-30), np.diff(X.indptr))
        return X


def _counts(texts: Iterable[str | None]) -> tuple[Any, pl.Series]:
    """How often each word stands in each text, as a CSR array in float32, and the words of its columns.

    Everything that goes over the texts is a pass of polars or SciPy: half the time of a counting loop in Python.
    """
    series = texts if isinstance(texts, pl.Series) else pl.Series(list(texts), dtype=pl.String)
    lists = series.fill_null("").str.to_lowercase().str.extract_all(WORD)
    lengths = lists.list.len().to_numpy()
    words = lists.filter(pl.Series(lengths > 0)).explode()
    codes = words.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy().astype(np.int32)
    last = np.zeros(codes.max(initial=-1) + 1, np.int64)  # where a word of each code stands
    last[codes] = np.arange(len(codes))
    ends = np.append(0, np.cumsum(lengths, dtype=np.int32)).astype(np.int32)
    counts = scipy.sparse.csr_array((np.ones(len(codes), np.float32), codes, ends), shape=(len(series), len(last)))
    counts.sum_duplicates()
    return counts, words.gather(last)
