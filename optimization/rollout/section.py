"""What every section of the chart's values is: frozen, camelCase outside, unknown keys refused, fields described."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

IDENTIFIER = re.compile(r"[0-9a-f]{12}")
"""Of a release, and of a member's version: the beginning of its content's sha256."""


class Section(BaseModel):
    """Base of the sections of ``values.yaml``."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


def _identifier(text: str) -> str:
    if not IDENTIFIER.fullmatch(text):
        raise ValueError(f"'{text}' is no version; write 12 hexadecimal digits, as 'wavecast store ls' shows them")
    return text


def _percent(number: int) -> int:
    if not 0 <= number <= 100:
        raise ValueError(f"{number} is no percentage; write a whole number from 0 to 100")
    return number


# The rules are checked here and in the chart's templates, which both say what to write. A rule in the schema would be
# checked before the templates and say only what it found, so the schema holds types, choices and known keys.
Identifier = Annotated[str, AfterValidator(_identifier)]
Percent = Annotated[int, AfterValidator(_percent)]
