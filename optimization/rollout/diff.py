"""The change of values that a revision makes, as a reader of values sees it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

import yaml

_PARTS = ("releases", "traffic")


def as_yaml(values: Mapping[str, Any]) -> str:
    """Values as a file for ``helm --values``, keys in their order."""
    return str(yaml.safe_dump(dict(values), sort_keys=False, default_flow_style=False))


def values_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Lines that go and come in ``releases`` and ``traffic``, the only parts that change."""
    old, new = (as_yaml({part: values.get(part) for part in _PARTS}).splitlines() for values in (before, after))
    lines = list(unified_diff(old, new, lineterm="", n=2))[2:]  # without the names of two files
    return "\n".join(line for line in lines if not line.startswith("@@"))
