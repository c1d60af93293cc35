"""The libraries: how a user of each would compute every operation. Nothing is imported before a library is made.

Each method of the name of an operation returns a call without arguments; making it (converting the input, building a
model, compiling) is not timed. To add an operation, write a method of its name here and its exact answer in `cases.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from cases import Case, Missing, numpy_dtype
from numpy.typing import NDArray

Array = NDArray[Any]
Call = Callable[[], Any]


class Library:
    """What all have in common; `threads` processors are to be used."""

    label: ClassVar[str]
    modules: ClassVar[tuple[str, ...]]  # what has to be installed, the one whose version counts first
    has_out: ClassVar[bool] = False
    has_temperature: ClassVar[bool] = False  # without, it is given the quotients, as its user would compute them
    is_yardstick: ClassVar[bool] = False  # moves the same bytes, but computes nothing that could be checked
    environment: ClassVar[dict[str, str]] = {}  # of its process

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @classmethod
    def installed(cls) -> bool:
        return all(importlib.util.find_spec(module) for module in cls.modules)

    def describe(self) -> dict[str, str]:
        return {"version": version(self.modules[0])}

    def arrays(self, result: Any) -> tuple[Array, ...]:
        """The result of a call as NumPy arrays of the same dtype."""
        return tuple(map(np.asarray, result)) if isinstance(result, (tuple, list)) else (np.asarray(result),)


class Softmax(Library):
    """This package."""

    label = "softmax"
    modules = ("softmax",)
    has_out = True
    has_temperature = True

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import softmax

        self.api = softmax

    def describe(self) -> dict[str, str]:
        native = importlib.import_module("softmax._native")
        return super().describe() | ({"isa": str(native.isa())} if hasattr(native, "isa") else {})

    def softmax(self, case: Case, logits: Array) -> Call:
        return self._on_scores(self.api.softmax, case, logits)

    def log_softmax(self, case: Case, logits: Array) -> Call:
        return self._on_scores(self.api.log_softmax, case, logits)

    def _on_scores(self, function: Callable[..., Any], case: Case, logits: Array) -> Call:
        options: dict[str, Any] = {"out": np.empty_like(logits)} if case.out else {}
        if case.temperature != 1:
            options["temperature"] = case.temperature
        return partial(function, logits, axis=case.axis, **options)

    def logsumexp(self, case: Case, logits: Array) -> Call:
        return partial(self.api.logsumexp, logits, axis=case.axis)

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return partial(self.api.sigmoid, logits)

    def sparsemax(self, case: Case, logits: Array) -> Call:
        return partial(self.api.sparsemax, logits)

    def entmax15(self, case: Case, logits: Array) -> Call:
        return partial(self.api.entmax, logits, 1.5)

    def cross_entropy(self, case: Case, logits: Array, targets: Array) -> Call:
        given = {"label_smoothing": case.label_smoothing, "gamma": case.gamma}
        options = {name: value for name, value in given.items() if value}
        return partial(self.api.value_and_grad(self.api.cross_entropy), logits, targets, **options)


class NumPy(Library):
    """What one writes with NumPy alone."""

    label = "NumPy"
    modules = ("numpy",)

    def softmax(self, case: Case, logits: Array) -> Call:
        def call() -> Array:
            exps = np.exp(logits - logits.max(axis=case.axis, keepdims=True))
            return np.asarray(exps / exps.sum(axis=case.axis, keepdims=True))

        return call

    def log_softmax(self, case: Case, logits: Array) -> Call:
        def call() -> Array:
            shifted = logits - logits.max(axis=case.axis, keepdims=True)
            return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=case.axis, keepdims=True)))

        return call

    def logsumexp(self, case: Case, logits: Array) -> Call:
        def call() -> Array:
            top = logits.max(axis=case.axis, keepdims=True)
            return np.asarray(
                (top + np.log(np.exp(logits - top).sum(axis=case.axis, keepdims=True))).squeeze(case.axis)
            )

        return call

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return lambda: 1 / (1 + np.exp(-logits))

    def cross_entropy(self, case: Case, logits: Array, targets: Array) -> Call:
        if case.gamma or case.soft:
            raise Missing("cross_entropy")
        rows, alpha = np.arange(len(logits)), case.label_smoothing

        def call() -> tuple[Any, Array]:
            shifted = logits - logits.max(axis=-1, keepdims=True)
            exps = np.exp(shifted)
            total = exps.sum(axis=-1, keepdims=True)
            losses = np.log(total[:, 0]) - (1 - alpha) * shifted[rows, targets]
            gradient = exps / total
            gradient[rows, targets] -= 1 - alpha
            if alpha:
                losses -= alpha * shifted.mean(axis=-1)
                gradient -= alpha / logits.shape[-1]
            gradient /= len(logits)
            return losses.mean(), gradient

        return call


class SciPy(Library):
    label = "SciPy"
    modules = ("scipy",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import scipy.special

        self.special = scipy.special

    def softmax(self, case: Case, logits: Array) -> Call:
        return partial(self.special.softmax, logits, axis=case.axis)

    def log_softmax(self, case: Case, logits: Array) -> Call:
        return partial(self.special.log_softmax, logits, axis=case.axis)

    def logsumexp(self, case: Case, logits: Array) -> Call:
        return partial(self.special.logsumexp, logits, axis=case.axis)

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return partial(self.special.expit, logits)


class Tensors(Library):
    """What works on PyTorch's tensors."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        self.torch = torch

    def arrays(self, result: Any) -> tuple[Array, ...]:
        def array(tensor: Any) -> Array:
            tensor = tensor.detach()
            if tensor.dtype == self.torch.bfloat16:  # unknown to NumPy
                return np.asarray(tensor.view(self.torch.int16).numpy().view(numpy_dtype("bfloat16")))
            return np.asarray(tensor.numpy())

        return tuple(map(array, result if isinstance(result, tuple) else (result,)))

    def _tensor(self, array: Array) -> Any:
        if array.dtype == numpy_dtype("bfloat16"):
            return self.torch.from_numpy(array.view(np.int16)).view(self.torch.bfloat16)
        return self.torch.from_numpy(array)


class Torch(Tensors):
    label = "PyTorch"
    modules = ("torch",)
    has_out = True

    def softmax(self, case: Case, logits: Array) -> Call:
        tensor = self._tensor(logits)
        if case.out:
            return partial(self.torch.softmax, tensor, case.axis, out=self.torch.empty_like(tensor))
        return partial(self.torch.softmax, tensor, case.axis)

    def log_softmax(self, case: Case, logits: Array) -> Call:
        return partial(self.torch.log_softmax, self._tensor(logits), case.axis)

    def logsumexp(self, case: Case, logits: Array) -> Call:
        return partial(self.torch.logsumexp, self._tensor(logits), case.axis)

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return partial(self.torch.sigmoid, self._tensor(logits))

    def cross_entropy(self, case: Case, logits: Array, targets: Array) -> Call:
        leaf, classes = self._tensor(logits).requires_grad_(), self._tensor(targets)
        function = self.torch.nn.functional.cross_entropy

        def focal() -> Any:
            cost = function(leaf, classes, reduction="none")
            return ((1 - self.torch.exp(-cost)) ** case.gamma * cost).mean()

        def call() -> tuple[Any, Any]:
            leaf.grad = None
            loss = focal() if case.gamma else function(leaf, classes, label_smoothing=case.label_smoothing)
            loss.backward()
            return loss, leaf.grad

        return call


class Entmax(Tensors):
    """The package of the functions' authors; it sorts whole rows."""

    label = "entmax"
    modules = ("entmax", "torch")
    most: ClassVar[int | None] = None  # of the largest entries, how many are looked at first

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.entmax = importlib.import_module("entmax")

    def sparsemax(self, case: Case, logits: Array) -> Call:
        return partial(self.entmax.sparsemax, self._tensor(logits), case.axis, self.most)

    def entmax15(self, case: Case, logits: Array) -> Call:
        return partial(self.entmax.entmax15, self._tensor(logits), case.axis, self.most)


class EntmaxTop(Entmax):
    """The same with a selection of the 100 largest in place of the sort, which is much faster in long rows."""

    label = "entmax, k=100"
    most = 100


class OnnxRuntime(Library):
    """Models of one node; `out=` is its IO binding."""

    label = "ONNX Runtime"
    modules = ("onnxruntime", "onnx")
    has_out = True

    def _session(self, operator: str, case: Case, **attributes: Any) -> Any:
        import onnx
        import onnxruntime

        element = onnx.helper.np_dtype_to_tensor_dtype(numpy_dtype(case.dtype))
        x, y = (onnx.helper.make_tensor_value_info(name, element, None) for name in "xy")
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node(operator, ["x"], ["y"], **attributes)], operator, [x], [y]
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        if self.threads != os.cpu_count():  # with all, its own choice binds its threads to processors
            options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def _run(self, operator: str, case: Case, logits: Array, **attributes: Any) -> Call:
        return partial(self._session(operator, case, **attributes).run, ["y"], {"x": logits})

    def softmax(self, case: Case, logits: Array) -> Call:
        if not case.out:
            return self._run("Softmax", case, logits, axis=case.axis)
        session, out = self._session("Softmax", case, axis=case.axis), np.empty_like(logits)
        binding = session.io_binding()
        binding.bind_cpu_input("x", logits)
        binding.bind_output("y", "cpu", 0, logits.dtype.type, logits.shape, out.ctypes.data)

        def call() -> Array:
            session.run_with_iobinding(binding)
            return out

        return call

    def log_softmax(self, case: Case, logits: Array) -> Call:
        return self._run("LogSoftmax", case, logits, axis=case.axis)

    def logsumexp(self, case: Case, logits: Array) -> Call:
        return self._run("ReduceLogSumExp", case, logits, axes=[case.axis], keepdims=0)

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return self._run("Sigmoid", case, logits)


class Jax(Library):
    """Compiled functions on arrays that are JAX's already."""

    label = "JAX"
    modules = ("jax",)

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        import jax

        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    def _compiled(self, function: Callable[..., Any], *arrays: Array) -> Call:
        compiled, held, wait = self.jax.jit(function), self.jax.device_put(arrays), self.jax.block_until_ready
        return lambda: wait(compiled(*held))

    def softmax(self, case: Case, logits: Array) -> Call:
        return self._compiled(partial(self.jax.nn.softmax, axis=case.axis), logits)

    def log_softmax(self, case: Case, logits: Array) -> Call:
        return self._compiled(partial(self.jax.nn.log_softmax, axis=case.axis), logits)

    def logsumexp(self, case: Case, logits: Array) -> Call:
        return self._compiled(partial(self.jax.nn.logsumexp, axis=case.axis), logits)

    def sigmoid(self, case: Case, logits: Array) -> Call:
        return self._compiled(self.jax.nn.sigmoid, logits)

    def cross_entropy(self, case: Case, logits: Array, targets: Array) -> Call:
        if case.gamma or case.soft:
            raise Missing("cross_entropy")
        alpha = case.label_smoothing

        def loss(logits: Any, targets: Any) -> Any:
            log_probs = self.jax.nn.log_softmax(logits)
            hits = self.jax.numpy.take_along_axis(log_probs, targets[:, None], axis=-1)
            return -(1 - alpha) * hits.mean() - alpha * log_probs.mean()

        return self._compiled(self.jax.value_and_grad(loss), logits, targets)


class Copy(Library):
    """The least that one read and one write of the same arrays cost: `copy` for a new result, `copyto` for `out=`."""

    label = "copy"
    modules = ("numpy",)
    has_out = True
    is_yardstick = True

    def arrays(self, result: Any) -> tuple[Array, ...]:
        return ()

    def softmax(self, case: Case, logits: Array) -> Call:
        return partial(np.copyto, np.empty_like(logits), logits) if case.out else logits.copy


class CopyInThreads(Copy):
    """The same with a part of the array for each thread."""

    label = "copy, threads"

    def softmax(self, case: Case, logits: Array) -> Call:
        if not case.out or self.threads == 1:
            raise Missing("a copy in threads, but for out=")
        pool = ThreadPoolExecutor(self.threads)
        sources = np.array_split(logits.reshape(-1), self.threads)
        targets = np.array_split(np.empty(logits.size, logits.dtype), self.threads)
        return lambda: list(pool.map(np.copyto, targets, sources))


# glibc's memcpy writes past the cache (non-temporal stores) only from three quarters of a large last cache on; here it
# does so from 1 MB on, so that what is written is not read first.
PAST_THE_CACHE = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x100000"}


class CopyPastCache(Copy):
    label = "copy, past cache"
    environment = PAST_THE_CACHE


class CopyPastCacheInThreads(CopyInThreads):
    label = "copy, past cache, threads"
    environment = PAST_THE_CACHE


class Exponentials(Copy):
    """NumPy's exponential of each entry, for what a new result costs it (see `bench_memory.py`)."""

    label = "NumPy's exp"

    def softmax(self, case: Case, logits: Array) -> Call:
        return partial(np.exp, logits, out=np.empty_like(logits) if case.out else None)


OURS = Softmax
PEERS: dict[str, type[Library]] = {
    "numpy": NumPy,
    "scipy": SciPy,
    "torch": Torch,
    "onnxruntime": OnnxRuntime,
    "jax": Jax,
    "entmax": Entmax,
    "entmax-top": EntmaxTop,
    "copy": Copy,
    "copy-threads": CopyInThreads,
    "copy-past-cache": CopyPastCache,
    "copy-past-cache-threads": CopyPastCacheInThreads,
}
