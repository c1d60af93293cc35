"""What a fitted linear model or network answers, as a scikit-learn classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from . import log_softmax, softmax
from .attribution import Attribution, attribute
from .network import Array, class_logits, forward
from .products import Sparse

__all__ = ["Predictor"]


class Predictor(ClassifierMixin, BaseEstimator):
    """Predictions from `coefs_`, `intercepts_` and `classes_`, which a subclass fits, and its `activation`."""

    activation: str
    classes_: Array
    coefs_: list[Array]
    intercepts_: list[Array]
    n_features_in_: int

    def predict(self, X: Any) -> Array:
        """The most probable class of each row.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        y : ndarray of shape (n_samples,), in the dtype of `classes_`
        """
        outputs = self._outputs(X)
        return np.asarray(self.classes_[class_logits(outputs).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """The probability of each class, in the order of `classes_`: softmax of the logits.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        probs : ndarray of shape (n_samples, K), float32 if X and `coefs_` are, else float64
        """
        return np.asarray(softmax(class_logits(self._outputs(X))))

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithm of `predict_proba`, exact also where a probability rounds to 0 or 1.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        log_probs : ndarray of shape (n_samples, K)
        """
        return np.asarray(log_softmax(class_logits(self._outputs(X))))

    def decision_function(self, X: Any) -> Array:
        """The logits, whose softmax is `predict_proba`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)

        Returns
        -------
        logits : ndarray of shape (n_samples, K), or (n_samples,) for two classes
            Of two classes, the logit of ``classes_[1]``; that of ``classes_[0]`` is 0. Above 0 means ``classes_[1]``.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def explain(self, x: Any) -> Attribution:
        """What each feature of one row has added to each logit; the parts add up to the logits.

        Without hidden layers a part is the feature times its weight, exactly. Through hidden layers a neuron hands its
        change, against a row of zeros, on in proportion to what came to it (DeepLIFT's rescale rule).

        Parameters
        ----------
        x : array-like or sparse matrix of shape (n_features,) or (1, n_features)
            A row of a pandas table, as a Series or a table of one row, keeps its names.

        Returns
        -------
        attribution : Attribution
            Its `contributions` (n_features, K) and `base` (K,), the logits of a row of zeros, add up; `print` it.

        Raises
        ------
        ValueError
            If x is not one row of `n_features_in_` features.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from softmax.learn import SoftmaxClassifier
        >>> X, y = load_iris(return_X_y=True, as_frame=False)
        >>> why = SoftmaxClassifier(alpha=1.0).fit(X, y).explain(X[0])
        >>> bool(np.allclose(why.base + why.contributions.sum(axis=0), why.logits))
        True
        """
        if hasattr(x, "to_frame") and hasattr(x, "iloc"):  # a pandas Series
            x = x.to_frame().T
        elif not hasattr(x, "columns") and not scipy.sparse.issparse(x):
            x = np.atleast_2d(np.asarray(x))
        X = self._check_X(x)
        if X.shape[0] != 1:
            raise ValueError(f"x must be one row of {self.n_features_in_} features, got {X.shape[0]} rows.")
        row = (X.toarray() if scipy.sparse.issparse(X) else X).ravel()
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(len(row))])
        return attribute(row, self.coefs_, self.intercepts_, self.activation, self.classes_, names)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _outputs(self, X: Any) -> Array:
        X = self._check_X(X)
        return forward(Sparse(X) if scipy.sparse.issparse(X) else X, self.coefs_, self.intercepts_, self.activation)

    def _check_X(self, X: Any) -> Any:
        check_is_fitted(self)
        return validate_data(self, X, accept_sparse="csr", dtype=[np.float64, np.float32], reset=False)
