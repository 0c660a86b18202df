"""What the cluster runs now: every service of a rollout with why it is not ready, and the split of the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from optimization.rollout.cluster import Cluster
from optimization.rollout.diagnosis import Diagnosis, diagnose
from optimization.rollout.routes import split_problem
from optimization.rollout.services import Service, read_services, rolled_out
from optimization.rollout.state import RunningRelease, Traffic


@dataclass(frozen=True, slots=True)
class Health:
    """One thing that a release needs: its own InferenceService or that of a member.

    Attributes
    ----------
    artifact
        As in ``lstm 1f579717bf34``.
    service, uri
        Name of the InferenceService and where its files come from; empty if there is none.
    problem
        Why it is not ready; ``None`` if it is.
    """

    artifact: str
    service: str
    uri: str
    problem: Diagnosis | None


class Observer:
    """Asks one cluster about one chart release."""

    def __init__(self, cluster: Cluster, helm_name: str) -> None:
        self._cluster = cluster
        self._name = helm_name

    def services(self) -> list[Service]:
        """Every InferenceService of the chart release that serves an artifact."""
        return read_services(self._cluster.inference_services(self._name))

    def health(self, release: RunningRelease, services: list[Service]) -> list[Health]:
        """What a release needs, itself last: it waits for its members."""
        wanted = [*sorted(release.members.items()), ("", release.name)]
        found = {(one.kind, one.version): one for one in services}
        return [self._health(kind, version, found.get((kind, version))) for kind, version in wanted]

    def leaving(self, release: RunningRelease) -> list[str]:
        """What is still being removed of a release that shall start: helm would change it, and it would vanish."""
        wanted = {*release.members.items(), ("", release.name)}
        return [one.name for one in self.services() if one.leaving and (one.kind, one.version) in wanted]

    def split_problem(self, traffic: Traffic) -> str | None:
        """Why the gateway does not split as it should; ``None`` if it does."""
        return split_problem(self._cluster.routes(self._name), traffic)

    def _health(self, kind: str, version: str, service: Service | None) -> Health:
        if service is None:
            absent = Diagnosis("absent", "there is no InferenceService for it")
            return Health(f"{kind or 'release'} {version}", "", "", absent)
        return Health(service.artifact, service.name, service.uri, self._problem(service))

    def _problem(self, service: Service) -> Diagnosis | None:
        if service.says_ready:
            if rolled_out(self._cluster.deployments(service.name)):
                return None
            return Diagnosis("rolling", "its pods are being replaced, or some are not available")
        pods = self._cluster.pods(service.name)
        return diagnose(service, pods, lambda pod, name, previous: self._cluster.log(pod, name, previous=previous))
