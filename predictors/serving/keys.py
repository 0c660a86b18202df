"""API keys: who may ask, and for what.

A key is 256 random bits, so its SHA-256 is enough at rest: there is nothing to guess that a slow hash would
protect, and a slow hash would let anybody burn the server's time with wrong keys. The file is JSON Lines, one
`KeyRecord` a line, and is read again when it changes: a key is revoked without a restart.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import orjson
import structlog

from predictors.core.errors import Forbidden, InvalidInput, NotFound, Unauthenticated

Access = Literal["read", "admin"]
"""``read`` asks for forecasts and metadata; ``admin`` also loads and unloads releases."""

_PREFIX = "wc_"
_CHECK_EVERY_S = 1.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key.

    Attributes
    ----------
    name
        Whom it was given to; in logs and for limits.
    scope
        The most it may do.
    sha256
        Of the key, hexadecimal.
    """

    name: str
    scope: Access
    sha256: str


def new_key(name: str, scope: Access) -> tuple[str, KeyRecord]:
    """A new key and its record; the key itself is kept nowhere."""
    key = _PREFIX + secrets.token_urlsafe(32)
    return key, KeyRecord(name, scope, _digest(key))


def read_keys(path: Path) -> list[KeyRecord]:
    """The records of a file.

    Raises
    ------
    NotFound
        If there is no such file.
    InvalidInput
        Naming the first line that is not a record, or a name that occurs twice.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as wrong:
        raise NotFound(
            f"key file {path.name} cannot be read ({wrong.strerror}); create one with 'wavecast keys create'"
        ) from wrong
    records: list[KeyRecord] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = KeyRecord(**orjson.loads(line))
            good = record.name and record.scope in get_args(Access) and len(bytes.fromhex(record.sha256)) == 32
        except (TypeError, ValueError):
            good = False
        if not good:
            raise InvalidInput(
                f"key file {path.name} line {number} is not a key; expected name, scope (read or admin) and sha256"
            )
        if record.name in {known.name for known in records}:
            raise InvalidInput(f"key file {path.name} line {number}: the name '{record.name}' is taken")
        records.append(record)
    return records


def write_keys(path: Path, records: list[KeyRecord]) -> None:
    """Replace a file at once, readable by its owner only: a server that reads it sees the old or the new one."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        file.writelines(orjson.dumps(asdict(record)) + b"\n" for record in records)
    Path(file.name).replace(path)


class Keyring:
    """The keys of a file, as they are now."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises
        ------
        NotFound, InvalidInput
            As `read_keys`.
        """
        self._path = path
        self._changed = self._stamp()
        self._records = read_keys(path)
        self._checked = time.monotonic()

    def check(self, key: str | None, needs: Access) -> str:
        """Name of the key's owner.

        Raises
        ------
        Unauthenticated
            Without a key that is known.
        Forbidden
            If the key may not do what is asked for.
        """
        if key is None:
            raise Unauthenticated("an API key is needed; send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
        self._reread()
        digest = _digest(key)
        found: KeyRecord | None = None
        for record in self._records:  # all of them, each in constant time: the answer's time names no key
            if hmac.compare_digest(record.sha256, digest):
                found = record
        if found is None:
            raise Unauthenticated("the API key is unknown or was revoked")
        if needs == "admin" and found.scope != "admin":
            raise Forbidden(f"the key '{found.name}' has scope 'read'; this needs 'admin'")
        return found.name

    def _reread(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK_EVERY_S:
            return
        self._checked = now
        try:
            stamp = self._stamp()
            if stamp != self._changed:
                self._records, self._changed = read_keys(self._path), stamp
                _log.info("keys read again", keys=len(self._records))
        except (NotFound, InvalidInput) as wrong:
            _log.error("the keys stay as they were", error=str(wrong))

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
