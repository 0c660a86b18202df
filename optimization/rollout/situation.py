"""Where a command starts: the values that count, and the cluster that runs them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from optimization.rollout.cluster import Cluster, context_namespace
from optimization.rollout.helm import Helm
from optimization.rollout.observe import Observer
from optimization.rollout.permissions import CHANGE, LOOK, LOOK_WITHOUT_HELM, check_permissions, rules_of_chart
from optimization.rollout.preflight import Installed, check_cluster, check_gateway, read_installed
from optimization.rollout.state import Rollout
from optimization.rollout.values import read_values
from predictors.core.errors import InvalidInput
from predictors.store import Store


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """Options of a command that changes releases.

    Attributes
    ----------
    name, namespace, context
        Of the chart release; the namespace and context of the kubeconfig if ``None``.
    chart
        Where the chart lies, or ``None`` for the one that comes with wavecast.
    timeout_s, settle_s
        Longest time of one wait; time that the gateway has to follow.
    dry_run
        Print the steps and change nothing.
    output
        ``values``: print the values of the next revision and change nothing.
    values_file
        Values to start from instead of helm's.
    """

    name: str
    namespace: str | None
    context: str | None
    chart: str | None
    timeout_s: float
    settle_s: float
    dry_run: bool
    output: Literal["values"] | None
    values_file: str | None


@dataclass(frozen=True, slots=True)
class Situation:
    """What runs, as helm or a file of values says, and who can say how it does.

    Attributes
    ----------
    namespace
        Of the chart release.
    observer
        Asks the cluster.
    helm, installed
        The chart release; ``None`` when the values come from a file.
    user, computed
        Values as the user gave them, and with the chart's defaults as far as they are known.
    rollout
        The part of them that says what runs.
    """

    namespace: str
    observer: Observer
    helm: Helm | None
    installed: Installed | None
    user: dict[str, Any]
    computed: dict[str, Any]
    rollout: Rollout

    def rollout_at(self, revision: int) -> Rollout:
        """What the values of an earlier revision said."""
        assert self.helm is not None
        return Rollout.of(self.helm.values(revision, computed=True))


def open_target(name: str, namespace: str | None, context: str | None, *, change: bool) -> Situation:
    """Look at a chart release and everything that a command needs, cheapest first.

    Raises
    ------
    NotFound
        If there is no helm or no such chart release.
    ClusterError
        If there is no cluster, KServe, Gateway API, Gateway or right to use them.
    """
    namespace = namespace or context_namespace(context)
    helm, cluster = Helm(name, namespace, context), Cluster(namespace, context)
    check_cluster(cluster, (*LOOK, *CHANGE) if change else LOOK)
    installed = read_installed(helm, change=change)
    if change:
        check_permissions(cluster, rules_of_chart(cluster, helm.kinds()))
        check_gateway(cluster, installed.computed)
    rollout = Rollout.of(installed.computed)
    return Situation(namespace, Observer(cluster, name), helm, installed, installed.user, installed.computed, rollout)


def open_situation(settings: ChangeSettings) -> Situation:
    """The same, or with the values of a file and no helm.

    Raises
    ------
    InvalidInput
        If the file holds no values of this chart.
    NotFound, ClusterError
        As for `open_target`.
    """
    if settings.values_file is None:
        changes = not settings.dry_run and settings.output is None
        return open_target(settings.name, settings.namespace, settings.context, change=changes)
    if not settings.dry_run and settings.output is None:
        raise InvalidInput("--values is where to start from for --output values or --dry-run")
    values = _read_file(Path(settings.values_file))
    computed = read_values(values).model_dump(mode="json", by_alias=True)
    namespace = settings.namespace or context_namespace(settings.context)
    cluster = Cluster(namespace, settings.context)
    check_cluster(cluster, LOOK_WITHOUT_HELM)
    rollout = Rollout.of(computed)
    return Situation(namespace, Observer(cluster, settings.name), None, None, values, computed, rollout)


def open_store(values: Mapping[str, Any], named: str | None) -> Store:
    """The store that was named, else the one that the cluster reads, at the endpoint that the cluster uses.

    An endpoint in the environment (``AWS_ENDPOINT_URL``) goes first: from here the way may be another one.

    Raises
    ------
    InvalidInput
        If there is neither.
    """
    of_cluster = values.get("store") or {}
    uri = named or of_cluster.get("uri")
    if not uri:
        raise InvalidInput("the values name no store ('store.uri'); name it with --store")
    if named is None and of_cluster.get("endpoint"):
        scheme = "https" if of_cluster.get("useHttps", True) else "http"
        if not os.environ.keys() & {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"}:
            os.environ["AWS_ENDPOINT_URL"] = f"{scheme}://{of_cluster['endpoint']}"
    if named is None and of_cluster.get("region") and not os.environ.keys() & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
        os.environ["AWS_REGION"] = of_cluster["region"]
    return Store(str(uri))


def _read_file(file: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(file.read_text())
    except FileNotFoundError as missing:
        raise InvalidInput(
            f"there is no file '{file}'; --values names the values that the chart is rendered with"
        ) from missing
    except (yaml.YAMLError, UnicodeDecodeError) as wrong:
        raise InvalidInput(f"'{file}' is not YAML: {' '.join(str(wrong).split())}") from wrong
    if not isinstance(values, dict):
        raise InvalidInput(f"'{file}' holds no values: it must be a mapping with 'releases' and 'traffic'")
    return values
