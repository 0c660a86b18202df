"""A namespace of a real API server with a release of the chart, and `wavecast release` on it as a user runs it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api_server import ApiServer, find_helm
from command_line import Ended, begin, wavecast

from optimization.rollout.permissions import LOOK
from predictors.core.artifact import ReleaseManifest

CHART = Path(__file__).parents[2] / "helm" / "wavecast"
STORE_URI = "s3://models/wavecast"
"""Where pods would read; nobody does here, and the commands are told another place of the same content."""
_numbers = itertools.count()


class Namespace:
    """One namespace with a gateway, and `wavecast release` run against it as a user would."""

    def __init__(self, server: ApiServer, name: str, store: Path, folder: Path) -> None:
        self.server, self.name, self.store, self.folder = server, name, store, folder
        self.user = "operator"

    def release(self, *arguments: str, **environment: str) -> Ended:
        """Run a subcommand; nobody answers requests here, so the gateway needs no time to settle."""
        with self.environment(environment):
            return wavecast("release", *arguments, *self._settled(arguments), cwd=self.folder)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a subcommand, to be interrupted."""
        with self.environment({}):
            return begin("release", *arguments, cwd=self.folder)

    @contextmanager
    def environment(self, more: dict[str, str]) -> Iterator[None]:
        """Variables that lead to the cluster, to helm and to the chart."""
        kubeconfig = str(self.server.kubeconfig(self.user, self.name))
        before = dict(os.environ)
        os.environ.update(
            {"KUBECONFIG": kubeconfig, "HELM": str(find_helm()), "WAVECAST_STORE": str(self.store), **more}
        )
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    @staticmethod
    def _settled(arguments: tuple[str, ...]) -> list[str]:
        return [] if arguments[0] in ("list", "show", "status") else ["--settle", "0"]

    def helm(self, *arguments: str) -> str:
        """Run helm with all rights."""
        kubeconfig = str(self.server.kubeconfig("admin", self.name))
        command = [str(find_helm()), *arguments, "--namespace", self.name, "--kubeconfig", kubeconfig]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def install(self, *releases: ReleaseManifest, percent: int = 0) -> None:
        """Install the chart with these releases, the first one stable, the second a canary if it has a share."""
        operator = {"kind": "User", "name": "operator", "apiGroup": "rbac.authorization.k8s.io"}
        values: dict[str, Any] = {
            "store": {"uri": STORE_URI, "credentials": {"existingSecret": "store"}},
            "gateway": {"name": "gateway", "hostnames": ["wavecast.example.com"]},
            "auth": {"insecure": True},
            "rollout": {"subjects": [operator]},
            "releases": [{"name": one.release, "members": one.members} for one in releases],
            "traffic": {"stable": releases[0].release},
        }
        if percent:
            values["traffic"] |= {"canary": releases[1].release, "percent": percent}
        file = self.folder / "values.json"
        file.write_text(json.dumps(values))
        # no controller is here that would run a hook's Job
        self.helm("install", "wavecast", str(CHART), "--values", str(file), "--no-hooks")

    def values(self) -> dict[str, Any]:
        """User-supplied values of the last revision."""
        found: dict[str, Any] = json.loads(self.helm("get", "values", "wavecast", "--output", "json"))
        return found

    def revisions(self) -> list[str]:
        """Descriptions of helm's history."""
        return [one["description"] for one in json.loads(self.helm("history", "wavecast", "--output", "json"))]


def make_namespace(server: ApiServer, store: Path, folder: Path) -> Namespace:
    """A namespace with a gateway, in which the viewer may look; the operator has the rights that the chart gives."""
    name = f"rollout-{next(_numbers)}-{os.getpid()}"
    server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "gateway"}}
    server.request("POST", f"/apis/gateway.networking.k8s.io/v1/namespaces/{name}/gateways", {**gateway, "spec": {}})
    secret = {"metadata": {"name": "store"}, "stringData": {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}}
    server.request("POST", f"/api/v1/namespaces/{name}/secrets", secret)
    rules = [{"apiGroups": [one.group], "resources": [one.resource], "verbs": list(one.verbs)} for one in LOOK]
    _bind(server, name, "viewer", rules)
    return Namespace(server, name, store, folder)


def _bind(server: ApiServer, namespace: str, user: str, rules: list[dict[str, list[str]]]) -> None:
    path = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    server.request("POST", f"{path}/roles", {"metadata": {"name": user}, "rules": rules})
    subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    role = {"kind": "Role", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
    server.request("POST", f"{path}/rolebindings", {"metadata": {"name": user}, "subjects": [subject], "roleRef": role})
