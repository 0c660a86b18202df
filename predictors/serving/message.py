"""What an error tells a client."""

from __future__ import annotations

_MOST = 500
"""Characters; as percent-encoded UTF-8 they stay below the 8 KiB that gRPC allows for a status."""


def told(error: Exception) -> str:
    """The message, without the middle of one that quotes something huge."""
    text = str(error)
    return text if len(text) <= _MOST else f"{text[: _MOST // 2]} ... {text[5 - _MOST // 2 :]}"
