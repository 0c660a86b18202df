"""The Kubernetes API as far as a rollout asks it: reads only, plain JSON; helm makes all changes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from predictors.core.errors import InvalidInput, WavecastError

Json = dict[str, Any]

_TIMEOUT_S = (5, 30)
SERVING, SERVING_VERSION = "serving.kserve.io", "v1beta1"
GATEWAY, GATEWAY_VERSION = "gateway.networking.k8s.io", "v1"
_SERVICE_LABEL = "serving.kserve.io/inferenceservice"
_HELM_NAME, _INSTANCE = "meta.helm.sh/release-name", "app.kubernetes.io/instance"


class ClusterError(WavecastError):
    """The cluster refused an answer; the message says which."""


class Unreachable(ClusterError):
    """The cluster does not answer; it may later."""


def context_namespace(context: str | None) -> str:
    """Namespace of a kubeconfig context as kubectl and helm use it; ``default`` if it names none.

    Raises
    ------
    InvalidInput
        If there is no such context.
    """
    try:
        contexts, active = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]  # the library's gap
    except config.ConfigException:
        return "default"  # no kubeconfig: `Cluster` says so, or runs in a pod
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
        settings = client.Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # and here
            else:
                config.load_kube_config(context=context, client_configuration=settings)  # type: ignore[no-untyped-call]
        except config.ConfigException as wrong:
            raise ClusterError(
                f"there is no usable kubeconfig ({wrong}); set KUBECONFIG, or name a context with --context"
            ) from wrong
        settings.retries = False  # waits repeat by themselves, and a question should fail at once
        self._host = settings.host
        connection = client.ApiClient(settings)
        self._core = client.CoreV1Api(connection)
        self._apps = client.AppsV1Api(connection)
        self._custom = client.CustomObjectsApi(connection)
        self._access = client.AuthorizationV1Api(connection)
        self._version = client.VersionApi(connection)

    def version(self) -> str:
        """The API server's version; the cheapest proof that it answers."""
        return str(self._json("its version", self._version.get_code)["gitVersion"])

    def serves(self, group: str, version: str) -> bool:
        """Whether the API has a group in a version."""
        return self._found(f"API {group}", self._custom.get_api_resources, group, version) is not None

    def resource(self, api_version: str, kind: str) -> tuple[str, bool] | None:
        """Plural of a kind and whether it lives in namespaces; ``None`` if the API has no such kind."""
        group, _, version = api_version.rpartition("/")
        if group:
            listed = self._found(f"API {api_version}", self._custom.get_api_resources, group, version)
        else:
            listed = self._json("API v1", self._core.get_api_resources)
        for one in (listed or {}).get("resources", []):
            if one["kind"] == kind and "/" not in one["name"]:
                return str(one["name"]), bool(one["namespaced"])
        return None

    def allowed(self, group: str, resource: str, verb: str, namespace: str | None = None) -> bool:
        """Whether this user may do that in the namespace, "" for the whole cluster; ``pods/log`` is a subresource."""
        name, _, subresource = resource.partition("/")
        where = self.namespace if namespace is None else namespace
        asked = {"namespace": where, "group": group, "resource": name, "verb": verb}
        if subresource:
            asked["subresource"] = subresource
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        body = {**review, "spec": {"resourceAttributes": asked}}
        answer = self._json("a review of permissions", self._access.create_self_subject_access_review, body)
        return bool(answer["status"]["allowed"])

    def inference_services(self, helm_name: str) -> list[Json]:
        """InferenceServices that a chart release made."""
        return self._owned(SERVING, SERVING_VERSION, "inferenceservices", helm_name)

    def routes(self, helm_name: str) -> list[Json]:
        """HTTPRoutes and GRPCRoutes that a chart release made."""
        return [
            route
            for plural in ("httproutes", "grpcroutes")
            for route in self._owned(GATEWAY, GATEWAY_VERSION, plural, helm_name)
        ]

    def gateway(self, namespace: str, name: str) -> Json | None:
        """A Gateway, or ``None`` if there is none."""
        get = self._custom.get_namespaced_custom_object
        where = (GATEWAY, GATEWAY_VERSION, namespace, "gateways", name)
        return self._found(f"gateway {namespace}/{name}", get, *where)

    def pods(self, service: str) -> list[Json]:
        """Pods of an InferenceService."""
        label = f"{_SERVICE_LABEL}={service}"
        listed = self._json("pods", self._core.list_namespaced_pod, self.namespace, label_selector=label)
        return list(listed["items"])

    def deployments(self, service: str) -> list[Json]:
        """Deployments of an InferenceService."""
        label = f"{_SERVICE_LABEL}={service}"
        listed = self._json("deployments", self._apps.list_namespaced_deployment, self.namespace, label_selector=label)
        return list(listed["items"])

    def log(self, pod: str, container: str, *, previous: bool) -> list[str]:
        """Last lines of a container's log, of its run before this one if asked; none if there is no log yet."""
        where = {"container": container, "previous": previous, "tail_lines": 60}
        read = self._core.read_namespaced_pod_log
        try:
            text = self._ask(f"log of pod {pod}", read, pod, self.namespace, **where)
        except _Refused as wrong:
            if wrong.status in (400, 404):  # waiting to start, or never ran before
                return []
            raise
        return text.decode(errors="replace").splitlines()

    def _owned(self, group: str, version: str, plural: str, helm_name: str) -> list[Json]:
        get = self._custom.list_namespaced_custom_object
        listed = self._json(plural, get, group, version, self.namespace, plural)
        return [one for one in listed["items"] if _owner(one["metadata"]) == helm_name]

    def _found(self, what: str, call: Callable[..., Any], *arguments: object) -> Json | None:
        try:
            return self._json(what, call, *arguments)
        except _Refused as wrong:
            if wrong.status == 404:
                return None
            raise

    def _json(self, what: str, call: Callable[..., Any], *arguments: object, **options: object) -> Json:
        answer: Json = json.loads(self._ask(what, call, *arguments, **options))
        return answer

    def _ask(self, what: str, call: Callable[..., Any], *arguments: object, **options: object) -> bytes:
        """One question; plain bytes, because the client's own models refuse what a newer server adds."""
        try:
            answer = call(*arguments, **options, _preload_content=False, _request_timeout=_TIMEOUT_S)
            status, body = answer.status, bytes(answer.data)
        except client.ApiException as wrong:
            status, body = wrong.status, str(wrong.body or wrong.reason).encode()
        except HTTPError as wrong:
            reason = str(wrong).rpartition(": ")[2].rstrip(")")
            raise Unreachable(f"the cluster at {self._host} does not answer: {reason}") from wrong
        if 200 <= status < 300:
            return body
        raise _Refused(status, f"the cluster gives no {what}: {_message(body)} (HTTP {status})")


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
