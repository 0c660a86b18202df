"""Bodies of the model repository API.

Source: Triton's "Model Repository Extension", with the parameter ``release``.
"""

from __future__ import annotations

from typing import Any

import orjson

from predictors.core.errors import InvalidInput


def index_request(body: bytes) -> bool:
    """Whether only what is ready is asked for.

    Raises
    ------
    InvalidInput
        If the body is not ``{"ready": true or false}`` or empty.
    """
    ready = _object(body, "ready").get("ready", False)
    if not isinstance(ready, bool):
        raise InvalidInput(f"'ready' is {ready!r}; expected true or false")
    return ready


def release_request(body: bytes, header: str | None) -> str:
    """The release to load or unload; empty if none is named.

    Parameters
    ----------
    body
        ``{"parameters": {"release": ...}}`` or empty.
    header
        Value of the header ``x-wavecast-release``, which names it as well.

    Raises
    ------
    InvalidInput
        If the body is something else, or the two differ.
    """
    parameters = _object(body, "parameters").get("parameters", {})
    # Triton's clients send `unload_dependents`: whether the members go with their release, which they do.
    if not isinstance(parameters, dict) or parameters.keys() - {"release", "unload_dependents"}:
        raise InvalidInput("'parameters' must be an object with the key 'release'")
    release = parameters.get("release", header or "")
    if not isinstance(release, str) or (not release and "release" in parameters):
        raise InvalidInput(f"parameter 'release' is {release!r}; expected the name of a release")
    if header and release != header:
        raise InvalidInput(f"header 'x-wavecast-release' is '{header}', but the parameter 'release' is '{release}'")
    return release


def _object(body: bytes, key: str) -> dict[str, Any]:
    try:
        content = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as wrong:
        raise InvalidInput(f"the body is not JSON: {wrong}") from wrong
    if not isinstance(content, dict) or content.keys() - {key}:
        raise InvalidInput(f"the body must be a JSON object with the key '{key}', or empty")
    return content
