"""Waking an event loop at a given time, to some tens of microseconds."""

from __future__ import annotations

import asyncio
import ctypes
import os

_CLOCK_MONOTONIC = 1
_ABSOLUTE_TIME = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _TimerSpec(ctypes.Structure):
    """``struct itimerspec`` of Linux."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Alarm:
    """Sleeps until a time; one sleeper at once.

    The loops' own timers have a granularity of 1 ms, and uvloop's ring up to that much early: as long
    as what is measured here. The kernel's timers (``timerfd_create(2)``) ring some 50 us late.
    """

    def __init__(self) -> None:
        """Belong to the running event loop.

        Raises
        ------
        OSError
            If the kernel gives no timer.
        """
        self._loop = asyncio.get_running_loop()
        self._timer: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._sleeper: asyncio.Future[None] | None = None
        self._loop.add_reader(self._timer, self._ring)

    async def sleep_until(self, monotonic_s: float) -> None:
        """Return at this time of `time.monotonic`, or soon if it has passed."""
        whole, part = divmod(max(1, int(monotonic_s * 1e9)), 10**9)
        self._sleeper = self._loop.create_future()
        _libc.timerfd_settime(self._timer, _ABSOLUTE_TIME, ctypes.byref(_TimerSpec(0, 0, whole, part)), None)
        await self._sleeper

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _ring(self) -> None:
        os.read(self._timer, 8)
        if self._sleeper is not None and not self._sleeper.done():
            self._sleeper.set_result(None)
