"""`wavecast release` on a real API server with a real helm, from canary to rollback."""

from __future__ import annotations

from pathlib import Path

import pytest
from cast import Cast
from conftest import Namespace

from predictors.core.artifact import ReleaseManifest

pytestmark = pytest.mark.xdist_group("rollout")
Stored = tuple[Path, list[ReleaseManifest]]


def test_the_life_of_a_release(namespace: Namespace, cast: Cast, store: Stored) -> None:
    old, new = (one.release for one in store[1][:2])
    namespace.install(store[1][0])
    for arguments in (
        ["canary", new, "--percent", "20"],
        ["canary", new, "--percent", "50"],
        ["promote"],
        ["rollback"],
    ):
        ended = namespace.release(*arguments, "--settle", "0")
        print(ended)
        assert ended.code == 0, ended.err
