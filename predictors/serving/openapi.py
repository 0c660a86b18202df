"""The OpenAPI document of what is loaded, with examples that work, and a page that shows it offline."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from html import escape
from typing import Any

from predictors.serving.model import SERIES_LENGTH, V2Model
from predictors.serving.registry import RELEASE_HEADER, Registry
from predictors.serving.tensors import TensorSpec

Schema = dict[str, Any]

_REQUEST_PARAMETERS: dict[str, Schema] = {
    "timeout": {"type": "integer", "minimum": 1, "description": "Deadline in microseconds."},
    "max_age_s": {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "Refuse bars whose last timestamp is older, in seconds; needs `timestamps`.",
    },
    "series": {
        "type": "string",
        "maxLength": SERIES_LENGTH,
        "pattern": r"^[\x20-\x7e]*$",
        "description": "What the bars are of, for the log.",
    },
    "spec": {"type": "string", "description": "Hash of the feature specification."},
    "binary_data_output": {"type": "boolean", "description": "Send all outputs as binary tensors."},
}
_ERRORS = {
    "400": "Malformed or invalid input",
    "401": "An API key is needed",
    "403": "The API key may not do this",
    "404": "Unknown model, version or release",
    "413": "Too large",
    "415": "Content type or encoding that is not understood",
    "429": "Too many requests of one client; see Retry-After",
    "500": "Internal error",
    "503": "Not ready, too few members, or overloaded",
    "504": "The deadline passed",
}


def describe(registry: Registry) -> dict[str, Any]:
    """The document (OpenAPI 3.1) of every loaded model and version."""
    server = registry.server()
    paths: dict[str, Any] = {
        "/": _get("What this server is", _json({"type": "object"})),
        "/metrics": _get("Prometheus metrics", {"text/plain": {"schema": {"type": "string"}}}),
        "/v2": _get("Server metadata", _json({"type": "object", "required": ["name", "version", "extensions"]})),
        "/v2/health/live": _get("Whether the process is alive", _json(_flag("live"))),
        "/v2/health/ready": _get("Whether all models are ready", _json(_flag("ready"))),
        "/v2/models": _get("Names of the models", _json({"type": "object", "required": ["models"]})),
        "/v2/repository/index": _post(
            "Loaded versions, and releases of the store that are not loaded",
            {
                "type": "object",
                "additionalProperties": False,
                "properties": {"ready": {"type": "boolean", "description": "Only those that are ready."}},
            },
            {"ready": True},
            _json({"type": "array", "items": {"type": "object", "required": ["name", "version", "state"]}}),
        ),
    }
    if "model_repository" in server["extensions"]:
        for verb, summary in (
            ("load", "Load a release of the store (the newest, if none is named) and make it the default"),
            ("unload", "Let go of a release that is not the default"),
        ):
            paths[f"/v2/repository/models/wavecast/{verb}"] = _post(
                summary,
                _release_schema(verb == "unload"),
                {"parameters": {"release": "0123456789ab"}},
                _json({"type": "object"}),
            )
    for name, model in registry.models.items():
        versions = registry.metadata(model)["versions"]
        paths |= _model_paths(model, f"/v2/models/{name}", [_release_header(versions)] if model.members else [])
        version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string", "enum": versions}}
        paths |= _model_paths(model, f"/v2/models/{name}/versions/{{version}}", [version])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wavecast",
            "version": server["version"],
            "description": "Volatility forecasts over the Open Inference Protocol (V2), the same as over gRPC.",
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error"],
                    "additionalProperties": False,
                    "properties": {"error": {"type": "string"}},
                }
            }
        },
    }


def render(document: Mapping[str, Any]) -> str:
    """A page without scripts and without anything from elsewhere."""
    parts = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            arguments = "".join(
                f"<li><code>{escape(one['name'])}</code> ({one['in']})" for one in operation.get("parameters", ())
            )
            answers = "".join(
                f"<li><b>{code}</b> {escape(answer['description'])}" for code, answer in operation["responses"].items()
            )
            example = ""
            if body is not None:
                sent = escape(json.dumps(body["example"]))
                schema = escape(json.dumps(body["schema"], indent=1))
                example = (
                    f"<h4>Example</h4><pre>curl -s \"$URL{path}\" -H 'content-type: application/json' -d '{sent}'</pre>"
                    f"<details><summary>Schema</summary><pre>{schema}</pre></details>"
                )
            parts.append(
                f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {escape(operation['summary'])}"
                f"</summary><ul>{arguments}</ul>{example}<h4>Answers</h4><ul>{answers}</ul></details>"
            )
    info = document["info"]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(info['title'])}</title><style>"
        "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
        "details{margin:.3rem 0}"
        "pre{background:#f4f4f4;padding:.6rem;max-height:20rem;overflow:auto;white-space:pre-wrap}"
        f"</style><h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"
        f"<p><a href=openapi.json>openapi.json</a></p>{''.join(parts)}</html>"
    )


def _model_paths(model: V2Model, base: str, parameters: list[Schema]) -> dict[str, Any]:
    metadata = {"type": "object", "required": ["name", "versions", "inputs", "outputs"]}
    paths = {
        base: _get(f"Metadata of {model.name}", _json(metadata)),
        f"{base}/ready": _get(f"Whether {model.name} is ready", _json(_flag("ready"))),
        f"{base}/infer": _post(
            f"Ask {model.name}",
            _request_schema(model),
            example_request(model),
            {**_json(_answer_schema(model)), "application/octet-stream": {"schema": {}}},
        ),
    }
    if parameters:
        for operations in paths.values():
            for operation in operations.values():
                operation["parameters"] = parameters
    return paths


def example_request(model: V2Model) -> dict[str, Any]:
    """A request that the model answers."""
    inputs = []
    for spec in model.inputs.values():
        if spec.optional:
            continue
        if spec.name == "bars":
            window_bars = int(model.facts["window_bars"])
            shape, data = [1, window_bars, 5], _example_bars(window_bars)
        else:
            shape = [1, *spec.shape[1:]]
            data = [0.0] * math.prod(shape)
        inputs.append({"name": spec.name, "datatype": spec.datatype, "shape": shape, "data": data})
    request: dict[str, Any] = {"inputs": inputs}
    if "spec" in model.request_parameters:
        request["parameters"] = {"spec": model.facts["spec"]}
    return request


def _example_bars(count: int) -> list[float]:
    """Bars (count, 5) of a made-up price, row by row."""
    closes = [round(100.0 + 5.0 * math.sin(t / 9.0) + 2.0 * math.sin(t * t), 2) for t in range(count + 1)]
    bars: list[float] = []
    for t in range(count):
        before, close = closes[t], closes[t + 1]
        reach = 0.3 + 0.2 * math.cos(3 * t)
        bars += [before, round(max(before, close) + reach, 2), round(min(before, close) - reach, 2), close, 0.0]
    return bars


def _request_schema(model: V2Model) -> Schema:
    names = [*model.request_parameters, "binary_data_output"]
    parameters = {name: _REQUEST_PARAMETERS[name] for name in names}
    if "spec" in parameters:
        parameters["spec"] = {**parameters["spec"], "const": model.facts["spec"]}
    return {
        "type": "object",
        "required": ["inputs"] if "spec" not in names else ["inputs", "parameters"],
        "additionalProperties": False,
        "properties": {
            "id": {"type": "string", "description": "Comes back in the answer."},
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "required": ["spec"] if "spec" in names else [],
                "properties": parameters,
            },
            "inputs": {
                "type": "array",
                "minItems": sum(not spec.optional for spec in model.inputs.values()),
                "maxItems": len(model.inputs),
                "items": {"oneOf": [_input_schema(spec) for spec in model.inputs.values()]},
            },
            "outputs": {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "additionalProperties": False,
                    "properties": {
                        "name": {"enum": [spec.name for spec in model.outputs]},
                        "parameters": {"type": "object", "properties": {"binary_data": {"type": "boolean"}}},
                    },
                },
            },
        },
    }


def _input_schema(spec: TensorSpec) -> Schema:
    most = (*spec.at_most, *([None] * len(spec.shape)))
    sizes: list[Schema] = [
        {"type": "integer", "const": size} if size > 0 else {"type": "integer", "minimum": 1, "maximum": limit}
        for size, limit in zip(spec.shape, most, strict=False)
    ]
    number = {"type": "integer" if spec.datatype.startswith("INT") else "number"}
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "additionalProperties": False,
        "properties": {
            "name": {"const": spec.name},
            "datatype": {"const": spec.datatype},
            "shape": {
                "type": "array",
                "prefixItems": sizes,
                "items": False,
                "minItems": len(sizes),
            },
            "data": {
                "type": "array",
                "items": number,
                "description": "Row by row, flat or nested; or binary after the JSON (`binary_data_size`).",
            },
        },
    }


def _answer_schema(model: V2Model) -> Schema:
    return {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"const": model.name},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}},
            "outputs": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["name", "datatype", "shape"],
                    "properties": {
                        "name": {"enum": [spec.name for spec in model.outputs]},
                        "datatype": {"const": "FP64"},
                        "shape": {"type": "array", "items": {"type": "integer"}},
                        "data": {"type": "array", "items": {"type": "number"}},
                    },
                },
            },
        },
    }


def _release_schema(needed: bool) -> Schema:
    release = {"type": "string", "pattern": "^[0-9a-f]{12}$"}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"release": release},
                **({"required": ["release"]} if needed else {}),
            }
        },
        **({"required": ["parameters"]} if needed else {}),
    }


def _release_header(releases: list[str]) -> Schema:
    return {
        "name": RELEASE_HEADER,
        "in": "header",
        "required": False,
        "description": "One of the loaded releases; else the newest answers.",
        "schema": {"type": "string", "enum": releases},
    }


def _get(summary: str, content: Schema) -> Schema:
    return {"get": _operation(summary, content)}


def _post(summary: str, schema: Schema, example: Schema, content: Schema) -> Schema:
    body = {"required": "required" in schema, "content": {"application/json": {"schema": schema, "example": example}}}
    return {"post": {**_operation(summary, content), "requestBody": body}}


def _operation(summary: str, content: Schema) -> Schema:
    error = _json({"$ref": "#/components/schemas/Error"})
    errors = {code: {"description": text, "content": error} for code, text in _ERRORS.items()}
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}, **errors}}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _flag(name: str) -> Schema:
    return {"type": "object", "required": [name], "properties": {name: {"type": "boolean"}}}
