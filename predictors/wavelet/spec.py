"""`FeatureSpec`: everything that decides the features, and the hash that members check."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from predictors.core.errors import InvalidInput
from predictors.core.proxies import PROXIES
from predictors.wavelet.modwt import modwt_filter

LEVEL_BARS = (1, 5, 22)
LEVERAGE_BARS = (1, 2, 5, 10, 22, 64)
DISPERSION_BARS = (22, 64)
ECHO_BARS = (22, 44, 63)
ECHO_HALF_WIDTH_BARS = 2
TRAILING_BARS = 66
"""Bars that the trailing sums look back: the farthest echo and its half width, and the origin."""

VERSION = 1
"""Of the feature code."""
MAX_SIZE = 4096
MAX_LEVELS = 12

GROUPS = (
    "level",
    "haar",
    "leverage",
    "downside",
    "return_haar",
    "energy",
    "activity",
    "volume",
    "dispersion",
    "echo",
)


@dataclass(frozen=True)
class FeatureSpec:
    """Which features are computed, of which window; immutable, with a canonical JSON and a hash.

    Attributes
    ----------
    proxy
        Variance proxy of a bar, one of `predictors.core.proxies.PROXIES`.
    filter
        Name of an orthogonal PyWavelets filter.
    levels
        MODWT levels J.
    window_bars
        Bars T of a window; features see nothing older.
    sequence_bars
        Steps S of the sequence block, all of them boundary-free at level J.
    groups
        Feature groups of the tabular block, in the order of `GROUPS`.
    version
        Of the feature code: raised whenever the same spec would give other numbers.
    """

    proxy: str = "garman_klass"
    filter: str = "haar"
    levels: int = 6
    window_bars: int = 128
    sequence_bars: int = 64
    groups: tuple[str, ...] = GROUPS
    version: int = VERSION

    def __post_init__(self) -> None:
        if self.proxy not in PROXIES:
            raise InvalidInput(f"feature spec: proxy '{self.proxy}' is unknown; choose one of {', '.join(PROXIES)}")
        unknown = [group for group in self.groups if group not in GROUPS]
        if unknown or self.groups != tuple(g for g in GROUPS if g in self.groups) or not self.groups:
            raise InvalidInput(
                f"feature spec: groups {list(self.groups)} must be a non-empty selection, in order, "
                f"of {', '.join(GROUPS)}"
            )
        sizes = {"levels": self.levels, "window_bars": self.window_bars, "sequence_bars": self.sequence_bars}
        for name, size in sizes.items():
            if type(size) is not int or not 1 <= size <= MAX_SIZE:
                raise InvalidInput(f"feature spec: {name} is {size!r}; it must be an integer from 1 to {MAX_SIZE}")
        if self.version != VERSION or type(self.version) is not int:
            raise InvalidInput(f"feature spec: version {self.version!r} is not {VERSION}, the one this code computes")
        taps = modwt_filter(self.filter)
        if self.levels > MAX_LEVELS:
            raise InvalidInput(f"feature spec: levels is {self.levels}; at most {MAX_LEVELS} are computed")
        needed = max(taps.boundary(self.levels) + self.sequence_bars, TRAILING_BARS)
        if self.window_bars < needed:
            raise InvalidInput(
                f"feature spec: filter '{self.filter}' with {self.levels} levels and {self.sequence_bars} sequence "
                f"bars needs a window of at least {needed} bars; window_bars is {self.window_bars}"
            )

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the tabular block's columns."""
        return tuple(name for group in self.groups for name in self._names(group))

    @cached_property
    def channels(self) -> tuple[str, ...]:
        """Names of the sequence block's channels."""
        levels = [*(f"w{j}" for j in range(1, self.levels + 1)), f"v{self.levels}", "value"]
        return tuple(f"{series}_{name}" for series in ("log_variance", "return") for name in levels)

    def columns_of(self, *groups: str) -> tuple[int, ...]:
        """Positions of the columns that belong to any of ``groups``."""
        owners = [group for group in self.groups for _ in self._names(group)]
        return tuple(position for position, owner in enumerate(owners) if owner in groups)

    def _names(self, group: str) -> list[str]:
        levels = [*(f"w{j}" for j in range(1, self.levels + 1)), f"v{self.levels}"]
        return {
            "level": [f"level_{k}" for k in LEVEL_BARS],
            "haar": [f"log_variance_{name}" for name in levels],
            "leverage": [f"leverage_{k}" for k in LEVERAGE_BARS],
            "downside": [f"downside_{k}" for k in LEVERAGE_BARS],
            "return_haar": [f"return_{name}" for name in levels],
            "energy": [f"energy_{j}" for j in range(1, self.levels + 1)],
            "activity": ["absolute_return", "gap", *(f"close_to_close_{k}" for k in LEVEL_BARS)],
            "volume": [f"volume_{k}" for k in LEVEL_BARS],
            "dispersion": [f"dispersion_{k}" for k in DISPERSION_BARS],
            "echo": [f"echo_{k}" for k in ECHO_BARS],
        }[group]

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """The spec of a canonical JSON.

        Raises
        ------
        InvalidInput
            For anything but the JSON of a valid spec.
        """
        try:
            content = json.loads(text)
            if set(content) != {field.name for field in fields(cls)}:
                raise InvalidInput(f"feature spec: keys {sorted(content)} are not those of this version")
            return cls(**{**content, "groups": tuple(content["groups"])})
        except (TypeError, ValueError) as wrong:
            raise InvalidInput("feature spec: not a JSON object of the known fields") from wrong

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
