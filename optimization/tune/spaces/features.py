"""What of the feature spec is searched; it is one for all members, so the backbone alone judges it."""

from __future__ import annotations

from typing import Any

from optuna.trial import BaseTrial

from predictors.wavelet.modwt import modwt_filter
from predictors.wavelet.spec import GROUPS, FeatureSpec

ALWAYS = ("level", "leverage")
"""Groups that every spec has: persistence, and where most of the gain is."""

_FILTERS = ("haar", "db2", "sym4")
_WINDOWS = (128, 192, 256)
_WINDOW_STEP_BARS = 32
_DEFAULT = FeatureSpec()

DEFAULTS: dict[str, Any] = {
    "filter": _DEFAULT.filter,
    "levels": _DEFAULT.levels,
    "window_bars": _DEFAULT.window_bars,
    "sequence_bars": _DEFAULT.sequence_bars,
    **{f"group_{group}": group in _DEFAULT.groups for group in GROUPS if group not in ALWAYS},
}


def suggest(trial: BaseTrial, proxy: str) -> FeatureSpec:
    """A spec of the search.

    Levels that even the longest window has no room for are left out; a window too short for the
    rest is lengthened in steps of 32 bars. So every trial is a valid spec.
    """
    wavelet = trial.suggest_categorical("filter", _FILTERS)
    levels = trial.suggest_int("levels", 4, 7)
    window_bars = trial.suggest_categorical("window_bars", _WINDOWS)
    sequence_bars = trial.suggest_categorical("sequence_bars", (32, 64))
    taps = modwt_filter(wavelet)
    while taps.boundary(levels) + sequence_bars > _WINDOWS[-1]:
        levels -= 1
    needed = taps.boundary(levels) + sequence_bars
    groups = tuple(
        group for group in GROUPS if group in ALWAYS or trial.suggest_categorical(f"group_{group}", (True, False))
    )
    return FeatureSpec(
        proxy=proxy,
        filter=wavelet,
        levels=levels,
        window_bars=max(window_bars, -(-needed // _WINDOW_STEP_BARS) * _WINDOW_STEP_BARS),
        sequence_bars=sequence_bars,
        groups=groups,
    )
