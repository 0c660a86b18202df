"""The sidecar: the trained member itself, beside the model that is served."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from optimization.rows import Rows
from optimization.train.trained import TRAINED, Trained
from predictors.core.artifact import MODEL
from predictors.core.errors import ArtifactError

KINDS = ("lstm", "transformer", "xgboost")


@pytest.mark.parametrize("kind", KINDS)
def test_the_restored_member_is_the_one_that_was_trained(run: Path, kind: str) -> None:
    """It exports to the very bytes of the model, and is kept again as the very bytes of the sidecar."""
    folder = next((run / "models" / kind).iterdir())
    content = (folder / TRAINED).read_bytes()
    restored = Trained.from_bytes(content, kind)
    assert restored.model() == (folder / MODEL).read_bytes()
    assert restored.to_bytes() == content
    record = json.loads((folder / "manifest.json").read_text())["files"][TRAINED]
    assert record == {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_fit_answers_with_the_same_bits(rows: Rows, members: dict[str, Trained], kind: str) -> None:
    few = rows.matured_by(600)
    residual = few.log_target - members[kind].backbone.log_variance(few.tabular)
    fitted = members[kind].learner.fit(few.tabular, few.sequence, residual, 3)
    again = members[kind].learner.restore(fitted.arrays())
    np.testing.assert_array_equal(
        again.residual(rows.tabular, rows.sequence), fitted.residual(rows.tabular, rows.sequence)
    )


def test_settings_that_were_not_the_defaults_are_restored(members: dict[str, Trained]) -> None:
    assert members["xgboost"].learner.rounds == 20  # type: ignore[attr-defined]
    assert members["lstm"].learner.network.width == 8  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_what_is_no_trained_member_is_refused_by_name(members: dict[str, Trained], content: bytes | None) -> None:
    wrong = members["lstm"].to_bytes()[:1000] if content is None else content
    with pytest.raises(ArtifactError, match="member lstm 123"):
        Trained.from_bytes(wrong, "member lstm 123")
