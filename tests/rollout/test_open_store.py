"""The store of the cluster is read where the cluster reads it, unless the environment knows another way."""

from __future__ import annotations

import os
from unittest import mock

import pytest

from optimization.rollout.situation import open_store
from predictors.core.errors import InvalidInput

VALUES = {
    "store": {"uri": "s3://models/wavecast", "endpoint": "s3.storage.svc:9000", "useHttps": False, "region": "eu-1"}
}
OURS = {"AWS_ENDPOINT_URL": "https://here", "AWS_REGION": "us-1"}


@pytest.mark.parametrize(
    ("environment", "named", "then"),
    [
        ({}, None, {"AWS_ENDPOINT_URL": "http://s3.storage.svc:9000", "AWS_REGION": "eu-1"}),
        (OURS, None, OURS),
        ({}, "s3://others", {}),
    ],
    ids=["the cluster's", "the environment goes first", "another store"],
)
def test_endpoint_and_region(environment: dict[str, str], named: str | None, then: dict[str, str]) -> None:
    with mock.patch.dict(os.environ, environment, clear=True):
        assert open_store(VALUES, named).uri == (named or "s3://models/wavecast")
        assert dict(os.environ) == then


def test_values_without_a_store_are_told_so() -> None:
    with pytest.raises(InvalidInput, match="the values name no store .*; name it with --store"):
        open_store({"store": {"uri": ""}}, None)
