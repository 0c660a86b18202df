"""An answer of the REST server, however it is sent; and how errors are answered."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from predictors.core.errors import Overloaded, RateLimited, Unauthenticated, WavecastError
from predictors.serving.message import told
from predictors.serving.metrics import METRICS

JSON = "application/json"
BINARY = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body and headers; the length of the body is added where it is sent."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def error_reply(wrong: WavecastError) -> Reply:
    """The JSON answer to a request that failed; refusals are counted."""
    METRICS.refused(wrong)
    headers: tuple[tuple[str, str], ...] = ()
    if isinstance(wrong, RateLimited | Overloaded):
        headers = (("retry-after", str(retry_after(wrong))),)
    elif isinstance(wrong, Unauthenticated):
        headers = (("www-authenticate", "Bearer"),)
    return Reply(wrong.http_status, orjson.dumps({"error": told(wrong)}), JSON, headers)


def retry_after(wrong: RateLimited | Overloaded) -> int:
    """Whole seconds to wait, at least one (RFC 9110, section 10.2.3)."""
    return max(1, int(-(-wrong.retry_after_s // 1)))
