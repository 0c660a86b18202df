"""Write-once objects under one URI: ``file://`` by default, ``s3://`` by the same code."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from predictors.core.errors import ArtifactError, InvalidInput, NotFound, StoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

# Silence is what gives a dead store away; a large object that keeps coming may take its time.
_CLIENT: ClientConfig = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "5m", "allow_http": True}
# The library repeats neither a conditional put nor a body that was cut short; `Store` repeats both, and all else alike.
_NO_RETRIES: RetryConfig = {"max_retries": 0}
_WAITS_S = (0.25, 1.0, 3.0)
_PASSING = (408, 409, 429)  # 409: another conditional put of the same object has not ended yet
_ANSWERS = (AlreadyExistsError, FileNotFoundError)
_METADATA_SERVICE = "/latest/api/token"  # asked by the library when no variable gives credentials
_STAGED = re.compile(r"#\d+$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object: its path below the store, its size in bytes and the store's time of its last change."""

    path: str
    size: int
    modified: datetime

    @property
    def half_written(self) -> bool:
        """Whether it is what a killed writer left in a local store; it is no content then."""
        return _STAGED.search(self.path) is not None


class Store:
    """Write-once objects under one URI.

    A request that fails in a way that may pass (no connection, a cut one, silence, HTTP 408, 409, 429 or 5xx) is tried
    4 times with waits of 0.25, 1 and 3 s. A store that stays silent is given up after 4 x 20 + 4.25 = 84.25 s, one
    that answers with errors as soon as its answers and the waits allow; no request lasts more than 5 minutes.
    """

    def __init__(self, uri: str) -> None:
        """Open a store.

        Parameters
        ----------
        uri
            A path, ``file:///path`` or ``s3://bucket/prefix``; S3 credentials, region and
            endpoint come from the usual ``AWS_*`` variables.

        Raises
        ------
        InvalidInput
            For another scheme, or an endpoint without one.
        StoreError
            If it cannot be opened.
        """
        parsed = urlparse(uri)
        self.uri = uri
        self._prefix = ""
        self._root: Path | None = None
        self._objects: Any = None
        if parsed.scheme == "s3":
            _check_endpoint()
            self._prefix = parsed.path.strip("/")
            try:
                self._objects = S3Store(parsed.netloc, client_options=_CLIENT, retry_config=_NO_RETRIES)
            except BaseError as wrong:
                raise StoreError(f"store '{uri}' cannot be opened: {_reason(wrong)}") from wrong
        elif parsed.scheme in ("", "file"):
            self._root = Path(unquote(parsed.path) if parsed.scheme else uri).expanduser().resolve()
        else:
            raise InvalidInput(f"store '{uri}': scheme '{parsed.scheme}' is unknown; use a path, file:// or s3://")

    def get(self, path: str) -> bytes:
        """Content of an object.

        Raises
        ------
        NotFound
            If there is no such object.
        StoreError
            If the store cannot be read.
        """
        store, key = self._open(), self._key(path)
        try:
            return self._attempt(f"read at {path}", lambda: bytes(obstore.get(store, key).bytes()))
        except FileNotFoundError as missing:
            raise NotFound(f"store '{self.uri}' has no {path}") from missing

    def put_new(self, path: str, content: bytes) -> None:
        """Write an object that is not there yet; writing the same content again changes nothing.

        Raises
        ------
        ArtifactError
            If the object is there with other content.
        StoreError
            If the store cannot be written.
        """
        store, key = self._open(create=True), self._key(path)
        try:
            self._attempt(f"written at {path}", lambda: obstore.put(store, key, content, mode="create"))
        except AlreadyExistsError as there:  # also when a try was cut off after it had written
            if self.get(path) != content:
                raise ArtifactError(
                    f"store '{self.uri}' already holds another {path}; nothing is overwritten"
                ) from there

    def names(self, folder: str) -> list[str]:
        """Names of the folders directly below a folder, sorted; empty if there is no such folder."""
        store, key = self._open(), self._key(folder)
        listed = self._attempt("listed", lambda: obstore.list_with_delimiter(store, key + "/"))
        return sorted(str(prefix).rstrip("/").rsplit("/", 1)[-1] for prefix in listed["common_prefixes"])

    def objects(self, folder: str) -> list[StoredObject]:
        """Every object below a folder, by path; of a local store also what a killed writer left half-written."""
        store, key = self._open(), self._key(folder)
        listed = self._attempt("listed", lambda: obstore.list(store, key).collect())
        own = len(self._key(""))
        found = [StoredObject(one["path"][own:], one["size"], one["last_modified"]) for one in listed]
        if self._root is not None:  # the library hides them
            for left in (self._root / folder).rglob("*#*"):
                with suppress(FileNotFoundError):  # its writer has just finished
                    if _STAGED.search(left.name):
                        state = left.stat()
                        modified = _EPOCH + timedelta(microseconds=state.st_mtime_ns // 1000)  # cut as the library cuts
                        found.append(StoredObject(left.relative_to(self._root).as_posix(), state.st_size, modified))
        return sorted(found, key=lambda one: one.path)

    def delete(self, path: str) -> None:
        """Remove an object, and the local folders that this leaves empty; a missing one is removed already.

        Raises
        ------
        StoreError
            If it cannot be removed.
        """
        if self._root is None:
            with suppress(FileNotFoundError):
                self._attempt(f"cleaned of {path}", lambda: obstore.delete(self._objects, self._key(path)))
            return
        file = self._root / path  # the library takes no half-written ones
        try:
            file.unlink(missing_ok=True)
        except OSError as wrong:
            raise StoreError(f"store '{self.uri}' cannot be cleaned of {path}: {wrong.strerror}") from wrong
        with suppress(OSError):  # not empty: a neighbour stays
            for folder in file.relative_to(self._root).parents[:-1]:
                (self._root / folder).rmdir()

    def _attempt(self, what: str, request: Callable[[], T]) -> T:
        """Make a request, again after a failure that may pass.

        Raises
        ------
        FileNotFoundError, AlreadyExistsError
            If that is the answer.
        StoreError
            If it fails for good.
        """
        for wait_s in (*_WAITS_S, None):
            try:
                return request()
            except (BaseError, OSError) as wrong:
                passing = self._root is None and _may_pass(wrong)
                if isinstance(wrong, _ANSWERS) and not passing and _s3_code(wrong) != "NoSuchBucket":
                    raise
                if wait_s is None or not passing:
                    tries = f" in {len(_WAITS_S) + 1} tries" if wait_s is None else ""
                    raise StoreError(f"store '{self.uri}' cannot be {what}{tries}: {_reason(wrong)}") from wrong
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def _open(self, create: bool = False) -> Any:
        if self._root is not None and self._objects is None:
            if not create and not self._root.is_dir():
                raise NotFound(f"store '{self.uri}' does not exist; publish a release to it first")
            try:
                self._objects = LocalStore(self._root, mkdir=True)
            except (BaseError, OSError) as wrong:
                raise StoreError(f"store '{self.uri}' cannot be written: {_reason(wrong)}") from wrong
        return self._objects

    def _key(self, path: str) -> str:
        return f"{self._prefix}/{path}" if self._prefix else path


def _check_endpoint() -> None:
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"):
        endpoint = os.environ.get(name)
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise InvalidInput(f"{name} is '{endpoint}'; it must begin with http:// or https://")


def _may_pass(wrong: Exception) -> bool:
    answered = re.search(r"status code: (\d{3})", str(wrong))
    if answered is None:
        return not isinstance(wrong, _ANSWERS)
    return int(answered[1]) >= 500 or int(answered[1]) in _PASSING


def _s3_code(wrong: Exception) -> str | None:
    found = re.search(r"<Code>(.*?)</Code>", str(wrong))
    return found and found[1]


def _reason(wrong: Exception) -> str:
    """What a storage library's message says, without what it appends for debugging."""
    text = str(wrong).split("Debug source")[0].strip().removeprefix("Generic S3 error: ")
    if _METADATA_SERVICE in text:
        return "there are no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    code, message = _s3_code(wrong), re.search(r"<Message>(.*?)</Message>", text)
    if code and message:
        return f"{message[1].rstrip('.')} ({code})"
    return text.splitlines()[0] if text else type(wrong).__name__
