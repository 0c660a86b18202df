"""What must be there before anything is changed, each with the sentence that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optimization.rollout.cluster import GATEWAY, GATEWAY_VERSION, SERVING, SERVING_VERSION, Cluster, ClusterError
from optimization.rollout.helm import Helm
from optimization.rollout.permissions import Rule, check_permissions
from predictors.core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Installed:
    """A chart release as helm last completed it; if it never did, as helm tried it first.

    Attributes
    ----------
    last, status
        Number of the last revision, and what became of it: ``deployed``, ``failed``, ``pending-upgrade`` and so on.
    chart
        Name and version of the chart of the deployed one.
    descriptions
        Of every deployed or superseded revision, oldest first, by number.
    user, computed
        Values as the user gave them, and as the chart saw them.
    """

    last: int
    status: str
    chart: str
    descriptions: dict[int, str]
    user: dict[str, Any]
    computed: dict[str, Any]


def check_cluster(cluster: Cluster, rules: tuple[Rule, ...]) -> None:
    """Ask whether the cluster answers, has KServe and the Gateway API, and lets this user in.

    Raises
    ------
    ClusterError
        With the first thing that is missing.
    """
    version = cluster.version()
    for group, found, what in (
        (SERVING, SERVING_VERSION, "install KServe 0.15 or newer"),
        (GATEWAY, GATEWAY_VERSION, "install the Gateway API and a gateway"),
    ):
        if not cluster.serves(group, found):
            raise ClusterError(f"the cluster (Kubernetes {version}) has no API {group}/{found}; {what} first")
    check_permissions(cluster, rules)


def check_gateway(cluster: Cluster, values: Mapping[str, Any]) -> None:
    """Ask for the Gateway that the values name.

    Raises
    ------
    ClusterError
        If it is missing, or refused by its controller.
    """
    named = values.get("gateway") or {}
    namespace, name = str(named.get("namespace") or cluster.namespace), str(named.get("name") or "")
    if not cluster.allowed(GATEWAY, "gateways", "get", namespace):
        return  # it belongs to others; the routes say whether it took them
    gateway = cluster.gateway(namespace, name)
    if gateway is None:
        raise ClusterError(f"there is no Gateway '{name}' in namespace '{namespace}'; values 'gateway' must name one")
    for condition in gateway.get("status", {}).get("conditions", []):
        if condition["type"] in ("Accepted", "Programmed") and condition["status"] == "False":
            raise ClusterError(f"Gateway {namespace}/{name} is not {condition['type'].lower()}: {condition['message']}")


def read_installed(helm: Helm, *, change: bool) -> Installed:
    """What the last completed revision holds; one that failed changed nothing that counts.

    Who only looks may look at any time: also while the first revision is made, or after it failed.

    Raises
    ------
    NotFound
        If there is no chart release of that name.
    ClusterError
        If ``change`` is wanted and a revision is being made now, or none was ever completed.
    """
    history = helm.history()
    last = history[-1]
    if change and last.status.startswith("pending"):
        raise ClusterError(
            f"chart release '{helm.name}' is {last.status} at revision {last.number}: another helm is at work; "
            f"if none is, 'helm rollback {helm.name} --namespace {helm.namespace}' ends it"
        )
    done = next((one for one in reversed(history) if one.status == "deployed"), None)
    if done is None and change:
        raise ClusterError(
            f"chart release '{helm.name}' has no completed revision (the last is {last.status}: {last.description}); "
            "repair it with 'helm upgrade' first"
        )
    done = done or last
    user, computed = (helm.values(done.number, computed=computed) for computed in (False, True))
    made = {one.number: one.description for one in history if one.status in ("deployed", "superseded")}
    return Installed(last.number, last.status, done.chart, made, user, computed)


def check_chart(helm: Helm, chart: Path, installed: Installed) -> None:
    """Compare the chart at hand with the installed one: moving traffic must not upgrade anything else.

    Raises
    ------
    InvalidInput
        If they are of different versions.
    """
    here = helm.chart_of(chart)
    if here != installed.chart:
        raise InvalidInput(
            f"chart release '{helm.name}' was made with {installed.chart}, and '{chart}' is {here}; "
            "upgrade it with 'helm upgrade' first, or name its chart with --chart"
        )
