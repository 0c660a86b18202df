"""CPU-bound work: on the event loop while it is short, else in a small bounded pool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class Worker:
    """Runs functions of a batch; NumPy and ONNX Runtime release the interpreter lock in large ones."""

    def __init__(self, inline_rows: int, threads: int) -> None:
        self.inline_rows = inline_rows
        """Windows up to which work is done on the event loop."""
        self._pool = ThreadPoolExecutor(threads, "worker")

    async def run(self, rows: int, function: Callable[[], _Result]) -> _Result:
        """Result of ``function``, which works on ``rows`` windows."""
        if rows <= self.inline_rows:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """Let go of the threads; what runs is finished."""
        self._pool.shutdown(wait=False)
