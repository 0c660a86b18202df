"""The rights that a rollout needs, asked for before anything is changed; the chart's role grants the same."""

from __future__ import annotations

from dataclasses import dataclass

from optimization.rollout.cluster import GATEWAY, SERVING, Cluster, ClusterError


@dataclass(frozen=True, slots=True)
class Rule:
    """Verbs on a resource of the namespace, and what they are for."""

    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    namespaced: bool = True


_READ = ("get", "list")
_HELM = ("get", "list", "create", "patch", "update", "delete")

LOOK = (
    Rule("", "secrets", _READ, "helm's records of the chart release"),
    Rule(SERVING, "inferenceservices", _READ, "what runs, and whether it is ready"),
    Rule(GATEWAY, "httproutes", _READ, "whether the gateway took the split"),
    Rule(GATEWAY, "grpcroutes", _READ, "whether the gateway took the split"),
    Rule("apps", "deployments", ("list",), "whether every pod is of the latest form"),
    Rule("", "pods", ("list",), "why something is not ready"),
    Rule("", "pods/log", ("get",), "why something is not ready"),
)
"""What `list`, `show` and `status` ask for."""

LOOK_WITHOUT_HELM = tuple(rule for rule in LOOK if rule.resource != "secrets")
"""What is asked for when the values come from a file."""

CHANGE = (
    Rule("", "secrets", ("create", "update", "patch", "delete"), "helm records each revision"),
    Rule(SERVING, "inferenceservices", _HELM, "releases start and end"),
    Rule(SERVING, "servingruntimes", _HELM, "a release may bring another kind of member"),
    Rule("", "services", _HELM, "each member has one"),
    Rule("policy", "poddisruptionbudgets", _HELM, "each release and member has one"),
    Rule(GATEWAY, "httproutes", ("get", "patch", "update"), "the split changes"),
    Rule(GATEWAY, "grpcroutes", ("get", "patch", "update"), "the split changes"),
)
"""What `canary`, `promote`, `rollback` and `abort` ask for besides."""


def rules_of_chart(cluster: Cluster, kinds: list[tuple[str, str]]) -> tuple[Rule, ...]:
    """Helm reads and applies all that a chart release consists of, also what a revision leaves as it is."""
    rules = []
    for api_version, kind in kinds:
        found = cluster.resource(api_version, kind)
        if found is not None:
            group, plural = api_version.rpartition("/")[0], found[0]
            rules.append(Rule(group, plural, ("get", "patch"), "the chart has one", namespaced=found[1]))
    return tuple(rules)


def check_permissions(cluster: Cluster, rules: tuple[Rule, ...]) -> None:
    """Ask the API server for each right before it is needed.

    Raises
    ------
    ClusterError
        Naming every right that is missing.
    """
    missing = []
    for rule in rules:
        where = None if rule.namespaced else ""
        denied = [verb for verb in rule.verbs if not cluster.allowed(rule.group, rule.resource, verb, where)]
        if denied:
            resource = f"{rule.resource}.{rule.group}" if rule.group else rule.resource
            missing.append(f"{','.join(denied)} {resource} ({rule.why})")
    if missing:
        raise ClusterError(
            f"this user may not do what it takes in namespace '{cluster.namespace}': {'; '.join(missing)}; "
            "bind the chart's rollout role to it"
        )
