"""The native kernels: NumPy generalized ufuncs, listed in src/native/kernels.hpp."""

import numpy as np

softmax: np.ufunc
softmax_where: np.ufunc
log_softmax: np.ufunc
log_softmax_where: np.ufunc
entmax: np.ufunc
entmax_where: np.ufunc
logsumexp: np.ufunc
logsumexp_where: np.ufunc
logsumexp_signed: np.ufunc
partition: np.ufunc
partition_where: np.ufunc
partition_softmax: np.ufunc
partition_log_softmax: np.ufunc
partition_logsumexp: np.ufunc
partition_merge: np.ufunc
sigmoid: np.ufunc
log_sigmoid: np.ufunc
softmax_vjp: np.ufunc
log_softmax_vjp: np.ufunc
sigmoid_vjp: np.ufunc
log_sigmoid_vjp: np.ufunc
cross_entropy: np.ufunc
cross_entropy_gradient: np.ufunc
soft_cross_entropy: np.ufunc
soft_cross_entropy_gradient: np.ufunc
probability_mass: np.ufunc
binary_cross_entropy: np.ufunc
binary_cross_entropy_gradient: np.ufunc
binary_cross_entropies: np.ufunc
binary_cross_entropies_gradient: np.ufunc
kl_divergence: np.ufunc
kl_divergence_gradient: np.ufunc
tempered: np.ufunc
sparse_product: np.ufunc

def quick_softmax(x: object, axis: object, temperature: object, out: object, /) -> np.ndarray | None: ...
def quick_log_softmax(x: object, axis: object, temperature: object, out: object, /) -> np.ndarray | None: ...
def quick_logsumexp(x: object, axis: object, /) -> np.generic | np.ndarray | None: ...
def adam_epoch(
    X: np.ndarray,
    targets: np.ndarray,
    weight: np.ndarray | None,
    order: np.ndarray,
    sizes: np.ndarray,
    tanh: bool,
    options: tuple[float, float, float, float],
    batch_size: int,
    penalty: float,
    rate: float,
    betas_and_epsilon: tuple[float, float, float],
    params: np.ndarray,
    mean: np.ndarray,
    square: np.ndarray,
    steps: int,
    /,
) -> tuple[float, int]: ...
def multiply(left: np.ndarray, right: np.ndarray, out: np.ndarray, add: bool, /) -> bool: ...
def isa() -> str: ...
def supported_isas() -> list[str]: ...
def num_threads() -> int: ...
def set_num_threads(threads: int, /) -> None: ...
