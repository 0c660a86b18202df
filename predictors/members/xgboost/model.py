"""Boosted trees on the linear backbone: reads the tabular block."""

from __future__ import annotations

KIND = "xgboost"
READS = ("tabular",)
"""Feature blocks that its ONNX graph may have as inputs."""
