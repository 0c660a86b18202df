"""Sending requests at their times."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import uvloop
from numpy.typing import NDArray

from predictors.client import rest_wire
from predictors.client.access import Access, grpc_address
from predictors.client.sdk_import import hidden_arguments
from predictors.core.errors import InvalidInput, NotReady
from predictors.loadtest.alarm import Alarm
from predictors.loadtest.connection import CONNECT, LATE, Connection, Failure, Reply
from predictors.loadtest.http_connection import HttpConnection, HttpTarget
from predictors.loadtest.judge import Judge
from predictors.loadtest.plan import Plan
from predictors.loadtest.report import Report, Usage, make_report
from predictors.loadtest.tally import Second, Tally

MODEL = "wavecast"

_REQUESTS = 64
_REQUESTS_BYTES = 32 * 2**20
_CONNECT_PAUSE_S = 0.05
_REFUSED = {"HTTP 400", "HTTP 401", "HTTP 403", "HTTP 404", "HTTP 413", "HTTP 415"} | {
    f"gRPC {code}" for code in ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "NOT_FOUND", "OUT_OF_RANGE")
}

Connect = Callable[[float], Awaitable[Connection]]
Windows = Callable[[int], Mapping[str, NDArray[Any]]]


def run_load(
    plan: Plan, windows: Windows, access: Access, progress: Callable[[Second], None] = lambda _: None
) -> Report:
    """Put a load on a server and measure it; SIGINT ends it early.

    Parameters
    ----------
    plan
        The load.
    windows
        From a number of windows to that many of them.
    access
        How the server lets callers in.
    progress
        Called with every second of the measured time.

    Returns
    -------
    What was measured. It takes at most warm-up, duration and two deadlines.

    Raises
    ------
    InvalidInput
        If the address is not understood, or the server refuses the very first request as wrong.
    NotReady
        If it cannot be reached at all.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(plan, windows, access, progress))


async def _run(plan: Plan, windows: Windows, access: Access, progress: Callable[[Second], None]) -> Report:
    connect, requests, judge = _prepare(plan, windows, access)
    await _try_one(plan, connect)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stopped.set)
    gc.collect()
    gc.freeze()  # what is there stays; else collections over all of it would be measured too
    begin_s = time.monotonic() + plan.warmup_s
    tally = Tally(judge, begin_s)
    generator = _Generator(plan, connect, requests, tally, begin_s)
    ticking = asyncio.create_task(_tick(tally, progress))
    stopping = asyncio.create_task(stopped.wait())
    sending = asyncio.create_task(generator.run())
    cpu_s, began = _cpu_s(), time.monotonic()
    try:
        await asyncio.wait((stopping, sending), return_when=asyncio.FIRST_COMPLETED)
        usage = Usage((_cpu_s() - cpu_s) / (time.monotonic() - began), stopped.is_set())
        if sending.done():
            sending.result()
        tally.end(min(time.monotonic(), begin_s + plan.duration_s) if stopped.is_set() else begin_s + plan.duration_s)
    finally:
        for task in (stopping, sending, ticking):
            task.cancel()
        await asyncio.gather(stopping, sending, ticking, return_exceptions=True)
        gc.unfreeze()
    return make_report(plan, tally, usage)


def _prepare(plan: Plan, windows: Windows, access: Access) -> tuple[Connect, int, Judge]:
    """How to connect, the number of different requests, and how to judge their answers."""
    parameters = {"timeout": max(1, int(1e6 * plan.deadline_s))}
    one = windows(plan.batch)
    size = sum(array.nbytes for array in one.values())
    requests = min(_REQUESTS, max(1, _REQUESTS_BYTES // size))
    many = windows(plan.batch + requests - 1)
    tensors = [{name: array[i : i + plan.batch] for name, array in many.items()} for i in range(requests)]
    if plan.protocol == "grpc":
        with hidden_arguments():
            from predictors.loadtest.grpc_connection import GrpcConnection
            from predictors.serving.grpc_client import decode_bytes, infer_bytes

        address, tls = grpc_address(plan.url)
        credentials = access.grpc_credentials() if tls else None
        messages = [infer_bytes(MODEL, each, parameters) for each in tensors]

        async def open_grpc(_: float) -> Connection:
            return GrpcConnection(address, credentials, access.headers, messages)

        def decode_grpc(reply: Reply) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]:
            answer = decode_bytes(reply.body)
            return answer.tensors, answer.parameters

        return open_grpc, requests, Judge(plan.batch, decode_grpc)
    bodies = []
    for each in tensors:
        body, headers = rest_wire.encode(each, parameters, binary=plan.protocol == "rest-binary")
        bodies.append((body, {**headers, **access.headers}))
    target = HttpTarget(plan.url, rest_wire.PATH, bodies, access.tls() if plan.url.startswith("https://") else None)

    async def open_http(timeout_s: float) -> Connection:
        return await HttpConnection.open(target, timeout_s)

    return open_http, requests, Judge(plan.batch, lambda reply: rest_wire.decode_body(reply.body, reply.header_length))


async def _try_one(plan: Plan, connect: Connect) -> None:
    """Refuse a plan whose requests can never be answered; anything else is for the test to count."""
    connection: Connection | None = None
    try:
        connection = await connect(plan.deadline_s)
        reply = await connection.exchange(0, plan.deadline_s)
    except Failure as failure:
        if failure.kind == CONNECT:
            raise NotReady(f"{plan.url} cannot be reached: {failure}") from failure
        return
    finally:
        if connection is not None:
            await connection.close()
    if reply.status in _REFUSED:
        said = reply.body[:300].decode(errors="replace")
        raise InvalidInput(f"{plan.url} refuses the request, so there is nothing to measure: {reply.status}, {said}")


async def _tick(tally: Tally, progress: Callable[[Second], None]) -> None:
    for second in count(1):
        await asyncio.sleep(tally.begin_s + second - time.monotonic())
        progress(tally.end_second(time.monotonic()))


class _Generator:
    """Connections that take turns at the schedule."""

    def __init__(self, plan: Plan, connect: Connect, requests: int, tally: Tally, begin_s: float) -> None:
        self._plan, self._connect, self._requests, self._tally = plan, connect, requests, tally
        self._first_s, self._end_s = begin_s - plan.warmup_s, begin_s + plan.duration_s
        self._numbers = count()
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Send until the end of the plan."""
        alarm = Alarm()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._plan.connections):
                    group.create_task(self._keep_asking(alarm))
        finally:
            alarm.close()

    async def _keep_asking(self, alarm: Alarm) -> None:
        connection: Connection | None = None
        try:
            while (turn := await self._next(alarm)) is not None:
                connection = await self._ask(connection, *turn)
        finally:
            if connection is not None:
                await connection.close()

    async def _next(self, alarm: Alarm) -> tuple[int, float] | None:
        """Number and due time of the next request, as soon as it is due; ``None`` at the end."""
        rate = self._plan.rate_per_s
        if rate is None:
            now = time.monotonic()
            return (next(self._numbers), now) if now < self._end_s else None
        async with self._turn:  # the connection that is free for longest waits for the next time
            number = next(self._numbers)
            due = self._first_s + number / rate
            if due >= self._end_s:
                return None
            if due > time.monotonic():
                await alarm.sleep_until(due)
                self._tally.woke(due, time.monotonic())
        return number, due

    async def _ask(self, connection: Connection | None, number: int, due: float) -> Connection | None:
        """One request; the connection for the next one."""
        try:
            if connection is None or not connection.usable:
                connection = None
                connection = await self._connect(self._left(due))
            self._tally.reply(due, await connection.exchange(number % self._requests, self._left(due)))
        except Failure as failure:
            self._tally.failure(due, failure, time.monotonic())
            # A closed loop would spin at a closed door; an open one lets the others' answers in.
            await asyncio.sleep(_CONNECT_PAUSE_S if connection is None and self._plan.rate_per_s is None else 0)
        return connection

    def _left(self, due: float) -> float:
        left = due + self._plan.deadline_s - time.monotonic()
        if left <= 0:
            raise Failure(LATE, "all connections were busy until its deadline; it was never sent")
        return left


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
