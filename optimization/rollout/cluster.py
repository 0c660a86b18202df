"""The Kubernetes API as far as a rollout asks it: reads only, plain JSON; helm makes all changes."""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes import config
from kubernetes.client import ApiException, Configuration, rest
from urllib3.exceptions import HTTPError

from predictors.core.errors import InvalidInput, WavecastError

Json = dict[str, Any]

_TIMEOUT_S = (5, 30)
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SERVING, SERVING_VERSION = "serving.kserve.io", "v1beta1"
GATEWAY, GATEWAY_VERSION = "gateway.networking.k8s.io", "v1"
_SERVICE_LABEL = "serving.kserve.io/inferenceservice"
_HELM_NAME, _INSTANCE = "meta.helm.sh/release-name", "app.kubernetes.io/instance"


class ClusterError(WavecastError):
    """The cluster refused an answer; the message says which."""


class Unreachable(ClusterError):
    """The cluster does not answer, or is too busy to; it may later."""


def _in_pod(context: str | None) -> bool:
    """Whether the pod's own account is used, as kubectl and helm do where nobody names a cluster."""
    named = context is not None or "KUBECONFIG" in os.environ or Path("~/.kube/config").expanduser().exists()
    return not named and "KUBERNETES_SERVICE_HOST" in os.environ


def context_namespace(context: str | None) -> str:
    """Namespace of a kubeconfig context, or of the pod, as kubectl and helm use it; ``default`` if it names none.

    Raises
    ------
    InvalidInput
        If there is no such context.
    """
    if _in_pod(context) and _POD_NAMESPACE.exists():
        return _POD_NAMESPACE.read_text().strip()
    try:
        contexts, active = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))  # type: ignore[no-untyped-call]  # the library's gap
    except config.ConfigException:
        return "default"  # no kubeconfig: `Cluster` says so
    chosen = active if context is None else next((one for one in contexts if one["name"] == context), None)
    if chosen is None:
        names = ", ".join(sorted(one["name"] for one in contexts))
        raise InvalidInput(f"the kubeconfig has no context '{context}'; it has {names or 'none'}")
    return str(chosen["context"].get("namespace") or "default")


class Cluster:
    """One namespace of a cluster, with the rights of the kubeconfig's user, or of the pod this runs in."""

    def __init__(self, namespace: str, context: str | None) -> None:
        """Read the kubeconfig.

        Raises
        ------
        ClusterError
            If there is none, or it cannot be used.
        """
        self.namespace = namespace
        settings = Configuration()
        try:
            if _in_pod(context):
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # and here
            else:
                config.load_kube_config(  # type: ignore[no-untyped-call]
                    os.environ.get("KUBECONFIG"), context=context, client_configuration=settings
                )
        except config.ConfigException as wrong:
            raise ClusterError(
                f"there is no usable kubeconfig ({wrong}); set KUBECONFIG, or name a context with --context"
            ) from wrong
        settings.retries = False  # waits repeat by themselves, and a question should fail at once
        self._settings = settings
        self._rest = rest.RESTClientObject(settings)

    def version(self) -> str:
        """The API server's version; the cheapest proof that it answers."""
        return str(self._json("version", "/version")["gitVersion"])

    def serves(self, group: str, version: str) -> bool:
        """Whether the API has a group in a version."""
        return self._found(f"API {group}", f"/apis/{group}/{version}") is not None

    def resource(self, api_version: str, kind: str) -> tuple[str, bool] | None:
        """Plural of a kind and whether it lives in namespaces; ``None`` if the API has no such kind."""
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        for one in (self._found(f"API {api_version}", path) or {}).get("resources", []):
            if one["kind"] == kind and "/" not in one["name"]:
                return str(one["name"]), bool(one["namespaced"])
        return None

    def allowed(self, group: str, resource: str, verb: str, namespace: str | None = None) -> bool:
        """Whether this user may do that in the namespace, "" for the whole cluster; ``pods/log`` is a subresource."""
        name, _, subresource = resource.partition("/")
        where = self.namespace if namespace is None else namespace
        asked: Json = {"namespace": where, "group": group, "resource": name, "subresource": subresource, "verb": verb}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        answer = self._json("review of permissions", path, {**review, "spec": {"resourceAttributes": asked}})
        return bool(answer["status"]["allowed"])

    def inference_services(self, helm_name: str) -> list[Json]:
        """InferenceServices that a chart release made."""
        return self._owned(f"{SERVING}/{SERVING_VERSION}", "inferenceservices", helm_name)

    def routes(self, helm_name: str) -> list[Json]:
        """HTTPRoutes and GRPCRoutes that a chart release made."""
        plurals = ("httproutes", "grpcroutes")
        return [route for plural in plurals for route in self._owned(f"{GATEWAY}/{GATEWAY_VERSION}", plural, helm_name)]

    def gateway(self, namespace: str, name: str) -> Json | None:
        """A Gateway, or ``None`` if there is none."""
        path = f"/apis/{GATEWAY}/{GATEWAY_VERSION}/namespaces/{namespace}/gateways/{name}"
        return self._found(f"gateway {namespace}/{name}", path)

    def pods(self, service: str) -> list[Json]:
        """Pods of an InferenceService."""
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        return list(self._json("pods", path, labelSelector=f"{_SERVICE_LABEL}={service}")["items"])

    def deployments(self, service: str) -> list[Json]:
        """Deployments of an InferenceService."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments"
        return list(self._json("deployments", path, labelSelector=f"{_SERVICE_LABEL}={service}")["items"])

    def log(self, pod: str, container: str, *, previous: bool) -> list[str]:
        """Last lines of a container's log, of its run before this one if asked; none if there is no log to be had."""
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        options = {"container": container, "previous": str(previous).lower(), "tailLines": "60"}
        try:
            text = self._ask(f"log of pod {pod}", path, None, **options)
        except ClusterError:  # waiting to start, never ran before, or on a node that does not answer yet
            return []
        return text.decode(errors="replace").splitlines()

    def _owned(self, api_version: str, plural: str, helm_name: str) -> list[Json]:
        listed = self._json(plural, f"/apis/{api_version}/namespaces/{self.namespace}/{plural}")
        kind = str(listed["kind"]).removesuffix("List")
        return [{"kind": kind, **one} for one in listed["items"] if _owner(one["metadata"]) == helm_name]

    def _found(self, what: str, path: str) -> Json | None:
        try:
            return self._json(what, path)
        except _Refused as wrong:
            if wrong.status == 404:
                return None
            raise

    def _json(self, what: str, path: str, body: Json | None = None, **query: str) -> Json:
        answer: Json = json.loads(self._ask(what, path, body, **query))
        return answer

    def _ask(self, what: str, path: str, body: Json | None = None, **query: str) -> bytes:
        """One question over the client's own connection: its models refuse what a newer server adds."""
        credentials: Json = self._settings.auth_settings()  # type: ignore[assignment]  # a TypedDict of one key
        headers = {one["key"]: one["value"] for one in credentials.values()}
        url = f"{self._settings.host}{path}?{urlencode(query)}"
        method = "GET" if body is None else "POST"
        try:
            headers["Content-Type"] = "application/json"
            answer = self._rest.request(method, url, headers, body, _request_timeout=_TIMEOUT_S)  # type: ignore[no-untyped-call]
            content = bytes(answer.read())
        except (HTTPError, ApiException) as wrong:  # the client wraps some of urllib3's
            reason = str(getattr(wrong, "reason", None) or wrong).rpartition(": ")[2].rstrip(")").split("\n")[0]
            raise Unreachable(f"the cluster at {self._settings.host} does not answer: {reason}") from wrong
        if 200 <= answer.status < 300:
            return content
        said = f"the cluster gives no {what}: {_message(content)} (HTTP {answer.status})"
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise Unreachable(said)
        raise _Refused(answer.status, said)


class _Refused(ClusterError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _owner(metadata: Json) -> str | None:
    """The chart release of an object: helm says so itself, who renders charts for helm leaves it to the label."""
    said: str | None = (metadata.get("annotations") or {}).get(_HELM_NAME)
    return said or (metadata.get("labels") or {}).get(_INSTANCE)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip()[:200] or "no reason given"
