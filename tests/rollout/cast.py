"""Who plays KServe, the kubelet and the gateway for a real API server: statuses as the real ones write them."""

from __future__ import annotations

import re
import threading
from typing import Any

from api_server import ApiServer

_SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"
_ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/{}/{}"
_LABEL = "serving.kserve.io/inferenceservice"


class Cast:
    """Makes InferenceServices of a namespace ready and routes accepted, except where told otherwise.

    Attributes
    ----------
    broken
        By artifact version: the status of the container of its pod, which then never gets ready.
    gateway_awake
        Whether routes are accepted.
    seen
        Each state of the namespace in which something changed: releases that run, shares by release.
    """

    def __init__(self, server: ApiServer, namespace: str) -> None:
        self._server, self._namespace = server, namespace
        self.broken: dict[str, dict[str, Any]] = {}
        self.gateway_awake = True
        self.seen: list[tuple[frozenset[str], frozenset[tuple[str, int]]]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> Cast:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._stopping.wait(0.05):
            services = self._server.request("GET", _SERVICES.format(self._namespace))["items"]
            routes = [
                route
                for plural in ("httproutes", "grpcroutes")
                for route in self._server.request("GET", _ROUTES.format(self._namespace, plural))["items"]
            ]
            self._note(services, routes)
            for service in services:
                self._serve(service)
            for route in routes:
                self._accept(route)

    def _note(self, services: list[dict[str, Any]], routes: list[dict[str, Any]]) -> None:
        uris = [service["spec"]["predictor"]["model"]["storageUri"] for service in services]
        releases = frozenset(found[1] for uri in uris if (found := re.search(r"/releases/(\w{12})/$", uri)))
        shares = frozenset(
            (backend["name"].split("-")[-2], backend["weight"])
            for route in routes[:1]
            for backend in route["spec"]["rules"][-1]["backendRefs"]
        )
        if not self.seen or self.seen[-1] != (releases, shares):
            self.seen.append((releases, shares))

    def _serve(self, service: dict[str, Any]) -> None:
        name, version = service["metadata"]["name"], service["metadata"]["name"][-12:]
        broken = self.broken.get(version)
        ready = "False" if broken else "True"
        conditions = (service.get("status") or {}).get("conditions", [])
        if [one["status"] for one in conditions] == [ready]:
            return
        if not conditions:
            self._start(name)
        status = {"conditions": [{"type": "Ready", "status": ready}], "observedGeneration": 1}
        self._patch(f"{_SERVICES.format(self._namespace)}/{name}/status", {"status": status})
        container = {"name": "kserve-container", "image": "tests/image:1", "imageID": "", "restartCount": 0}
        state = broken or {"ready": True, "state": {"running": {}}}
        pod = {"containerStatuses": [{**container, "ready": False, **state}]}
        self._patch(f"/api/v1/namespaces/{self._namespace}/pods/{name}-0/status", {"status": pod})
        available = 0 if broken else 1
        deployment = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": available}
        self._patch(
            f"{self._deployments()}/{name}-predictor/status", {"status": {**deployment, "readyReplicas": available}}
        )

    def _start(self, name: str) -> None:
        labels = {_LABEL: name}
        pod_spec = {"containers": [{"name": "kserve-container", "image": "tests/image:1"}]}
        template = {"metadata": {"labels": labels}, "spec": pod_spec}
        spec = {"selector": {"matchLabels": labels}, "template": template}
        for path, body in (
            (self._deployments(), {"metadata": {"name": f"{name}-predictor", "labels": labels}, "spec": spec}),
            (
                f"/api/v1/namespaces/{self._namespace}/pods",
                {"metadata": {"name": f"{name}-0", "labels": labels}, "spec": pod_spec},
            ),
        ):
            try:
                self._server.request("POST", path, body)
            except LookupError as there:
                if " 409 " not in str(there):
                    raise

    def _accept(self, route: dict[str, Any]) -> None:
        parents = (route.get("status") or {}).get("parents", [])
        generation = route["metadata"]["generation"]
        if not self.gateway_awake or (parents and parents[0]["conditions"][0]["observedGeneration"] == generation):
            return
        conditions = [
            {"type": kind, "status": "True", "observedGeneration": generation} for kind in ("Accepted", "ResolvedRefs")
        ]
        plural = f"{route['kind'].lower()}s"
        path = f"{_ROUTES.format(self._namespace, plural)}/{route['metadata']['name']}/status"
        self._patch(path, {"status": {"parents": [{"conditions": conditions}]}})

    def _deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self._namespace}/deployments"

    def _patch(self, path: str, body: dict[str, Any]) -> None:
        try:
            self._server.request("PATCH", path, body, "application/merge-patch+json")
        except LookupError as gone:
            if " 404 " not in str(gone):
                raise
