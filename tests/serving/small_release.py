"""A small real release: linear members over the features of real NASDAQ bars, fitted by least squares."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from predictors.core.artifact import (
    GOLDEN,
    MANIFEST,
    MODEL,
    RELEASE,
    Calibration,
    FileRecord,
    MemberManifest,
    ReleaseManifest,
    subset_key,
    subsets,
)
from predictors.core.window import HIGH, LOW
from predictors.members.onnx_member import OnnxMember
from predictors.router.combine import combine, log_mean
from predictors.store import Store, member_folder, release_folder
from predictors.wavelet.features import compute_features, series_features
from predictors.wavelet.spec import FeatureSpec

HORIZONS = (1, 5)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
RIDGE = {"lstm": 3.0, "transformer": 30.0, "xgboost": 300.0}
SPEC = FeatureSpec()


def nasdaq() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The last 900 bars (900, 5) of the arch package's NASDAQ series, and their times in ns."""
    import arch.data.nasdaq

    frame = arch.data.nasdaq.load().iloc[-900:]
    bars = frame[["Open", "High", "Low", "Close", "Volume"]].to_numpy(float)
    return np.ascontiguousarray(bars), frame.index.to_numpy("datetime64[ns]").astype(np.int64)


def publish_release(
    store_uri: Path,
    member_shift: float = 0.0,
    release_factor: float = 1.0,
    penalty_factor: float = 1.0,
    created: str = "2026-01-01T00:00:00Z",
) -> ReleaseManifest:
    """Fit, export and publish three members and their release.

    The golden answers can be made wrong; another penalty makes other members, so another release.
    """
    bars, _ = nasdaq()
    block = series_features(bars, SPEC)
    proxy = np.maximum(np.log(bars[:, HIGH] / bars[:, LOW]) ** 2, 1e-8) / (4 * np.log(2))  # Parkinson
    origins = np.arange(SPEC.window_bars - 1, len(bars) - max(HORIZONS))
    target = np.log(np.stack([[proxy[t + 1 : t + 1 + h].mean() for t in origins] for h in HORIZONS], 1))
    tabular, sequence = block.tabular[: len(origins)], block.sequence[: len(origins)]
    golden_rows = [0, 300, 700]
    store = Store(str(store_uri))

    versions, fitted = {}, {}
    for kind, penalty in RIDGE.items():
        model = _linear_model(kind, tabular, sequence, target, penalty * penalty_factor)
        session = OnnxMember(model)
        fitted[kind] = session
        golden = _npz(
            tabular=tabular[golden_rows],
            sequence=sequence[golden_rows],
            log_variance=session.log_variance_each(tabular[golden_rows], sequence[golden_rows]) + member_shift,
            tolerance=np.array(1e-5),
        )
        manifest = MemberManifest(
            kind=kind,
            version="",
            spec_hash=SPEC.hash,
            columns=SPEC.columns,
            target="log_variance",
            horizons=HORIZONS,
            files={MODEL: FileRecord.of(model), GOLDEN: FileRecord.of(golden)},
            scores={},
            data_fingerprint="0" * 64,
            seed=0,
            libraries={"numpy": np.__version__},
            parent=None,
            created="2026-01-01T00:00:00Z",
        )
        manifest = replace(manifest, version=manifest.content_version())
        versions[kind] = manifest.version
        for file, content in ((MODEL, model), (GOLDEN, golden), (MANIFEST, manifest.to_json())):
            store.put_new(f"{member_folder(kind, manifest.version)}/{file}", content)

    answers = {kind: session.log_variance(tabular, sequence) for kind, session in fitted.items()}
    calibrations = {}
    for members in subsets(versions):
        weights = {kind: 1.0 / len(members) for kind in members}
        errors = target - log_mean({kind: answers[kind] for kind in members}, weights)
        calibrations[subset_key(members)] = Calibration(
            weights=weights,
            smearing=tuple(float(v) for v in np.exp(errors).mean(0)),
            offsets=tuple(tuple(float(v) for v in np.quantile(errors[:, h], LEVELS)) for h in range(len(HORIZONS))),
        )
    release = ReleaseManifest(
        release="",
        spec=SPEC.to_json(),
        proxy=SPEC.proxy,
        target="log_variance",
        horizons=HORIZONS,
        quantile_levels=LEVELS,
        bars_per_year=252.0,
        members=versions,
        calibrations=calibrations,
        benchmark={},
        scores={},
        data_fingerprint="0" * 64,
        files={},
        created=created,
    )
    windows = np.stack([bars[i : i + SPEC.window_bars] for i in golden_rows])
    forecasts = [expected(window[None], release, fitted) for window in windows]
    blocks = [compute_features(window[None], SPEC) for window in windows]
    golden = _npz(
        bars=windows,
        variance=np.concatenate([f["variance"] for f in forecasts]) * release_factor,
        log_variance=np.concatenate([f["log_variance"] for f in forecasts]),
        quantiles=np.concatenate([f["quantiles"] for f in forecasts]),
        tolerance=np.array(1e-5),
        **{
            f"member_{kind}": np.concatenate([member.log_variance(b.tabular, b.sequence) for b in blocks])
            for kind, member in fitted.items()
        },
    )
    release = replace(release, files={GOLDEN: FileRecord.of(golden)})
    release = replace(release, release=release.content_version())
    for file, content in ((GOLDEN, golden), (RELEASE, release.to_json())):
        store.put_new(f"{release_folder(release.release)}/{file}", content)
    return release


def expected(
    bars: NDArray[np.float64],
    release: ReleaseManifest,
    members: dict[str, OnnxMember],
    kinds: tuple[str, ...] = tuple(RIDGE),
) -> dict[str, NDArray[np.float64]]:
    """The offline path, by plain composition: features, members, combination."""
    block = compute_features(np.ascontiguousarray(bars[:, -SPEC.window_bars :]), SPEC)
    forecast = combine({kind: members[kind].log_variance(block.tabular, block.sequence) for kind in kinds}, release)
    return {
        "variance": forecast.variance,
        "log_variance": forecast.log_variance,
        "quantiles": forecast.quantiles,
    }


def _linear_model(
    kind: str, tabular: NDArray[np.float32], sequence: NDArray[np.float32], target: NDArray[np.float64], penalty: float
) -> bytes:
    """Ridge of the target on the tabular block, and for the networks on the last sequence step too."""
    parts = [tabular] if kind == "xgboost" else [tabular, sequence[:, -1]]
    X = np.column_stack([np.ones(len(target)), *parts]).astype(float)
    centre, spread = X.mean(0), X.std(0)
    centre[0], spread[0] = 0.0, 1.0
    spread[spread == 0] = 1.0
    Z = (X - centre) / spread
    coefficients = np.linalg.solve(Z.T @ Z + penalty * np.diag([0.0] + [1.0] * (Z.shape[1] - 1)), Z.T @ target)
    slopes = coefficients[1:] / spread[1:, None]
    intercept = coefficients[0] - centre[1:] @ slopes

    inputs = [helper.make_tensor_value_info("tabular", TensorProto.FLOAT, ["batch", tabular.shape[1]])]
    weights: dict[str, NDArray[Any]] = {"slopes": slopes, "intercept": intercept}
    nodes = []
    features = "tabular"
    if kind != "xgboost":
        shape = ["batch", *sequence.shape[1:]]
        inputs.append(helper.make_tensor_value_info("sequence", TensorProto.FLOAT, shape))
        weights["last"] = np.array(sequence.shape[1] - 1)
        nodes = [
            helper.make_node("Gather", ["sequence", "last"], ["step"], axis=1),
            helper.make_node("Concat", ["tabular", "step"], ["features"], axis=1),
        ]
        features = "features"
    nodes += [
        helper.make_node("Cast", [features], ["wide"], to=TensorProto.DOUBLE),
        helper.make_node("MatMul", ["wide", "slopes"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["log_variance"]),
    ]
    graph = helper.make_graph(
        nodes,
        kind,
        inputs,
        [helper.make_tensor_value_info("log_variance", TensorProto.DOUBLE, ["batch", len(HORIZONS)])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
