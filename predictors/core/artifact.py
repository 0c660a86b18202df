"""Manifests of the two immutable things in a store: a member artifact and a release.

Both are content-addressed: the version is the first 12 hex digits of the sha256 of the canonical
JSON without ``version``/``release`` and ``created``, so equal content has an equal version,
whoever publishes it and whenever.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, Self

from predictors.core.errors import ArtifactError

MANIFEST = "manifest.json"
MODEL = "model.onnx"
GOLDEN = "golden.npz"
RELEASE = "release.json"
KINDS = ("lstm", "transformer", "xgboost")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Checksum and size of one file of an artifact."""

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> FileRecord:
        """The record of ``content``."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """Where a member's settings come from.

    Attributes
    ----------
    study, trial
        Name of the search, and its winner.
    frontier_trial
        Of the frontier around the winner, the point that was chosen.
    data_fingerprint
        sha256 of the bars that the study was made for.
    """

    study: str
    trial: int
    frontier_trial: int
    data_fingerprint: str


@dataclass(frozen=True, slots=True)
class GateRecord:
    """One gate that a step of compression was put to.

    Attributes
    ----------
    step, gate
        Names.
    limit
        Largest value allowed, or the smallest if ``floor``.
    value
        What was found; ``None`` for a latency, for a version is not a matter of the minute of its measurement.
    passed
        The verdict.
    """

    step: str
    gate: str
    limit: float
    floor: bool
    value: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class MemberManifest:
    """What a member artifact is, and the checksums of its files.

    Attributes
    ----------
    kind
        One of `KINDS`.
    version
        First 12 hex digits of the content hash.
    spec_hash
        Hash of the `FeatureSpec` whose features the member reads.
    columns
        Tabular columns that it reads, a subset of the spec's.
    target, horizons
        ``log_variance`` and the horizons in bars.
    files
        Checksum and size of each file beside the manifest.
    scores
        Out-of-fold figures by name, for example ``qlike_h1``.
    data_fingerprint
        sha256 of the training bars' canonical content.
    seed
        Of the training.
    libraries
        Versions of the libraries that made it.
    parent
        Version of the member this one was derived from, or ``None``.
    created
        ISO 8601, UTC; outside the hash.
    study
        Where its settings come from; ``None`` for those that wavecast begins with, or that a person wrote.
    gates
        What it was put to on its way from ``parent``, in order; empty for a member as it was trained.
    """

    kind: str
    version: str
    spec_hash: str
    columns: tuple[str, ...]
    target: str
    horizons: tuple[int, ...]
    files: dict[str, FileRecord]
    scores: dict[str, float]
    data_fingerprint: str
    seed: int
    libraries: dict[str, str]
    parent: str | None
    created: str
    study: StudyRecord | None = None
    gates: tuple[GateRecord, ...] = ()

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return _canonical(asdict(self))

    def content_version(self) -> str:
        """The version that this content must have."""
        return _content_hash(asdict(self), "version")

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Self:
        """Read a manifest and check that its version is that of its content.

        Raises
        ------
        ArtifactError
            Naming ``name``, if the JSON is not a manifest or its content was altered.
        """
        content = _load(cls, text, name)
        try:
            content["files"] = {key: FileRecord(**record) for key, record in content["files"].items()}
            content["gates"] = tuple(GateRecord(**record) for record in content["gates"])
            content["study"] = None if content["study"] is None else StudyRecord(**content["study"])
            manifest = cls(**{**content, "columns": tuple(content["columns"]), "horizons": tuple(content["horizons"])})
        except (TypeError, AttributeError) as wrong:
            raise ArtifactError(f"{name}: not a member manifest") from wrong
        if manifest.version != manifest.content_version():
            raise ArtifactError(
                f"{name}: its content has version {manifest.content_version()}, not {manifest.version}; it was altered"
            )
        return manifest


@dataclass(frozen=True, slots=True)
class Calibration:
    """How one subset of members becomes a forecast.

    Attributes
    ----------
    weights
        Of each member in the subset, summing to 1.
    smearing
        One factor per horizon: variance = exp(log_variance) * smearing.
    offsets
        Per horizon one offset per quantile level: quantile = exp(log_variance + offset).
    """

    weights: dict[str, float]
    smearing: tuple[float, ...]
    offsets: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """The unit that is published, canaried, promoted and rolled back.

    Attributes
    ----------
    release
        First 12 hex digits of the content hash.
    spec
        Canonical JSON of the `FeatureSpec`.
    proxy, target, horizons, quantile_levels, bars_per_year
        What is forecast.
    members
        Version of the member of each kind.
    calibrations
        By `subset_key`, for every non-empty subset of the members.
    benchmark
        log-HAR by horizon: intercept, three slopes, smearing.
    scores
        Out-of-fold figures of the ensemble by name.
    data_fingerprint
        sha256 of the training bars' canonical content.
    files
        Checksum and size of ``golden.npz``.
    created
        ISO 8601, UTC; outside the hash.
    """

    release: str
    spec: str
    proxy: str
    target: str
    horizons: tuple[int, ...]
    quantile_levels: tuple[float, ...]
    bars_per_year: float
    members: dict[str, str]
    calibrations: dict[str, Calibration]
    benchmark: dict[str, tuple[float, ...]]
    scores: dict[str, float]
    data_fingerprint: str
    files: dict[str, FileRecord]
    created: str

    def to_json(self) -> bytes:
        """Canonical JSON."""
        return _canonical(asdict(self))

    def content_version(self) -> str:
        """The release identifier that this content must have."""
        return _content_hash(asdict(self), "release")

    def calibration(self, kinds: Mapping[str, object]) -> Calibration:
        """The calibration of the members that answered."""
        return self.calibrations[subset_key(kinds)]

    @classmethod
    def from_json(cls, text: bytes, name: str) -> Self:
        """Read a release and check its identifier and that every subset is calibrated.

        Raises
        ------
        ArtifactError
            Naming ``name``, if the JSON is not a release or its content was altered.
        """
        content = _load(cls, text, name)
        try:
            content["files"] = {key: FileRecord(**record) for key, record in content["files"].items()}
            content["calibrations"] = {
                key: Calibration(
                    weights=record["weights"],
                    smearing=tuple(record["smearing"]),
                    offsets=tuple(tuple(row) for row in record["offsets"]),
                )
                for key, record in content["calibrations"].items()
            }
            content["benchmark"] = {key: tuple(row) for key, row in content["benchmark"].items()}
            for key in ("horizons", "quantile_levels"):
                content[key] = tuple(content[key])
            manifest = cls(**content)
        except (TypeError, AttributeError, KeyError) as wrong:
            raise ArtifactError(f"{name}: not a release manifest") from wrong
        if manifest.release != manifest.content_version():
            raise ArtifactError(
                f"{name}: its content is release {manifest.content_version()}, not {manifest.release}; it was altered"
            )
        missing = [key for key in map(subset_key, subsets(manifest.members)) if key not in manifest.calibrations]
        if missing:
            raise ArtifactError(f"{name}: no calibration for the members {missing[0]}")
        return manifest


def subset_key(kinds: Mapping[str, object] | tuple[str, ...]) -> str:
    """Name of a subset of members: the sorted kinds joined by ``+``."""
    return "+".join(sorted(kinds))


def subsets(kinds: Mapping[str, object] | tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every non-empty subset of the members, each sorted."""
    ordered = sorted(kinds)
    return [chosen for size in range(1, len(ordered) + 1) for chosen in combinations(ordered, size)]


def check_file(files: Mapping[str, FileRecord], file: str, content: bytes, name: str) -> bytes:
    """Return ``content`` if it is what the manifest promised.

    Raises
    ------
    ArtifactError
        Naming the artifact and the file, with both sizes or checksums.
    """
    if file not in files:
        raise ArtifactError(f"{name}: its manifest does not list {file}")
    expected, found = files[file], FileRecord.of(content)
    if found.size != expected.size:
        raise ArtifactError(f"{name}: {file} has {found.size} bytes, the manifest says {expected.size}")
    if found.sha256 != expected.sha256:
        raise ArtifactError(
            f"{name}: {file} was altered; its sha256 begins {found.sha256[:12]}, "
            f"the manifest says {expected.sha256[:12]}"
        )
    return content


def _canonical(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _content_hash(content: dict[str, Any], identifier: str) -> str:
    hashed = {key: value for key, value in content.items() if key not in (identifier, "created")}
    return hashlib.sha256(_canonical(hashed)).hexdigest()[:12]


def _load(cls: type[Any], text: bytes, name: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as wrong:
        raise ArtifactError(f"{name}: not JSON; it is half-written or altered") from wrong
    expected = {field.name for field in fields(cls)}
    if not isinstance(content, dict) or set(content) != expected:
        raise ArtifactError(f"{name}: its keys are not those of this version of wavecast")
    return content
