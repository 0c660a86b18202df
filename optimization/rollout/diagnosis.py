"""Why an InferenceService is not ready, in one line: from its conditions, its pods and what they wrote last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from optimization.rollout.cluster import Json
from optimization.rollout.services import Service, condition

ReadLog = Callable[[str, str, bool], list[str]]
"""Pod, container and whether of its run before this one, to the last lines."""

_INITIALIZER = "storage-initializer"
_PULLS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CREDENTIALS = re.compile(
    r"\b40[13]\b|InvalidAccessKeyId|SignatureDoesNotMatch|AccessDenied|Forbidden|Unauthorized|ExpiredToken|credentials",
    re.IGNORECASE,
)
_MISSING = re.compile(r"\b404\b|NoSuch|No model found|not found|does not exist", re.IGNORECASE)
# What the servers say when they refuse to serve, in the order in which it is looked for.
_REFUSALS = (
    ("golden mismatch", re.compile(r"golden (replay|window).* differs")),
    ("wrong spec hash", re.compile(r"features? (of )?spec|parameter 'spec'|tensor '(tabular|sequence)' has shape")),
    ("corrupted artifact", re.compile(r"altered|the manifest says|not JSON|half-written|not a readable|can load")),
    ("missing object", re.compile(r"is missing|has no (manifest|release)\.json")),
)
# A Secret, by contrast, can be mended while one waits.
_NO_HOPE = ("golden mismatch", "wrong spec hash", "corrupted artifact", "missing object")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A cause that a script can compare, and the words behind it."""

    cause: str
    detail: str

    @property
    def hopeless(self) -> bool:
        """Whether waiting alone will not mend it."""
        return self.cause in _NO_HOPE

    def __str__(self) -> str:
        return f"{self.cause}: {self.detail}" if self.detail else self.cause


def diagnose(service: Service, pods: list[Json], read_log: ReadLog) -> Diagnosis:
    """The most telling reason why a service is not ready."""
    if service.leaving:
        return Diagnosis("leaving", "it is being removed")
    alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    newest = sorted(alive, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), reverse=True)
    for pod in newest:
        for found in (_of_scheduling(pod), *_of_containers(pod, read_log)):
            if found is not None:
                return found
    return _of_conditions(service, bool(alive))


def _of_scheduling(pod: Json) -> Diagnosis | None:
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return Diagnosis("pending", _short(scheduled.get("message", "no node takes it")))
    return None


def _of_containers(pod: Json, read_log: ReadLog) -> Iterator[Diagnosis | None]:
    status, name = pod["status"], pod["metadata"]["name"]
    containers = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    for one in containers:
        state, last = one.get("state") or {}, one.get("lastState") or {}
        waiting = (state.get("waiting") or {}).get("reason", "")
        ended = state.get("terminated") or last.get("terminated") or {}
        if waiting in _PULLS:
            yield Diagnosis("image pull", _short(f"{one['image']}: {state['waiting'].get('message', waiting)}"))
        elif waiting.endswith("Error"):
            yield Diagnosis("container", _short(f"{one['name']}: {waiting}: {state['waiting'].get('message', '')}"))
        elif ended.get("reason") == "OOMKilled" and not one["ready"]:
            yield Diagnosis("out of memory", f"{one['name']} of pod {name} went over its limit")
        elif ended.get("exitCode") and not one["ready"]:
            lines = read_log(name, one["name"], False) or []
            if "terminated" not in state and not _last_error(lines):
                lines = read_log(name, one["name"], True) or lines
            yield _of_log(one["name"], _last_error(lines), ended["exitCode"])
        elif one.get("restartCount", 0) > 1 and not one["ready"]:
            yield Diagnosis("crash loop", f"{one['name']} was started again {one['restartCount']} times")
        elif "running" in state and not one["ready"]:
            yield _of_waiting(one["name"], read_log(name, one["name"], False))


def _of_log(container: str, error: str, exit_code: int) -> Diagnosis:
    if container == _INITIALIZER:
        if _CREDENTIALS.search(error):
            return Diagnosis("wrong credentials", _short(error))
        if _MISSING.search(error):
            return Diagnosis("missing object", _short(error))
        return Diagnosis("storage initializer", _short(error or f"exit code {exit_code}"))
    return _refusal(error) or Diagnosis("crash loop", _short(error or f"{container} ended with exit code {exit_code}"))


def _of_waiting(container: str, lines: list[str]) -> Diagnosis | None:
    """A server that runs and is not ready says what it waits for in its structured log."""
    for line in reversed(lines):
        try:
            event = json.loads(line)
            reason = str(event["reason"])
        except (ValueError, KeyError, TypeError):
            continue
        return _refusal(reason) or Diagnosis("waiting", _short(f"{event.get('event', container)}: {reason}"))
    return None


def _refusal(error: str) -> Diagnosis | None:
    cause = next((cause for cause, pattern in _REFUSALS if pattern.search(error)), None)
    return None if cause is None else Diagnosis(cause, _short(error))


def _of_conditions(service: Service, started: bool) -> Diagnosis:
    status = service.resource.get("status") or {}
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure.get("message") and not started:
        return Diagnosis(str(failure.get("reason", "failed")), _short(failure["message"]))
    for one in status.get("conditions") or []:
        starting = started and one.get("reason") == "MinimumReplicasUnavailable"
        if one["status"] == "False" and one.get("message") and one["type"] != "Ready" and not starting:
            return Diagnosis(str(one.get("reason") or one["type"]), _short(one["message"]))
    return Diagnosis("starting", "its pods start" if started else "it has no pods yet")


def _last_error(lines: list[str]) -> str:
    """The last ``error:`` of our servers, else the last exception of a traceback, else the last line."""
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    for line in reversed(lines):
        if re.match(r"[\w.]*(Error|Exception)\b", line):
            return line
    return next((line for line in reversed(lines) if line.strip()), "")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 240 else f"{text[:237]}..."
