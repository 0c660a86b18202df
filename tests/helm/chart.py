"""The chart, rendered by the real helm."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Resource = dict[str, Any]

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "wavecast"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
RENDERED = ROOT / "manifests" / "rendered"
EXAMPLES = ROOT / "manifests" / "examples"
APIS = (
    *("serving.kserve.io/v1beta1/InferenceService", "serving.kserve.io/v1alpha1/ServingRuntime"),
    *("gateway.networking.k8s.io/v1/HTTPRoute", "gateway.networking.k8s.io/v1/GRPCRoute"),
    "monitoring.coreos.com/v1/PodMonitor",
)
"""What a cluster must have; `make generate` names the same."""

STABLE, CANARY = "b0289c285c0a", "77aa10c3de52"
MEMBERS = {"lstm": "1f579717bf34", "xgboost": "9c3e8b7a4d20"}
LEAST: dict[str, Any] = {
    "store": {"uri": "s3://models/wavecast", "credentials": {"existingSecret": "models-s3"}},
    "gateway": {"name": "public", "hostnames": ["wavecast.example.com"]},
    "auth": {"insecure": True},
    "releases": [{"name": STABLE, "members": MEMBERS}],
    "traffic": {"stable": STABLE},
}
"""The fewest values that run a release."""

TWO = {
    "releases": [
        {"name": STABLE, "members": MEMBERS},
        {"name": CANARY, "members": {"lstm": MEMBERS["lstm"], "xgboost": "4b1d90e2f6c8"}},
    ]
}


@cache
def helm() -> str:
    """The helm program: HELM, that of the environment of the tests, or the one on PATH."""
    named = (os.environ.get("HELM"), str(Path(sys.prefix) / "bin" / "helm"), "helm")
    found = next((place for name in named if name and (place := shutil.which(name))), None)
    assert found, "helm is needed: 'make test' fetches it, or name it with HELM"
    return found


def merged(*values: dict[str, Any]) -> dict[str, Any]:
    """Values laid over one another as helm does: maps are merged, lists replaced."""
    result: dict[str, Any] = {}
    for one in values:
        for key, value in one.items():
            both_maps = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both_maps else value
    return result


def template(values: str, apis: tuple[str, ...] = APIS, name: str = "wavecast") -> subprocess.CompletedProcess[str]:
    """``helm template`` with values as JSON or YAML."""
    asked = [part for api in apis for part in ("--api-versions", api)]
    command = [helm(), "template", name, str(CHART), "--namespace", "wavecast", "--values", "-", *asked]
    return subprocess.run(command, input=values, capture_output=True, text=True, check=False, timeout=60)


@cache
def _render(values: str) -> str:
    ended = template(values)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def render(*values: dict[str, Any]) -> list[Resource]:
    """Resources of the chart with `LEAST` and these values over it."""
    return resources(_render(json.dumps(merged(LEAST, *values), sort_keys=True)))


def render_file(path: Path) -> list[Resource]:
    """Resources of the chart with the values of a file."""
    return resources(_render(path.read_text()))


def examples() -> list[Resource]:
    """Resources of the examples without helm, all files together."""
    return [one for path in sorted(EXAMPLES.glob("*.yaml")) for one in resources(path.read_text())]


def resources(text: str) -> list[Resource]:
    """Documents of a YAML stream."""
    return [one for one in yaml.load_all(text, Loader=yaml.CSafeLoader) if one]


def refused(*values: dict[str, Any], apis: tuple[str, ...] = APIS) -> str:
    """What helm says to values that it must not take."""
    ended = template(json.dumps(merged(LEAST, *values)), apis)
    assert ended.returncode != 0, "the chart was rendered"
    return " ".join(ended.stderr.split())


def of(kind: str, found: list[Resource]) -> list[Resource]:
    """Resources of one kind."""
    return [one for one in found if one["kind"] == kind]


def pods(found: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """Name and spec of every pod that the resources lead to, a ServingRuntime's containers put into their service."""
    runtimes = {one["metadata"]["name"]: one["spec"] for one in of("ServingRuntime", found)}
    for one in found:
        name, spec = f"{one['kind']} {one['metadata']['name']}", one.get("spec", {})
        if one["kind"] == "InferenceService":
            runtime = runtimes[spec["predictor"]["model"]["runtime"]]
            yield f"{name} predictor", {**spec["predictor"], **runtime}
            if "transformer" in spec:
                yield f"{name} transformer", spec["transformer"]
        elif one["kind"] == "Job":
            yield name, spec["template"]["spec"]
        elif one["kind"] == "CronJob":
            yield name, spec["jobTemplate"]["spec"]["template"]["spec"]
