"""Golden windows: what a release must answer on the CPU that serves it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import NotReady

OUTPUTS = ("variance", "log_variance", "quantiles")


def check_golden_answer(
    answer: Mapping[str, NDArray[np.float64]], golden: Mapping[str, NDArray[Any]], index: int, release: str
) -> None:
    """Compare the answer to one golden window with what the release promised.

    Parameters
    ----------
    answer
        `OUTPUTS` of a batch of one.
    golden
        ``bars`` (n, T, 5), ``variance`` (n, H), ``log_variance`` (n, H), ``quantiles`` (n, H, Q)
        and the scalar ``tolerance`` (relative); a release also has ``member_<kind>`` (n, H), the
        log-variance of each member, for answers without some of them.
    index
        Which window.
    release
        For the message.

    Raises
    ------
    NotReady
        If an output differs by more than the tolerance.
    """
    tolerance = float(golden["tolerance"])
    for output in OUTPUTS:
        worst = float(np.max(np.abs(answer[output][0] / golden[output][index] - 1.0)))
        if not worst <= tolerance:
            raise NotReady(
                f"release {release}: golden replay of '{output}' differs by {worst:.3g}, "
                f"more than {tolerance:.3g}; it is not served"
            )
