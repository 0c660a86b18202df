"""Resources against their schemas, unknown fields refused: Kubernetes' own, and those of the custom resources.

Kubernetes' come from a package. KServe's and the Gateway API's CRDs are in no package: where KSERVE_CRDS names a folder
of them they are used, else KServe's resources are held against the models of its SDK, which know every field. The
Prometheus operator's are models of a package too.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

KUBERNETES = "1.34"
FOLDER = os.environ.get("KSERVE_CRDS")
_SDK = {"InferenceService": "V1beta1InferenceService", "ServingRuntime": "V1alpha1ServingRuntime"}
_CRDS = (*_SDK, "HTTPRoute", "GRPCRoute")
_CUSTOM = ("serving.kserve.io/", "gateway.networking.k8s.io/", "monitoring.coreos.com/")

# It reads a megabyte of definitions again for every resource.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


def problems(resource: dict[str, Any]) -> list[str]:
    """What a strict API server would refuse, one line each."""
    if not resource["apiVersion"].startswith(_CUSTOM):
        try:
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as wrong:
            return [f"{'.'.join(str(part) for part in wrong.path)}: {wrong.message}"]
        return []
    if resource["kind"] == "PodMonitor":
        return _pod_monitor(resource)
    if FOLDER is None:
        return _sdk(resource) if resource["kind"] in _SDK else []
    found = _validators(FOLDER)[resource["apiVersion"], resource["kind"]].iter_errors(resource)
    return [f"{one.json_path}: {one.message[:200]}" for one in found]


@cache
def _validators(folder: str) -> dict[tuple[str, str], jsonschema.Draft202012Validator]:
    """Of the custom resources that the chart makes, by apiVersion and kind."""
    found = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        text = path.read_text()
        if not any(f"kind: {kind}\n" in text for kind in _CRDS):
            continue
        for crd in yaml.load_all(text, Loader=yaml.CSafeLoader):
            if crd and crd["kind"] == "CustomResourceDefinition" and crd["spec"]["names"]["kind"] in _CRDS:
                spec = crd["spec"]
                for version in spec["versions"]:
                    schema = _closed(version["schema"]["openAPIV3Schema"])
                    # The API server itself knows what is in these.
                    schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
                    validator = jsonschema.Draft202012Validator(schema)
                    found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = validator
    return found


def _closed(schema: Any) -> Any:
    """The same schema that refuses fields which the API server would drop."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    known = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    if known and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed


def _pod_monitor(resource: dict[str, Any]) -> list[str]:
    from cloudcoil.models.prometheus_operator.v1 import PodMonitor

    kept = PodMonitor.model_validate(resource).model_dump(mode="json", by_alias=True, exclude_unset=True)
    return [] if kept["spec"] == resource["spec"] else [f"spec: {resource['spec']} is read as {kept['spec']}"]


def _sdk(resource: dict[str, Any]) -> list[str]:
    import kserve

    return list(_fields(resource, getattr(kserve, _SDK[resource["kind"]]), ""))


def _fields(value: Any, model: Any, where: str) -> list[str]:
    import kserve
    import kubernetes.client

    known = {model.attribute_map[name]: kind for name, kind in model.openapi_types.items()}
    found = []
    for key, part in value.items():
        here = f"{where}.{key}"
        if key not in known:
            found.append(f"{here}: {model.__name__} has no such field")
            continue
        kind = known[key].removeprefix("list[").removesuffix("]")
        inner = getattr(kserve, kind, None) or getattr(kubernetes.client, kind, None)
        if inner is None or not hasattr(inner, "openapi_types"):
            continue
        for number, one in enumerate(part if isinstance(part, list) else [part]):
            if not isinstance(one, dict):
                found.append(f"{here}: {one!r} is no {kind}")
            else:
                found += _fields(one, inner, f"{here}[{number}]" if isinstance(part, list) else here)
    return found
