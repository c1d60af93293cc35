"""Large arrays a block of rows at a time: each block fits a processor's last cache, so that memory is read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ._native import num_threads

Result = TypeVar("Result")

# Numbers in a block: 1 or 2 MB, which stay in the cache that threads share. Smaller ones end so soon that the threads
# wait for Python's lock more than they work.
BLOCK = 1 << 18
PARALLEL = 1 << 20  # more numbers than that are worth threads


def over_blocks(work: Callable[[slice], Result], rows: int, columns: int, *, threads: bool = True) -> list[Result]:
    """What `work` returns for each block of an array (rows, columns), in order: the same for any number of threads.

    Without `threads`, one block after the other: for matrix products, whose library has threads of its own.

    >>> over_blocks(lambda rows: rows.start, 3, BLOCK)
    [0, 1, 2]
    """
    size = max(1, BLOCK // columns)
    blocks = [slice(start, start + size) for start in range(0, rows, size)]
    if not threads or rows * columns <= PARALLEL or num_threads() == 1:
        return [work(block) for block in blocks]
    from concurrent.futures import ThreadPoolExecutor  # not above: it would double the time to import softmax

    with ThreadPoolExecutor(num_threads()) as pool:
        return list(pool.map(work, blocks))
