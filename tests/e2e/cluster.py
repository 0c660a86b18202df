"""A cluster with KServe to test on: the one of the current kubeconfig, or one that E2E_CLUSTER brings up."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

NAMESPACE = "wavecast-e2e"
_BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cluster:
    """Programs that work on the cluster, and where it is reached."""

    environment: Mapping[str, str]
    own: bool
    """Whether the tests brought it up, and may change what all namespaces share."""

    @property
    def gateway(self) -> tuple[str, str]:
        """Namespace and name of the Gateway that KServe itself uses."""
        config = self.get("-n", "kserve", "configmap", "inferenceservice-config")["data"]["ingress"]
        namespace, name = json.loads(config)["kserveIngressGateway"].split("/")
        return namespace, name

    @property
    def gateway_address(self) -> str:
        """host:port at which the Gateway is reached from here."""
        if given := self.environment.get("E2E_GATEWAY") or self.environment.get("KSERVE_GATEWAY_ADDRESS"):
            return given
        namespace, name = self.gateway
        gateway = self.get("-n", namespace, "gateway", name)
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

    def run(self, *command: str, check: bool = True, stdin: str | None = None, timeout_s: float = 300) -> str:
        """Run a program and return what it printed; what it printed is in the error too."""
        done = subprocess.run(
            command, env=self.environment, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{shlex.join(command)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def kubectl(self, *arguments: str, check: bool = True, stdin: str | None = None) -> str:
        """`kubectl` in the tests' namespace."""
        return self.run("kubectl", "--namespace", NAMESPACE, *arguments, check=check, stdin=stdin)

    def get(self, *arguments: str) -> Any:
        """Objects as JSON."""
        return json.loads(self.kubectl("get", *arguments, "-o", "json"))

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Apply objects."""
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def helm(self, *arguments: str) -> str:
        """`helm` in the tests' namespace."""
        return self.run("helm", "--namespace", NAMESPACE, *arguments)

    def wavecast(self, *arguments: str, check: bool = True, timeout_s: float = 300) -> str:
        """The project's own command line."""
        return self.run(str(_BIN / "wavecast"), *arguments, check=check, timeout_s=timeout_s)

    def release(self, *arguments: str, check: bool = True) -> str:
        """`wavecast release` on the chart of the tests."""
        return self.wavecast("release", *arguments, "--namespace", NAMESPACE, check=check)

    def release_status(self) -> dict[str, Any]:
        """`wavecast release status`, whatever its exit code."""
        status: dict[str, Any] = json.loads(self.release("status", "--json", check=False))
        return status

    def ready(self, service: str) -> bool:
        """Whether an InferenceService says that it is ready."""
        conditions = self.get("inferenceservice", service).get("status", {}).get("conditions", [])
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    def diagnosis(self) -> str:
        """Events and the logs of the pods that are not well, for a failed test."""
        parts = [self.kubectl("get", "pods,inferenceservices,jobs", "-o", "wide", check=False)]
        parts.append(self.kubectl("events", "--types=Warning", check=False))
        for pod in json.loads(self.kubectl("get", "pods", "-o", "json", check=False) or '{"items": []}')["items"]:
            for status in [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]:
                finished = status["state"].get("terminated", {}).get("exitCode") == 0
                if not (status["ready"] or finished) or status["restartCount"]:
                    name, container = pod["metadata"]["name"], status["name"]
                    for flags in ([], ["--previous"] if status["restartCount"] else None):
                        if flags is not None:
                            log = self.kubectl("logs", name, "-c", container, "--tail=30", *flags, check=False)
                            parts.append(f"--- {name} {container} {' '.join(flags)}\n{log}")
        return "\n".join(parts)


def until(what: str, true: Callable[[], object], within_s: float, every_s: float = 0.5) -> None:
    """Wait until something is true; an error that says what was not."""
    give_up = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up, f"not within {within_s:g} s: {what}"
        time.sleep(every_s)


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """The cluster, up; down again at the end if the tests brought it up and E2E_KEEP is not set."""
    environment = {**os.environ, "PATH": f"{_BIN}:{os.environ['PATH']}"}
    tool = shlex.split(os.environ.get("E2E_CLUSTER", ""))
    if not tool:
        yield Cluster(environment, own=False)
        return
    subprocess.run([*tool, "up"], check=True)
    exports = subprocess.run([*tool, "env"], check=True, capture_output=True, text=True).stdout
    lines = subprocess.run(
        ["bash", "-c", f"{exports}\nenv -0"], env=environment, check=True, capture_output=True, text=True
    ).stdout
    environment = dict(line.partition("=")[::2] for line in lines.split("\0") if line)
    try:
        registry, tag = os.environ["E2E_REGISTRY"], os.environ["E2E_TAG"]
        images = [f"{registry}/wavecast-{component}:{tag}" for component in os.environ["E2E_COMPONENTS"].split()]
        subprocess.run([*tool, "load-image", *images], check=True)
        yield Cluster(environment, own=True)
    finally:
        if "E2E_KEEP" not in os.environ:
            subprocess.run([*tool, "down"], check=False)
