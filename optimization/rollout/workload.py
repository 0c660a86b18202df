"""Sections of the values that describe what runs: pods, their resources and how many of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from optimization.rollout.section import Section


class Amount(Section):
    """An amount of processor time and memory."""

    cpu: str | int | float
    """Cores, for example 250m or 2."""
    memory: str
    """Bytes, for example 256Mi."""


class Resources(Section):
    """What a container is promised, and what it may take."""

    requests: Amount
    """Reserved on the node."""
    limits: Amount
    """Most that it may use."""


def resources(request: tuple[str, str], limit: tuple[str, str]) -> Resources:
    """Requests and limits, each as (cpu, memory)."""
    promised, most = (Amount(cpu=cpu, memory=memory) for cpu, memory in (request, limit))
    return Resources(requests=promised, limits=most)


class Autoscaling(Section):
    """Replicas by load: KServe's HorizontalPodAutoscaler on processor time; needs a metrics server."""

    enabled: bool = False
    """Scale between `replicas` and `maxReplicas`; otherwise `replicas` is fixed."""
    max_replicas: int = Field(default=4, ge=1)
    """Most replicas."""
    target_cpu_percent: int = Field(default=70, ge=1, le=100)
    """Processor time to aim at, in percent of the request."""


CHART_SETTINGS = frozenset(
    {"host", "http_port", "grpc_port", "model_dir", "members", "predictor_host", "api_keys", "insecure"}
    | {"timeout_s", "grace_s", "min_members", "tls_cert", "tls_key"}
)
"""Settings of the processes that the chart itself makes from other values."""


def _free_settings(settings: dict[str, Any]) -> dict[str, Any]:
    taken = sorted(CHART_SETTINGS & settings.keys())
    if taken:
        raise ValueError(f"'{taken[0]}' is set by the chart from other values; leave it out")
    return settings


class Workload(Section):
    """Pods of one kind."""

    replicas: int = Field(default=2, ge=1)
    """Pods; the fewest, if they are scaled."""
    resources: Resources
    """Of one container."""
    autoscaling: Autoscaling = Autoscaling()
    """Replicas by load."""
    settings: Annotated[dict[str, str | int | float | bool], AfterValidator(_free_settings)] = Field(
        default_factory=dict
    )
    """Further settings of the process by their names, for example log_sample: 0.1."""


class Job(Section):
    """What the jobs that make releases have in common."""

    enabled: bool = False
    """Whether it is there."""
    data: str = ""
    """URI of the bars, for example s3://bucket/bars.parquet; read with the job's credentials."""
    credentials_secret: str = ""
    """Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY that may read `data` and write the store; the store's
    own if empty."""
    proxy: Literal["garman_klass", "parkinson", "squared_return"] = "garman_klass"
    """Variance proxy of a bar."""
    bars_per_year: float = Field(default=252.0, gt=0)
    """For annualised figures."""
    seed: int = Field(default=0, ge=0)
    """Of everything random."""
    keep_passing: bool = True
    """Leave a step of compression out that a gate refuses, and go on; otherwise it ends the job with exit code 3."""
    resources: Resources = resources(("1", "2Gi"), ("2", "4Gi"))
    """Of one pod."""
    scratch: str = "4Gi"
    """Most that the job's working folder may hold, in bytes."""


class Tuning(Job):
    """One study of settings by several pods, and a release trained with what it found."""

    members: tuple[Literal["lstm", "transformer", "xgboost"], ...] = ("xgboost",)
    """What is tuned, one after the other."""
    workers: int = Field(default=2, ge=1)
    """Pods that share the study."""
    budget: str = "30m"
    """Time for each of `members`, as 90s, 10m or 1.5h."""
    trials: int = Field(default=0, ge=0)
    """Trials for each of `members`; 0 is as many as the budget allows."""
    study: str = "wavecast"
    """First part of the studies' names in the storage; another name begins new ones."""
    storage_secret: str = ""
    """Secret with the key `url`: postgresql://user:password@host/database of the studies."""
    deadline_s: int = Field(default=6 * 3600, ge=60)
    """Longest time for all of it, in seconds."""


class Retraining(Job):
    """Training on the newest bars by schedule: train, pass the gates, publish. It never changes the traffic."""

    schedule: str = "30 2 * * 1-5"
    """When, in cron's notation."""
    time_zone: str = "Etc/UTC"
    """Of the schedule."""
    suspend: bool = False
    """Pause the schedule."""
    starting_deadline_s: int = Field(default=3600, ge=60)
    """A start that was missed by more than this is given up, in seconds."""
    deadline_s: int = Field(default=2 * 3600, ge=60)
    """Longest time of one run, in seconds."""
    keep: int = Field(default=3, ge=1)
    """Finished runs that are kept to be looked at, of each outcome."""


class Scheduling(Section):
    """Where pods run."""

    priority_class_name: str = ""
    """PriorityClass of the serving pods."""
    spread: tuple[str, ...] = ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    """Node labels over which the replicas of one service are spread."""
    when_unsatisfiable: Literal["ScheduleAnyway", "DoNotSchedule"] = "ScheduleAnyway"
    """Whether a pod that cannot be spread runs all the same; DoNotSchedule needs nodes with every label of `spread`."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: tuple[dict[str, Any], ...] = ()
    """Taints that are tolerated, as in a pod."""
