"""InferenceServices read: which artifact each serves, and whether it is ready."""

from __future__ import annotations

import re
from dataclasses import dataclass

from optimization.rollout.cluster import Json

_ARTIFACT = re.compile(r"/(?:models/(?P<kind>[a-z]+)|releases)/(?P<version>[0-9a-f]{12})/?$")


@dataclass(frozen=True, slots=True)
class Service:
    """One InferenceService and the artifact that it serves.

    Attributes
    ----------
    name
        Of the InferenceService.
    kind, version
        Of the member; a release has no kind.
    uri
        Where its files come from.
    resource
        The InferenceService as the API gave it.
    """

    name: str
    kind: str
    version: str
    uri: str
    resource: Json

    @property
    def artifact(self) -> str:
        """For people: ``lstm 1f579717bf34`` or ``release b0289c285c0a``."""
        return f"{self.kind or 'release'} {self.version}"

    @property
    def leaving(self) -> bool:
        """Whether it is being removed."""
        return "deletionTimestamp" in self.resource["metadata"]

    @property
    def says_ready(self) -> bool:
        """Its Ready condition; ``observedGeneration`` is no proof, KServe copies that of the Deployment."""
        return not self.leaving and condition(self.resource, "Ready").get("status") == "True"


def read_services(resources: list[Json]) -> list[Service]:
    """Those that serve a member or a release, by the folder in their storageUri."""
    found = []
    for one in resources:
        predictor = one["spec"].get("predictor") or {}
        uri = (predictor.get("model") or {}).get("storageUri") or ""
        artifact = _ARTIFACT.search(uri)
        if artifact:
            found.append(Service(one["metadata"]["name"], artifact["kind"] or "", artifact["version"], uri, one))
    return sorted(found, key=lambda one: (one.kind, one.version))


def condition(resource: Json, kind: str) -> Json:
    """A condition of a resource; empty if it is not there yet."""
    conditions = (resource.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one["type"] == kind), {})


def rolled_out(deployments: list[Json]) -> bool:
    """Whether every Deployment runs its latest form, and no other, on all of its replicas; at least one is there."""
    for one in deployments:
        status, wanted = one.get("status") or {}, max(one["spec"].get("replicas", 1), 1)
        updated = status.get("updatedReplicas", 0)
        seen = status.get("observedGeneration", 0) >= one["metadata"]["generation"]
        if not seen or min(updated, status.get("availableReplicas", 0)) < wanted or status.get("replicas", 0) > updated:
            return False
    return bool(deployments)
