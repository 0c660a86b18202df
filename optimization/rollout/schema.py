"""Files of the chart that are made from the models of its values: ``python -m optimization.rollout.schema``.

values.yaml, with every key described; values.schema.json, by which helm refuses unknown keys and wrong types; and the
reference in the documentation.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from optimization.rollout.values import Values

VALUES = Path("helm/wavecast/values.yaml")
SCHEMA = Path("helm/wavecast/values.schema.json")
REFERENCE = Path("docs/values.md")

_WIDTH = 116
_HIDDEN = frozenset({"global"})


def values_yaml() -> str:
    """Defaults of the chart, each key below what it is."""
    lines = ["# Values of the chart wavecast. Made by `make generate` from optimization/rollout/values.py."]
    lines += _yaml(Values(), "")
    return "\n".join(lines) + "\n"


def schema_json() -> str:
    """JSON schema of the values: types, choices, ranges and known keys."""
    schema = Values.model_json_schema(by_alias=True)
    schema["$schema"] = "http://json-schema.org/draft-07/schema#"
    return json.dumps(_without_titles(schema), indent=2, sort_keys=True) + "\n"


def reference() -> str:
    """One line for each value, as a table in Markdown."""
    head = (
        "# Values of the chart\n\nMade by `make generate` from `optimization/rollout/values.py`. "
        "[kubernetes.md](kubernetes.md) says how they work together.\n\n| value | default | |\n|---|---|---|\n"
    )
    rows = (f"| `{name}` | {_cell(default)} | {about} |\n" for name, default, about in _rows(Values(), ""))
    return head + "".join(rows)


def main() -> None:
    """Write the three files."""
    for path, text in ((VALUES, values_yaml()), (SCHEMA, schema_json()), (REFERENCE, reference())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def described(section: BaseModel) -> Iterator[tuple[str, str, Any]]:
    """Key, description and default of each field of a section."""
    for name, field in type(section).model_fields.items():
        key = field.alias or name
        if key not in _HIDDEN:
            yield key, _sentence(field), getattr(section, name)


def _sentence(field: FieldInfo) -> str:
    return " ".join((field.description or "").split())


def _yaml(section: BaseModel, indent: str) -> Iterator[str]:
    for key, about, default in described(section):
        if not indent:
            yield ""
        yield from textwrap.wrap(about, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        if isinstance(default, BaseModel):
            yield f"{indent}{key}:"
            yield from _yaml(default, indent + "  ")
        else:
            yield f"{indent}{key}: {json.dumps(default)}"


def _rows(section: BaseModel, prefix: str) -> Iterator[tuple[str, Any, str]]:
    for key, about, default in described(section):
        if isinstance(default, BaseModel):
            yield from _rows(default, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", default, about


def _cell(default: object) -> str:
    return "" if default in ("", (), {}) else f"`{json.dumps(default)}`"


def _without_titles(schema: Any) -> Any:
    """Names of Python classes are of no use to whoever writes values."""
    if isinstance(schema, dict):
        return {
            key: _without_titles(part)
            for key, part in schema.items()
            if key != "title" or not isinstance(part, str) or part == Values.model_config["title"]
        }
    if isinstance(schema, list):
        return [_without_titles(part) for part in schema]
    return schema


if __name__ == "__main__":
    main()
