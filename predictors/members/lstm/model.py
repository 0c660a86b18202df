"""Recurrent network on the linear backbone: reads both blocks."""

from __future__ import annotations

KIND = "lstm"
READS = ("tabular", "sequence")
"""Feature blocks that its ONNX graph may have as inputs."""
