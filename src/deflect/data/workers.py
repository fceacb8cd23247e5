"""Work in several processes, which end with the process that started them."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

T = TypeVar("T")


def in_processes(work: Callable[..., T], tasks: Iterable[tuple[Any, ...]], jobs: int) -> Iterator[T]:
    """``work(*task)`` of every task, as they finish; a few tasks are made ahead, since there may be a million."""
    # not forked from this process: a fork would copy the locks of threads of torch or HDF5
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(jobs, context, _end_with_parent) as pool:
        waiting: set[Future[T]] = set()
        for task in tasks:
            waiting.add(pool.submit(work, *task))
            if len(waiting) > 2 * jobs:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _end_with_parent() -> None:
    """Runs once per process: end it when its parent is killed; it would wait for tasks forever."""

    def end() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=end, daemon=True).start()
