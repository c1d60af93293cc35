"""Softmax regression and feed-forward networks as a scikit-learn classifier. Needs scikit-learn and SciPy."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from .network import Array, Network, Objective, Rows, stratified_part
from .predictor import Predictor
from .products import Sparse
from .solvers import Adam, Monitor, Outcome, minimize_adam, minimize_lbfgs

__all__ = ["SoftmaxClassifier"]


def _learns_in_parts(classifier: SoftmaxClassifier) -> bool:
    """Whether the options allow `partial_fit`, which sees only a part of the rows at a time."""
    for option, value in [("solver", "lbfgs"), ("early_stopping", True), ("class_weight", "balanced")]:
        if getattr(classifier, option) == value:
            raise AttributeError(f"partial_fit is not possible with {option}={value!r}, which needs all rows: use fit.")
    return True


def _warn(*sentences: str | None) -> None:
    for sentence in filter(None, sentences):
        warnings.warn(sentence, ConvergenceWarning, stacklevel=4)  # the caller of fit, past scikit-learn's wrapper


class SoftmaxClassifier(Predictor):
    """Multinomial logistic regression, or a feed-forward network with softmax on top.

    With hidden layers hⱼ = activation(hⱼ₋₁ Wⱼ + bⱼ) and logits z = h W + b, the probabilities are softmax(z), and
    fitting minimises the weighted mean cross-entropy + alpha/(2n) Σ‖W‖², n the sum of the weights; the intercepts are
    free. It is the objective of :class:`~sklearn.neural_network.MLPClassifier`, and without hidden layers that of
    :class:`~sklearn.linear_model.LogisticRegression` with C = 1/alpha. As in both, two classes share a single logit:
    that of the first class is fixed at 0.

    Parameters
    ----------
    hidden_layer_sizes : array-like of int or int, default=()
        Number of neurons of each hidden layer; none by default.
    activation : {"relu", "tanh"}, default="relu"
        Activation of the hidden layers.
    solver : {"auto", "lbfgs", "adam"}, default="auto"
        "lbfgs" sees all rows at once and, without hidden layers, goes to the optimum whatever the units of the
        features. "adam" takes mini-batches, and wants features of similar size. "auto" is "lbfgs" without hidden
        layers and "adam" with; :meth:`partial_fit` always takes Adam's steps.
    alpha : float, default=1e-2
        Strength of the L2 penalty, in units of rows: 1/C of ``LogisticRegression``, alpha of ``MLPClassifier``.
    learning_rate : float, default=1e-3
        First step size of Adam.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch of Adam, at most all of them. "auto" is n/50, but at least 32 and at most 200.
    max_iter : int, default=200
        Largest number of iterations of L-BFGS, or of epochs of Adam.
    tol : float, default=1e-4
        L-BFGS stops when no entry of the gradient exceeds tol/10, measured in units in which every parameter has unit
        curvature: the default leaves errors of about 1e-4 in the probabilities. Adam, and both with `early_stopping`,
        stop after 10 iterations in which the loss did not improve by `tol`.
    label_smoothing : float, default=0.0
        That of `softmax.cross_entropy`: the part of each target, in [0, 1], that goes to all classes alike.
    gamma : float, default=0.0
        That of the focal loss, at least 0: rows that are right already count less. Above 0 the objective is not convex.
    class_weight : dict, "balanced" or None, default=None
        Weights by class label, multiplied with the sample weights. "balanced" gives every class the same total.
    early_stopping : bool, default=False
        Hold out a stratified part of the rows, stop when its loss has stalled, and keep the weights of its best
        iteration.
    validation_fraction : float, default=0.1
        The part of the rows to hold out, in (0, 1).
    warm_start : bool, default=False
        Start :meth:`fit` from the weights of the last fit.
    verbose : bool or int, default=False
        Print the loss of the first and of every tenth iteration to standard output.
    random_state : int, RandomState instance or None, default=None
        Initial weights of hidden layers, the order of mini-batches, and the rows to hold out.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The labels, sorted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        The weights of each layer, float32 if X was, else float64. The last has K columns, or 1 for two classes.
    intercepts_ : list of ndarray of shape (n_out,)
        The intercepts of each layer.
    n_iter_ : int
        Iterations, or epochs, of the last fit; epochs that were taken back because they diverged count.
    loss_curve_ : list of float
        The objective after each iteration; with Adam the mean over an epoch's batches, without epochs taken back.
    validation_loss_curve_ : list of float or None
        Mean loss of the rows held out, after each iteration; None without `early_stopping`.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X had any.

    Warns
    -----
    ConvergenceWarning
        When `max_iter` came before the optimum, and when steps diverged and were taken back; it says what to change.
        The weights are finite in any case.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same optimum without hidden layers.
    sklearn.neural_network.MLPClassifier : The same objective with hidden layers.

    References
    ----------
    Bishop, "Pattern Recognition and Machine Learning" (2006), sections 4.3.4 and 5.2-5.3.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from softmax.learn import SoftmaxClassifier
    >>> X, y = load_iris(return_X_y=True, as_frame=False)
    >>> classifier = SoftmaxClassifier(alpha=1.0).fit(X, y)
    >>> classifier.predict_proba(X[[0, 60]]).round(3).tolist()
    [[0.982, 0.018, 0.0], [0.056, 0.938, 0.006]]
    >>> network = SoftmaxClassifier((4,), activation="tanh", learning_rate=0.02, random_state=0).fit(X, y)
    >>> [coef.shape for coef in network.coefs_], network.score(X, y) > 0.95
    ([(4, 4), (4, 3)], True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"relu", "tanh"})],
        "solver": [StrOptions({"auto", "lbfgs", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="both")],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    n_iter_: int
    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    _adam: Adam
    _rng: np.random.RandomState

    def __init__(
        self,
        hidden_layer_sizes: Any = (),
        *,
        activation: str = "relu",
        solver: str = "auto",
        alpha: float = 1e-2,
        learning_rate: float = 1e-3,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        tol: float = 1e-4,
        label_smoothing: float = 0.0,
        gamma: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        verbose: bool | int = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.label_smoothing = label_smoothing
        self.gamma = gamma
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.verbose = verbose
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftmaxClassifier:
        """Fit to X and y from the beginning, or from the last weights with `warm_start`.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Finite features; float32 is computed in float32, everything else in float64. Sparse ones stay sparse.
        y : array-like of shape (n_samples,)
            Labels of at least two classes: numbers or strings.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights >= 0: weight 2 is the row twice (to rounding with L-BFGS), weight 0 leaves it out.

        Returns
        -------
        self : SoftmaxClassifier

        Raises
        ------
        ValueError
            If an option or the input is not as said; if fewer than two classes have weight; with `warm_start`, if
            classes, features or hidden layers are not those of the weights.
        """
        warm = self.warm_start and hasattr(self, "coefs_")
        X, y = self._check_X_y(X, y, reset=not warm)
        classes, targets = np.unique(y, return_inverse=True)
        if warm and not np.array_equal(classes, self.classes_):
            raise ValueError(f"With warm_start=True, y must hold the classes {self.classes_}, got {classes}.")
        rows = self._rows(X, targets, classes, sample_weight)
        if len(np.unique(rows.targets)) < 2:
            only = classes[rows.targets[0]]
            raise ValueError(f"y must hold at least two classes with a weight above 0, got one class: {only}.")
        network = self._network(len(classes))
        rng = check_random_state(self.random_state)
        params = self._packed(network, X.dtype) if warm else network.initial(rng, X.dtype)

        self.classes_ = classes
        train, validation = rows, None
        if self.early_stopping:
            held_out = stratified_part(rows.targets, self.validation_fraction, rng)
            train, validation = rows.take(~held_out), rows.take(held_out)
        monitor = Monitor(network, self.tol, validation, self._report)
        if self._uses_lbfgs():
            objective = Objective(network, self.alpha / train.total, len(train.targets), X.dtype)
            outcome = minimize_lbfgs(
                objective, params, train.normalized(), tol=self.tol, max_iter=self.max_iter, monitor=monitor
            )
        else:
            adam = Adam(len(params), self.learning_rate, X.dtype)
            outcome = self._descend(network, params, train, adam, self.max_iter, rng, monitor)

        self.coefs_, self.intercepts_ = network.unpack(outcome.params)
        self.n_iter_ = outcome.n_iter
        self.loss_curve_ = monitor.loss_curve
        self.validation_loss_curve_ = monitor.validation_loss_curve if self.early_stopping else None
        self.__dict__.pop("_adam", None)  # a partial_fit from here begins new running means
        _warn(outcome.diverged, outcome.unfinished)
        return self

    @available_if(_learns_in_parts)  # type: ignore[untyped-decorator]
    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SoftmaxClassifier:
        """Go once over X and y with Adam, on from the weights of the last call, if any.

        The n of the penalty alpha/(2n) is that of this call. The weights stay in the dtype of the first call.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            As for :meth:`fit`.
        y : array-like of shape (n_samples,)
            Labels, all among `classes`.
        classes : array-like of shape (K,), default=None
            All classes there will be: needed in the first call, not later.
        sample_weight : array-like of shape (n_samples,), default=None
            As for :meth:`fit`.

        Returns
        -------
        self : SoftmaxClassifier

        Raises
        ------
        ValueError
            As :meth:`fit`; also if a label is not among `classes`, or `classes` is missing in the first call.
        AttributeError
            With ``solver="lbfgs"``, ``early_stopping=True`` or ``class_weight="balanced"``, which need all rows.
        """
        first = not hasattr(self, "coefs_")
        X, y = self._check_X_y(X, y, reset=first)
        _check_partial_fit_first_call(self, classes)
        if len(self.classes_) < 2:
            raise ValueError(f"classes must hold at least two classes, got {self.classes_}.")
        encoder = LabelEncoder()
        encoder.classes_ = self.classes_
        if not first:
            X = X.astype(self.coefs_[0].dtype, copy=False)
        rows = self._rows(X, encoder.transform(y), self.classes_, sample_weight)
        network = self._network(len(self.classes_))
        rng = self._rng if hasattr(self, "_adam") else check_random_state(self.random_state)
        params = network.initial(rng, X.dtype) if first else self._packed(network, X.dtype)

        if first:
            self.loss_curve_, self.validation_loss_curve_, self.n_iter_ = [], None, 0
        if not hasattr(self, "_adam"):
            self._adam, self._rng = Adam(len(params), self.learning_rate, X.dtype), rng
        self._adam.learning_rate = self.learning_rate
        monitor = Monitor(network, self.tol, None, lambda _, loss, __: self._report(self.n_iter_ + 1, loss, None))
        outcome = self._descend(network, params, rows, self._adam, 1, rng, monitor)

        self.coefs_, self.intercepts_ = network.unpack(outcome.params)
        self.n_iter_ += 1
        self.loss_curve_ = self.loss_curve_ + monitor.loss_curve
        _warn(outcome.diverged)
        return self

    def _report(self, iteration: int, loss: float, validation_loss: float | None) -> None:
        """Called after every iteration: a subclass may show progress in another way; StopIteration ends the fit."""
        if self.verbose and (iteration == 1 or iteration % 10 == 0):
            held_out = "" if validation_loss is None else f", validation loss {validation_loss:.6f}"
            print(f"Iteration {iteration}: loss {loss:.6f}{held_out}")

    def _uses_lbfgs(self) -> bool:
        return self.solver == "lbfgs" or (self.solver == "auto" and not self._hidden())

    def _hidden(self) -> tuple[int, ...]:
        sizes = np.atleast_1d(np.asarray(self.hidden_layer_sizes))
        if sizes.size and (sizes.ndim > 1 or sizes.dtype.kind not in "iu" or (sizes < 1).any()):
            raise ValueError(f"hidden_layer_sizes must be integers of at least 1, got {self.hidden_layer_sizes!r}.")
        return tuple(int(size) for size in sizes)

    def _network(self, n_classes: int) -> Network:
        sizes = (self.n_features_in_, *self._hidden(), n_classes if n_classes > 2 else 1)
        return Network(sizes, self.activation, self.label_smoothing, self.gamma)

    def _packed(self, network: Network, dtype: Any) -> Array:
        """The present weights as one new vector, if they are of that network."""
        sizes = (self.n_features_in_, *(len(intercept) for intercept in self.intercepts_))
        if sizes != network.sizes:
            raise ValueError(
                f"hidden_layer_sizes changed from {sizes[1:-1]} to {network.sizes[1:-1]} since the last fit: "
                "set warm_start=False, or use a new classifier."
            )
        return network.pack(self.coefs_, self.intercepts_, dtype)

    def _check_X_y(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=[np.float64, np.float32], order="C", reset=reset)
        check_classification_targets(y)
        return Sparse(X) if scipy.sparse.issparse(X) else X, y

    def _rows(self, X: Array, targets: Array, classes: Array, sample_weight: Any) -> Rows:
        """The rows with their sample and class weights in one; those of weight 0 are left out."""
        if sample_weight is None and self.class_weight is None:
            return Rows(X, targets, None)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, copy=True)
        if isinstance(self.class_weight, str):
            counts = np.bincount(targets, weights=weight, minlength=len(classes))
            per_class = np.divide(weight.sum(), len(classes) * counts, where=counts > 0, out=np.zeros(len(classes)))
        else:
            per_class = compute_class_weight(self.class_weight, classes=classes, y=classes[targets])
        weight *= per_class[targets]
        if not (weight >= 0).all() or not weight.any():
            raise ValueError("sample_weight and class_weight must be at least 0 and not all zero.")
        rows = Rows(X, targets, weight)
        return rows if weight.all() else rows.take(weight > 0)

    def _descend(
        self,
        network: Network,
        params: Array,
        rows: Rows,
        adam: Adam,
        max_iter: int,
        rng: np.random.RandomState,
        monitor: Monitor,
    ) -> Outcome:
        n = len(rows.targets)
        batch_size = min(n, max(32, min(200, n // 50)) if isinstance(self.batch_size, str) else self.batch_size)
        objective = Objective(network, self.alpha / rows.total, batch_size, rows.X.dtype)
        return minimize_adam(
            objective,
            params,
            rows.normalized(),
            adam=adam,
            batch_size=batch_size,
            max_iter=max_iter,
            rng=rng,
            monitor=monitor,
        )
