"""Every error that wavecast raises on purpose.

::

    WavecastError                500 INTERNAL             exit 1
    ├── InvalidInput             400 INVALID_ARGUMENT     exit 2
    │   ├── DataError            (bars in a file: names file, row, column, value, rule)
    │   └── TooLarge             413 OUT_OF_RANGE
    ├── NotFound                 404 NOT_FOUND            exit 2
    ├── MethodNotAllowed         405 UNIMPLEMENTED        exit 2
    ├── UnsupportedMediaType     415 INVALID_ARGUMENT     exit 2
    ├── Unauthenticated          401 UNAUTHENTICATED
    ├── Forbidden                403 PERMISSION_DENIED
    ├── RateLimited              429 RESOURCE_EXHAUSTED
    │   └── TooManyInFlight
    ├── NotReady                 503 UNAVAILABLE
    │   └── Overloaded
    ├── DeadlineExceeded         504 DEADLINE_EXCEEDED
    ├── ArtifactError            500 DATA_LOSS            (altered, half-written or missing files)
    ├── StoreError               500 UNAVAILABLE          (a store that cannot be read or written)
    ├── LeakError                500 INTERNAL             (a feature looked ahead)
    └── MissingExtra             500 UNIMPLEMENTED        (an optional dependency is not installed)

A message is one sentence that names the thing, the bad value and what is allowed. It never
holds a traceback, a path of the server or a secret.
"""

from __future__ import annotations


class WavecastError(Exception):
    """Root of the tree; each class knows its HTTP status, gRPC code and exit code."""

    http_status: int = 500
    grpc_code: str = "INTERNAL"
    exit_code: int = 1


class InvalidInput(WavecastError):
    """The caller sent something that breaks a rule of the contract."""

    http_status = 400
    grpc_code = "INVALID_ARGUMENT"
    exit_code = 2


class DataError(InvalidInput):
    """A table of bars breaks the data contract."""


class TooLarge(InvalidInput):
    """The request is over a limit on batch, bars or bytes."""

    http_status = 413
    grpc_code = "OUT_OF_RANGE"


class NotFound(WavecastError):
    """No such model, version, route, file or release."""

    http_status = 404
    grpc_code = "NOT_FOUND"
    exit_code = 2


class MethodNotAllowed(WavecastError):
    """The route exists, but not with this method."""

    http_status = 405
    grpc_code = "UNIMPLEMENTED"
    exit_code = 2


class UnsupportedMediaType(WavecastError):
    """The body is of a content type or encoding that is not understood."""

    http_status = 415
    grpc_code = "INVALID_ARGUMENT"
    exit_code = 2


class Unauthenticated(WavecastError):
    """An API key is needed, or the one given is unknown."""

    http_status = 401
    grpc_code = "UNAUTHENTICATED"


class Forbidden(WavecastError):
    """The API key is known, and may not do this."""

    http_status = 403
    grpc_code = "PERMISSION_DENIED"


class RateLimited(WavecastError):
    """One client asks too often; ``retry_after_s`` says when to try again."""

    http_status = 429
    grpc_code = "RESOURCE_EXHAUSTED"

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyInFlight(RateLimited):
    """One client has too many requests in flight."""


class NotReady(WavecastError):
    """The model cannot answer now: loading, refused at load, or too few members."""

    http_status = 503
    grpc_code = "UNAVAILABLE"


class Overloaded(NotReady):
    """More requests wait than can be answered in time; ``retry_after_s`` says when to try again."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(WavecastError):
    """The deadline of the request passed before an answer was possible."""

    http_status = 504
    grpc_code = "DEADLINE_EXCEEDED"


class ArtifactError(WavecastError):
    """A file of an artifact or release is missing, altered or half-written."""

    grpc_code = "DATA_LOSS"


class StoreError(WavecastError):
    """A store cannot be read or written."""

    grpc_code = "UNAVAILABLE"


class LeakError(WavecastError):
    """A feature at bar t depends on bars after t."""


class MissingExtra(WavecastError):
    """An optional dependency is needed and not installed."""

    grpc_code = "UNIMPLEMENTED"
