"""Which column of a file holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from predictors.core.errors import DataError, InvalidInput
from predictors.core.window import FIELDS

TIMESTAMP, SYMBOL, REALISED = "timestamp", "symbol", "realised"
COLUMNS = (TIMESTAMP, SYMBOL, *FIELDS, REALISED)
REQUIRED = (TIMESTAMP, *FIELDS[:4])
_ALIASES = {TIMESTAMP: (TIMESTAMP, "datetime", "date")}


def resolve(file: str, names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """The file's own name of each column of the contract that it has.

    Parameters
    ----------
    file
        Name of the file, for messages.
    names
        Column names as in the file; case and surrounding blanks do not count.
    mapping
        Column of the contract -> name in the file, where it has another name there.

    Raises
    ------
    DataError
        If a required or mapped column is missing, or two columns could be meant.
    InvalidInput
        If ``mapping`` names a column that the contract does not have.
    """
    found: dict[str, str] = {}
    for unknown in mapping.keys() - set(COLUMNS):
        raise InvalidInput(f"column '{unknown}' is not one of {', '.join(COLUMNS)}")
    for column in COLUMNS:
        wanted = (mapping[column],) if column in mapping else _ALIASES.get(column, (column,))
        hits = [name for name in names if _plain(name) in map(_plain, wanted)]
        if len(hits) > 1:
            raise DataError(
                f"{file}: columns {_listed(hits)} could all be '{column}'; keep one or say which with --column"
            )
        if hits:
            found[column] = hits[0]
        elif column in REQUIRED or column in mapping:
            raise DataError(f"{file}: column '{wanted[0]}' is missing; the file has {_listed(names)}")
    return found


def _plain(name: str) -> str:
    return name.strip().lower()


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
