"""`FeatureStream`: warming up, refusing bars, and snapshots that are whole or refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from predictors.core.errors import ArtifactError, InvalidInput
from predictors.wavelet.features import compute_features
from predictors.wavelet.incremental import FeatureStream
from predictors.wavelet.spec import FeatureSpec

SPEC = FeatureSpec()


@pytest.fixture
def snapshot(nasdaq_bars: NDArray[np.float64]) -> bytes:
    stream = FeatureStream(SPEC)
    for bar in nasdaq_bars[:130]:
        stream.push(bar)
    return stream.snapshot()


def test_nothing_is_answered_before_the_window_is_full(nasdaq_bars: NDArray[np.float64]) -> None:
    stream = FeatureStream(SPEC)
    assert [stream.push(bar) for bar in nasdaq_bars[:127]] == [None] * 127
    block = stream.push(nasdaq_bars[127])
    assert block is not None
    assert block.tabular.shape == (1, len(SPEC.columns))


def test_a_refused_bar_leaves_the_stream_as_it_was(nasdaq_bars: NDArray[np.float64]) -> None:
    stream = FeatureStream(SPEC)
    for bar in nasdaq_bars[:127]:
        stream.push(bar)
    before = stream.snapshot()
    with pytest.raises(InvalidInput, match="close = -1.0 must be > 0"):
        stream.push(np.array([1.0, 1.0, 1.0, -1.0, 0.0]))
    with pytest.raises(InvalidInput, match="expected"):
        stream.push(nasdaq_bars[127, :4])
    assert stream.snapshot() == before


def test_a_stream_of_flat_bars_recovers_when_prices_move_again(nasdaq_bars: NDArray[np.float64]) -> None:
    stream = FeatureStream(SPEC)
    for _ in range(127):
        assert stream.push(np.array([1.0, 1.0, 1.0, 1.0, 0.0])) is None
    with pytest.raises(InvalidInput, match="median"):
        stream.push(nasdaq_bars[0])
    for bar in nasdaq_bars[1:63]:
        with pytest.raises(InvalidInput, match="median"):
            stream.push(bar)
    for bar in nasdaq_bars[63:200]:
        block = stream.push(bar)
    assert block is not None
    assert block.tabular.tobytes() == compute_features(nasdaq_bars[None, 72:200], SPEC).tabular.tobytes()


def test_a_snapshot_does_not_grow_with_the_stream(nasdaq_bars: NDArray[np.float64], snapshot: bytes) -> None:
    assert len(json.loads(snapshot)["bars"]) == SPEC.window_bars
    assert FeatureStream.restore(snapshot, SPEC).snapshot() == snapshot


def test_a_snapshot_of_another_spec_is_refused(snapshot: bytes) -> None:
    other = FeatureSpec(proxy="parkinson")
    with pytest.raises(ArtifactError, match=f"it is of the feature spec {SPEC.hash[:12]}, not {other.hash[:12]}"):
        FeatureStream.restore(snapshot, other)


def test_an_altered_snapshot_is_refused(snapshot: bytes) -> None:
    content = json.loads(snapshot)
    content["bars"][5][3] = np.nextafter(content["bars"][5][3], np.inf)
    with pytest.raises(ArtifactError, match="it was altered"):
        FeatureStream.restore(json.dumps(content).encode(), SPEC)
    content = json.loads(snapshot) | {"spec": FeatureSpec(levels=5).hash}
    with pytest.raises(ArtifactError, match="it was altered"):
        FeatureStream.restore(json.dumps(content).encode(), FeatureSpec(levels=5))


@pytest.mark.parametrize("keep", [0, 1, 1000, -1])
def test_half_a_snapshot_is_refused(snapshot: bytes, keep: int) -> None:
    with pytest.raises(ArtifactError, match="not a whole snapshot"):
        FeatureStream.restore(snapshot[:keep], SPEC)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"null", b"\xff", b'{"sha256": 3}'])
def test_what_is_no_snapshot_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="stream snapshot: "):
        FeatureStream.restore(content, SPEC)
