"""Word weights: those of scikit-learn's TfidfVectorizer, in sparse rows, and a model file that opens at once."""

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import skops.io
from sklearn.base import clone
from sklearn.feature_extraction.text import TfidfVectorizer

from softmax.words import WordWeights

TEXTS = [
    "The cat sat on the mat; the CAT!",
    "A dog sat on 2 mats. It_was mats",
    "Ärger über Öl: naïve café, cat",
    "Ärger im Café – dog & mats",
    "",
    "нет кот нет",
    "кот и cat",
]


def reference(texts, new):
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32)
    return vectorizer.fit_transform(texts), vectorizer.transform(new), vectorizer.get_feature_names_out()


def test_weights_are_those_of_scikit_learn():
    new = ["cat cat dog unheard", "", "MATS Öl"]
    ours = WordWeights()
    fitted, transformed, words = reference(TEXTS, new)
    assert abs(ours.fit_transform(TEXTS) - fitted).max() < 1e-6
    assert ours.get_feature_names_out().tolist() == words.tolist()
    assert abs(ours.transform(new) - transformed).max() < 1e-6
    assert abs(WordWeights().fit(TEXTS).transform(TEXTS) - fitted).max() < 1e-6


def test_the_result_is_sparse_sorted_and_float32():
    X = WordWeights().fit_transform(pl.Series(TEXTS))
    assert scipy.sparse.issparse(X)
    assert (X.format, X.dtype) == ("csr", np.float32)
    assert X.has_canonical_format


def test_a_missing_text_has_no_words():
    X = WordWeights().fit_transform(pl.Series([None, "cat dog", "dog cat", None]))
    assert X.shape == (4, 2)
    assert X[[0, 3]].nnz == 0


def test_words_of_a_single_text_are_kept_where_there_are_no_others():
    assert WordWeights().fit(["cat dog", "emu"]).get_feature_names_out().tolist() == ["cat", "dog", "emu"]
    assert WordWeights().fit(["cat dog", "cat emu"]).get_feature_names_out().tolist() == ["cat"]


def test_no_rows_are_no_rows():
    assert WordWeights().fit(TEXTS).transform([]).shape[0] == 0


@pytest.mark.parametrize("texts", [[], ["", "?"], [None], ["a b c"]])
def test_texts_without_words_are_refused(texts):
    with pytest.raises(ValueError, match="the texts hold no words"):
        WordWeights().fit(texts)


def test_a_file_of_it_holds_the_words(tmp_path):
    words = WordWeights().fit(TEXTS)
    skops.io.dump(words, tmp_path / "w.skops")
    loaded = skops.io.load(tmp_path / "w.skops", trusted=["softmax.words.WordWeights"])
    assert abs(loaded.transform(TEXTS) - words.transform(TEXTS)).max() == 0
    assert not hasattr(clone(words), "words_")
