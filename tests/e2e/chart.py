"""The installed chart: how it is asked, and how it is brought back to where a test starts."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from cluster import NAMESPACE, ROOT, Cluster, Object

HOST = "e2e.wavecast.test"
NAME = "wavecast"


@dataclass(frozen=True)
class Release:
    """A published release."""

    name: str
    members: dict[str, str]

    @property
    def values(self) -> Object:
        """As the chart's values name it."""
        return {"name": self.name, "members": self.members}

    @property
    def services(self) -> list[str]:
        """Its InferenceServices: its own and those of its members."""
        return [f"{NAME}-{self.name}", *(f"{NAME}-{kind}-{version}" for kind, version in self.members.items())]


@dataclass
class Chart:
    """An installation in the tests' namespace, whose first stable release is ``first``."""

    cluster: Cluster
    address: str
    """host:port of the gateway."""
    key: str
    """API key."""
    first: Release
    values: Path
    """File of the values that it was installed with."""
    timings_s: dict[str, float] = field(default_factory=dict)
    """When `helm install` came back, the first ``answer`` came and all was ``ready``; empty if it was there before."""

    host = HOST
    grpc_host = f"grpc.{HOST}"

    @property
    def url(self) -> str:
        """Base of the REST routes; needs `headers`."""
        return f"http://{self.address}"

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers of a request."""
        return {"host": self.host, "authorization": f"Bearer {self.key}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """gRPC metadata of a request."""
        return (("authorization", f"Bearer {self.key}"),)

    def infer(self, bars: Any, path: str = "/v2/models/wavecast", **headers: str) -> httpx.Response:
        """A forecast over REST, as JSON."""
        tensor = {"name": "bars", "datatype": "FP64", "shape": list(bars.shape), "data": bars.ravel().tolist()}
        return httpx.post(
            f"{self.url}{path}/infer", json={"inputs": [tensor]}, headers={**self.headers, **headers}, timeout=10
        )

    def settle(self) -> None:
        """Nothing but ``first`` runs, and is ready; at once if it is so already."""
        status = self.cluster.release_status()
        if [one["release"] for one in status["releases"]] != [self.first.name] or not status["ready"]:
            self.cluster.wavecast("release", "rollback", self.first.name)

    def upgrade(self, *flags: str) -> None:
        """`helm upgrade` with the values of now and these flags."""
        self.cluster.helm("upgrade", NAME, "helm/wavecast", "--reuse-values", *flags)


def documented(start: str, replaced: dict[str, str]) -> list[str]:
    """The command of the README's Kubernetes section that begins so, with words replaced, in the tests' namespace."""
    section = (ROOT / "README.md").read_text().partition("## On Kubernetes")[2].partition("\n## ")[0]
    commands = "\n".join(re.findall(r"```console\n(.*?)```", section, re.DOTALL)).splitlines()
    (command,) = (line for line in commands if line.startswith(start))
    words = shlex.split(command, comments=True)
    assert replaced.keys() <= set(words), command
    words = [replaced.get(word, word) for word in words]
    if "--namespace" in words:
        words[words.index("--namespace") + 1] = NAMESPACE
    return words


def installed(cluster: Cluster) -> bool:
    """Whether a completed revision is there."""
    listed = json.loads(cluster.helm("list", "--deployed", "--filter", f"^{NAME}$", "--output", "json"))
    return bool(listed)
