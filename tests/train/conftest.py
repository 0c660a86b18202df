"""Real training rows: NASDAQ features and what the backbone leaves unexplained."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from training_rows import TrainingRows

from optimization.targets import log_variance_target
from optimization.train.backbone import fit_backbone
from predictors.core.proxies import variance_proxy
from predictors.wavelet.features import series_features
from predictors.wavelet.spec import FeatureSpec

_ROWS = 1200


@pytest.fixture(scope="session")
def training_rows(nasdaq_bars: NDArray[np.float64]) -> TrainingRows:
    """The first 1,200 windows; the targets of the last ones lie ahead."""
    spec = FeatureSpec()
    first = spec.window_bars - 1
    bars = nasdaq_bars[: first + _ROWS]
    block = series_features(bars, spec)
    proxy = variance_proxy(spec.proxy, bars, np.log(np.ascontiguousarray(bars[:, :4])))
    target = np.stack([log_variance_target(proxy, horizon)[first:] for horizon in (1, 5)], axis=1)
    known = np.isfinite(target).any(axis=1)
    backbone = fit_backbone(block.tabular[known], target[known], spec)
    residual = target - backbone.log_variance(block.tabular)
    for array in (block.tabular, block.sequence, residual):
        array.flags.writeable = False
    return TrainingRows(spec, backbone, block.tabular, block.sequence, residual)
