"""The values of the chart ``helm/wavecast``: the one source of its values.yaml, its schema and their reference.

Rules that the types cannot express are checked here for the commands and in the templates for helm; each says what to
write. The models need no Kubernetes client.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from optimization.rollout.section import Identifier, Percent, Section
from optimization.rollout.workload import Retraining, Scheduling, Tuning, Workload, resources
from predictors.core.errors import InvalidInput

_STORE = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/]+)*")


class Image(Section):
    """Where the images come from: ``<registry>/wavecast-<component>:<tag>``."""

    registry: str = "localhost"
    """Registry and path before `/wavecast-<component>`."""
    tag: str = ""
    """Tag of all images; that of the chart's appVersion if empty. Never `latest`."""
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the kubelet pulls."""
    pull_secrets: tuple[str, ...] = ()
    """Names of Secrets for the registry."""

    @field_validator("tag")
    @classmethod
    def _no_moving_tag(cls, tag: str) -> str:
        if tag == "latest":
            raise ValueError("'latest' moves, so a rollback would not bring the old image back; write a version")
        return tag


class Credentials(Section):
    """How the store lets pods in; exactly one of the three."""

    existing_secret: str = ""
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. KServe reads endpoint and region from its annotations
    serving.kserve.io/s3-endpoint, s3-region and s3-usehttps ("0" or "1"): without them it asks AWS."""
    access_key_id: str = ""
    """Key from which the chart makes a Secret; it stands in the values, so for tests only."""
    secret_access_key: str = ""
    """Its secret."""
    workload_identity: dict[str, str] = Field(default_factory=dict)
    """Annotations of the ServiceAccount, for example eks.amazonaws.com/role-arn."""


class Store(Section):
    """The object store of the releases."""

    uri: str = ""
    """Where `wavecast publish --store` writes: s3://bucket/prefix, without a slash at the end."""
    endpoint: str = ""
    """host:port of an S3 service that is not AWS, without a scheme."""
    region: str = "us-east-1"
    """Region of the bucket."""
    use_https: bool = True
    """Whether the endpoint speaks TLS."""
    credentials: Credentials = Credentials()
    """How it lets pods in."""

    @field_validator("uri")
    @classmethod
    def _folder(cls, uri: str) -> str:
        if uri and not _STORE.fullmatch(uri):
            raise ValueError(f"'{uri}' is no store; write s3://bucket/prefix, without a slash at the end")
        return uri

    @field_validator("endpoint")
    @classmethod
    def _address(cls, endpoint: str) -> str:
        if "/" in endpoint:
            raise ValueError(f"'{endpoint}' is no address; write host:port, and useHttps says which scheme")
        return endpoint


class Gateway(Section):
    """The Gateway that routes attach to; it is there already, the chart makes none."""

    name: str = ""
    """Its name."""
    namespace: str = ""
    """Its namespace; that of the chart if empty."""
    section_name: str = ""
    """Listener to attach to; all that fit if empty."""
    hostnames: tuple[str, ...] = ()
    """Names under which REST is reached; at least one."""
    grpc_hostnames: tuple[str, ...] = ()
    """Names under which gRPC is reached; `grpc.` before each of `hostnames` if empty. The Gateway API lets a name
    belong to an HTTPRoute or to a GRPCRoute, not to both."""


class Release(Section):
    """A release that runs."""

    name: Identifier
    """The release, 12 hexadecimal digits."""
    members: dict[Literal["lstm", "transformer", "xgboost"], Identifier]
    """Version of each of its members, as its release.json has them."""

    @field_validator("members")
    @classmethod
    def _some(cls, members: dict[str, str]) -> dict[str, str]:
        if not members:
            raise ValueError("is empty; write the version of each member, as release.json has them")
        return members


class Traffic(Section):
    """Who answers."""

    stable: str = ""
    """Release that answers what no canary gets."""
    canary: str = ""
    """Release that is tried; empty for none."""
    percent: Percent = 0
    """Share of the requests that the canary answers. The header x-wavecast-release picks a release whatever it is."""
    mirror_percent: Percent = 0
    """Share of all requests without the header that the canary gets a copy of, its own share of them included; the
    answers are dropped. Less than 100 needs Gateway API 1.3."""


class Members(Section):
    """The members' predictors, one InferenceService for each version that runs."""

    lstm: Workload = Workload(resources=resources(("50m", "256Mi"), ("1", "512Mi")))
    """The LSTM."""
    transformer: Workload = Workload(resources=resources(("50m", "256Mi"), ("1", "512Mi")))
    """The Transformer, the neural network."""
    xgboost: Workload = Workload(resources=resources(("50m", "256Mi"), ("1", "512Mi")))
    """XGBoost."""


class Router(Workload):
    """The ensemble router; its replicas are those of the release."""

    min_members: int = Field(default=1, ge=1)
    """Fewest members whose answers make a forecast; with fewer it is refused with 503."""


class Auth(Section):
    """Who may ask. One of the two must be said."""

    existing_secret: str = ""
    """Secret with the key `keys`: a file of `wavecast keys create`. Keys are asked for, for everything but health."""
    insecure: bool = False
    """Anybody who reaches the gateway may ask."""
    test_key_secret: str = ""
    """Secret with the key `key`: an API key with which `helm install` and `helm test` ask for the golden windows;
    without one they do not, if keys are asked for."""


class ServiceAccount(Section):
    """Identity of the pods; its token is mounted nowhere."""

    create: bool = True
    """Make one. Your own must name the store's Secret under `secrets`."""
    name: str = ""
    """Its name; the chart's if empty."""


class RolloutRole(Section):
    """The Role of whoever runs `wavecast release`."""

    create: bool = True
    """Make it; the pods themselves have no rights."""
    subjects: tuple[dict[str, str], ...] = ()
    """Whom it is bound to, as in a RoleBinding, for example [{kind: Group, name: quants,
    apiGroup: rbac.authorization.k8s.io}]."""


class Kserve(Section):
    """How KServe is spoken to."""

    deployment_mode: Literal["Standard", "RawDeployment"] = "Standard"
    """Its mode without Knative: Standard since 0.16, RawDeployment in 0.15."""


class Disruption(Section):
    """How pods leave and come."""

    max_unavailable: int = Field(default=1, ge=1)
    """Pods of one service that an eviction may take at once."""
    drain_s: int = Field(default=5, ge=0)
    """Time between a pod's leaving its Service and its SIGTERM, in seconds: until then requests still come."""
    request_s: int = Field(default=10, ge=1)
    """Longest time of one request, in seconds."""


class NetworkPolicies(Section):
    """Who reaches whom; needs a network that enforces them."""

    enabled: bool = True
    """Let only the router reach members, only the gateway the release, and only monitoring scrape."""
    gateway_namespaces: tuple[str, ...] = ()
    """Namespaces that the gateway's data plane runs in; that of the Gateway if empty."""
    monitoring_namespaces: tuple[str, ...] = ("monitoring",)
    """Namespaces that metrics are scraped from."""


class PodMonitor(Section):
    """Scraping by the Prometheus operator."""

    enabled: bool = False
    """Make one; needs the operator's CRDs."""
    interval: str = "15s"
    """Between two scrapes."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels that the Prometheus selects it by."""


class Monitoring(Section):
    """What watches it."""

    pod_monitor: PodMonitor = PodMonitor()
    """Scraping by the Prometheus operator."""


class Values(Section):
    """All values of the chart."""

    model_config = ConfigDict(title="Values of the chart wavecast")

    name_override: str = ""
    """First part of all names; that of the chart's release if empty. At most 23 characters, together with the namespace
    at most 27, because KServe makes host names of both."""
    image: Image = Image()
    """Where the images come from."""
    store: Store = Store()
    """The object store of the releases."""
    gateway: Gateway = Gateway()
    """The Gateway that routes attach to."""
    placement: Literal["collocated", "transformer"] = "collocated"
    """Where features are computed: in the router's pod, or in pods of their own as KServe's transformer component."""
    releases: tuple[Release, ...] = ()
    """What runs: releases with the versions of their members. A revision changes this or `traffic`, never both."""
    traffic: Traffic = Traffic()
    """Who answers."""
    auth: Auth = Auth()
    """Who may ask."""
    members: Members = Members()
    """The members' predictors."""
    router: Router = Router(resources=resources(("100m", "256Mi"), ("2", "512Mi")))
    """The ensemble router."""
    wavelet: Workload = Workload(resources=resources(("150m", "256Mi"), ("2", "512Mi")))
    """The process that accepts bars and computes features; with the router, its replicas are the router's."""
    disruption: Disruption = Disruption()
    """How pods leave and come."""
    scheduling: Scheduling = Scheduling()
    """Where pods run."""
    network_policy: NetworkPolicies = NetworkPolicies()
    """Who reaches whom."""
    service_account: ServiceAccount = ServiceAccount()
    """Identity of the pods."""
    rollout: RolloutRole = RolloutRole()
    """The Role of whoever runs `wavecast release`."""
    kserve: Kserve = Kserve()
    """How KServe is spoken to."""
    monitoring: Monitoring = Monitoring()
    """What watches it."""
    tuning: Tuning = Tuning()
    """A study of settings by several pods, and a release trained with what it found."""
    retraining: Retraining = Retraining()
    """Training on the newest bars by schedule."""
    global_: dict[str, Any] = Field(default={}, alias="global")
    """Helm gives it to subcharts; nothing here reads it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        running = [release.name for release in self.releases]
        twice = next((name for name in running if running.count(name) > 1), None)
        if twice:
            raise ValueError(f"releases has {twice} twice; name each release once")
        traffic = self.traffic
        if running and not traffic.stable:
            raise ValueError(f"traffic.stable is empty; write the release that answers, one of {', '.join(running)}")
        for role in ("stable", "canary"):
            name = getattr(traffic, role)
            if name and name not in running:
                raise ValueError(f"traffic.{role} is {name}, which is not in releases; add it there with its members")
        if traffic.canary and traffic.canary == traffic.stable:
            raise ValueError(f"traffic.canary is the stable release {traffic.stable}; write another one, or nothing")
        for share in ("percent", "mirror_percent"):
            if getattr(traffic, share) and not traffic.canary:
                raise ValueError(
                    f"traffic.{share} is {getattr(traffic, share)}, but no canary is named; write one, or 0"
                )
        return self


def read_values(values: dict[str, Any]) -> Values:
    """Values as a user gives them, over the defaults as helm lays them: maps are merged, lists replaced.

    Raises
    ------
    InvalidInput
        Naming the first value that is wrong, and what to write.
    """
    try:
        return Values.model_validate(_over(Values().model_dump(by_alias=True), values))
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = "is unknown; 'helm show values' lists what there is"
        raise InvalidInput(f"value {name}: {said}" if name else f"values: {said}") from wrong


def _over(defaults: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: _over(defaults[key], value)
        for key, value in values.items()
        if isinstance(value, dict) and isinstance(defaults.get(key), dict)
    }
    return {**defaults, **values, **both}
