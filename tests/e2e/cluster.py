"""The cluster of the current kubeconfig, asked and changed by the programs that a user has: kubectl, helm, wavecast."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
NAMESPACE = "wavecast-e2e"
_BIN = Path(sys.executable).parent

Object = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """Programs that work in the namespace of the tests."""

    environment: dict[str, str]

    @classmethod
    def of_kubeconfig(cls, folder: Path) -> Cluster:
        """The cluster of the current context; the namespace is that of a copy of the kubeconfig in ``folder``."""
        cluster = cls({**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}"})
        copy = folder / "kubeconfig"
        copy.touch(mode=0o600)
        copy.write_text(cluster.run("kubectl", "config", "view", "--raw", "--minify", "--flatten"))
        cluster = cls({**cluster.environment, "KUBECONFIG": str(copy)})
        cluster.kubectl("config", "set-context", "--current", "--namespace", NAMESPACE)
        return cluster

    @property
    def gateway(self) -> tuple[str, str]:
        """Namespace and name of the Gateway that KServe itself uses."""
        config = self.get("--namespace=kserve", "configmap", "inferenceservice-config")["data"]["ingress"]
        namespace, name = json.loads(config)["kserveIngressGateway"].split("/")
        return namespace, name

    @property
    def gateway_address(self) -> str:
        """host:port at which the Gateway is reached from here."""
        if given := self.environment.get("E2E_GATEWAY") or self.environment.get("KSERVE_GATEWAY_ADDRESS"):
            return given
        namespace, name = self.gateway
        gateway = self.get(f"--namespace={namespace}", "gateway", name)
        return f"{gateway['status']['addresses'][0]['value']}:{gateway['spec']['listeners'][0]['port']}"

    @property
    def host_address(self) -> str:
        """Address of this machine as pods reach it, where the tests start servers for them."""
        if given := self.environment.get("E2E_HOST"):
            return given
        server = self.kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((urlsplit(server).hostname, 9))  # sends nothing; the route decides
            return str(probe.getsockname()[0])

    def run(self, *command: str, check: bool = True, stdin: str | None = None, timeout_s: float = 400) -> str:
        """Run a program in the project's folder and return what it printed; if it fails, all of that is the error."""
        done = subprocess.run(
            command,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=ROOT,
        )
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """`kubectl` in the tests' namespace."""
        return self.run("kubectl", *arguments, check=check, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Objects as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def pods(self, *services: str) -> list[Object]:
        """Pods of InferenceServices, or all of those; the leaving ones too."""
        label = "serving.kserve.io/inferenceservice"
        pods: list[Object] = self.get("pods", "-l", f"{label} in ({','.join(services)})" if services else label)[
            "items"
        ]
        return pods

    def apply(self, *objects: Object) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def helm(self, *arguments: str) -> str:
        """`helm` in the tests' namespace."""
        return self.run("helm", *arguments)

    def wavecast(self, *arguments: str, check: bool = True, timeout_s: float = 400) -> str:
        """The project's own command line."""
        return self.run("wavecast", *arguments, check=check, timeout_s=timeout_s)

    def release_status(self) -> Object:
        """`wavecast release status`, whatever its exit code."""
        status: Object = json.loads(self.wavecast("release", "status", "--json", check=False))
        return status

    def ready(self, service: str) -> bool:
        """Whether an InferenceService says that it is ready."""
        return ready_since(self.get("inferenceservice", service)) is not None

    def diagnosis(self) -> str:
        """What there is, warnings, and the logs of the pods that are not well, for a failed test."""
        parts = [
            self.kubectl("get", "pods,inferenceservices,httproutes,grpcroutes,jobs", "-o", "wide", check=False),
            self.kubectl("events", "--types=Warning", check=False)[-4000:],
        ]
        listed = self.kubectl("get", "pods", "-o", "json", check=False)
        for pod in json.loads(listed or '{"items": []}')["items"]:
            for container, previous in _unwell(pod):
                name, flags = pod["metadata"]["name"], ["--previous"] if previous else []
                log = self.kubectl("logs", name, "-c", container, "--tail=30", *flags, check=False)
                parts.append(f"--- log of {name}, container {container} {' '.join(flags)}\n{log}")
        return "\n".join(parts)


def _unwell(pod: Object) -> Iterator[tuple[str, bool]]:
    """Containers whose logs matter, and whether it is the log of their last life."""
    status = pod["status"]
    for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if not one["ready"] and one["state"].get("terminated", {}).get("exitCode") != 0:
            yield one["name"], False
        if one["restartCount"]:
            yield one["name"], True


def ready_since(resource: Object) -> datetime | None:
    """Since when a pod or an InferenceService has been ready; ``None`` if it is not."""
    for condition in resource.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] == "True":
            return datetime.fromisoformat(condition["lastTransitionTime"])
    return None


def until(what: str, true: Callable[[], object], within_s: float, every_s: float = 0.5) -> None:
    """Wait until something is true; an error that says what was not."""
    give_up = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)
