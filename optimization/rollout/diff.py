"""The change of values that a revision makes, as a reader of values sees it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Versions in quotes: helm's YAML takes 1234567890e1 and 018888888888 for numbers."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    version = re.fullmatch("[0-9a-f]{12}", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if version else None)


_Dumper.add_representer(str, _text)


def as_yaml(values: Mapping[str, Any]) -> str:
    """Values as a file for ``helm --values``, keys in their order."""
    return str(yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, default_flow_style=False))


def values_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Lines that go and come in ``releases`` or ``traffic``, whichever changes; a release is one line."""
    lines = []
    for part in ("releases", "traffic"):
        if before.get(part) != after.get(part):
            changes = list(unified_diff(_lines(before.get(part)), _lines(after.get(part)), lineterm="", n=99))
            lines += [f" {part}:", *(f"{line[0]}  {line[1:]}" for line in changes[3:])]  # after the head
    return "\n".join(lines)


def _lines(part: Any) -> list[str]:
    if isinstance(part, list):
        return [f"- {_flow(one)}" for one in part]
    return [f"{key}: {_flow(value)}" for key, value in sorted((part or {}).items())]


def _flow(value: Any) -> str:
    text = str(yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000))
    return text.removesuffix("\n").removesuffix("\n...")
