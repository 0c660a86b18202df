"""A real API server, etcd and helm, without nodes, root or containers; who plays KServe and the gateway is `Cast`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from predictors.core.ports import held_ports

KINDS = {
    "serving.kserve.io/v1beta1": ["InferenceService"],
    "serving.kserve.io/v1alpha1": ["ServingRuntime"],
    "gateway.networking.k8s.io/v1": ["HTTPRoute", "GRPCRoute", "Gateway"],
}
"""Custom resources as far as the API server must know them: any content, and a status of its own."""

_GIVE_UP_S = 120.0


def programs() -> Path | None:
    """Folder of kube-apiserver and etcd, named as controller-runtime's tests name it."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(folder) if folder and (Path(folder) / "kube-apiserver").exists() else None


def find_helm() -> str | None:
    """The helm program: in HELM, on PATH, or where `make` puts it."""
    names = (os.environ.get("HELM"), "helm", str(Path(sys.executable).with_name("helm")))
    return next((found for name in names if name and (found := shutil.which(name))), None)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server: where, and how users that it knows log in."""

    url: str
    authority: Path
    folder: Path

    def request(self, method: str, path: str, body: object = None, kind: str = "application/json") -> dict[str, Any]:
        """One request with all rights."""
        headers = {"Authorization": "Bearer admin", "Content-Type": kind}
        content = None if body is None else json.dumps(body).encode()
        answer = httpx.request(method, self.url + path, content=content, headers=headers, verify=_trust(self.authority))
        if answer.status_code >= 400:
            raise LookupError(f"{method} {path}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    def kubeconfig(self, user: str, namespace: str) -> Path:
        """Kubeconfig of a user, whose name is the token."""
        path = self.folder / f"{user}-{namespace}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        context = {"cluster": "tests", "user": user, "namespace": namespace}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "tests", "context": context}],
        }
        path.write_text(json.dumps(content))
        return path


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Start etcd and the API server on free ports of loopback, without any custom resource."""
    with held_ports(3) as ports, _started(folder, *ports) as server:
        yield server


@contextmanager
def _started(folder: Path, port: int, client: int, peer: int) -> Iterator[ApiServer]:
    binaries = programs()
    assert binaries is not None
    subprocess.run(["openssl", "genrsa", "-out", "key.pem", "2048"], cwd=folder, check=True, capture_output=True)
    (folder / "tokens").write_text(
        'admin,admin,1,"system:masters"\noperator,operator,2\nviewer,viewer,3\nnobody,nobody,4\n'
    )
    etcd = [binaries / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync", "--log-level", "error"]
    for flag, value in (("client", client), ("peer", peer)):
        etcd += [f"--listen-{flag}-urls", f"http://127.0.0.1:{value}"]
    etcd += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
    etcd += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
    etcd += ["--initial-cluster", f"default=http://127.0.0.1:{peer}"]
    api = [binaries / "kube-apiserver", "--bind-address", "127.0.0.1", "--secure-port", port]
    api += ["--etcd-servers", f"http://127.0.0.1:{client}", "--service-cluster-ip-range", "10.0.0.0/24"]
    api += ["--authorization-mode", "RBAC", "--token-auth-file", folder / "tokens", "--cert-dir", folder / "certs"]
    api += ["--service-account-issuer", "https://tests", "--service-account-key-file", folder / "key.pem"]
    api += ["--service-account-signing-key-file", folder / "key.pem", "--endpoint-reconciler-type", "none"]
    api += ["--disable-admission-plugins", "ServiceAccount"]
    with (folder / "log").open("wb") as log:
        started = [
            subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder)
            for command in (etcd, api)
        ]
        try:
            server = ApiServer(f"https://127.0.0.1:{port}", folder / "certs" / "apiserver.crt", folder)
            _await(server, started, folder / "log")
            yield server
        finally:
            for process in reversed(started):
                process.kill()
                process.wait()


def define(server: ApiServer, *group_versions: str) -> None:
    """Make custom resources known that are not known yet."""
    known = server.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]
    names = {one["spec"]["names"]["kind"] for one in known}
    for group_version in group_versions or KINDS:
        group, version = group_version.split("/")
        for kind in KINDS[group_version]:
            if kind in names:
                continue
            plural = f"{kind.lower()}s"
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            one = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            spec = {
                "group": group,
                "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
                "versions": [{**one, "subresources": {"status": {}}}],
            }
            body = {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": f"{plural}.{group}"} | _approved(group),
                "spec": spec,
            }
            server.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
            _until_served(server, f"/apis/{group_version}/{plural}")


def _approved(group: str) -> dict[str, Any]:
    name = "api-approved.kubernetes.io"
    return {"annotations": {name: "unapproved, for tests"}} if group.endswith(".k8s.io") else {}


def _until_served(server: ApiServer, path: str) -> None:
    give_up = time.monotonic() + _GIVE_UP_S
    while True:
        try:
            server.request("GET", path)
        except LookupError:
            assert time.monotonic() < give_up, path
            time.sleep(0.1)
        else:
            return


def _await(server: ApiServer, started: list[subprocess.Popen[bytes]], log: Path) -> None:
    give_up = time.monotonic() + _GIVE_UP_S
    while True:
        with suppress(OSError, httpx.HTTPError, LookupError):
            server.request("GET", "/api/v1/namespaces/default")
            return
        assert all(process.poll() is None for process in started), log.read_text()[-2000:]
        assert time.monotonic() < give_up, log.read_text()[-2000:]
        time.sleep(0.2)


def _trust(authority: Path) -> Any:
    import ssl

    return ssl.create_default_context(cafile=str(authority))
