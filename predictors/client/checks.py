"""One of everything that a server promises, asked for from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import numpy as np
from numpy.typing import NDArray

from predictors.client import rest_wire
from predictors.client.access import Access, grpc_address
from predictors.client.forecast_rules import check_forecast, member_weights
from predictors.client.sdk_import import hidden_arguments
from predictors.core.errors import DataError, InvalidInput, NotReady, WavecastError
from predictors.core.golden import check_golden_answer
from predictors.core.window import HIGH, LOW

MODEL = "wavecast"
BATCH = 4

Tensors = Mapping[str, NDArray[Any]]
_Answer = tuple[Tensors, Mapping[str, Any]]
Windows = Callable[[int], Tensors]
"""From bars per window to a request of `BATCH` windows: ``bars`` and ``timestamps``."""
Golden = Callable[[str], Tensors]
"""From a release to its golden windows, as `predictors.core.golden.check_golden_answer` takes them."""

_BATCH_RTOL = 1e-6
_ADVICE = {
    400: "see what the server says; do client and server belong to the same version?",
    401: "give a key that the server knows (--api-key-file)",
    403: "use a key with the scope that this needs",
    404: "is this the address of a wavecast server's REST port, and is the path not rewritten on the way?",
    413: "raise the server's limits on batch, bars or bytes, or those of the proxy before it",
    429: "ask again later, or raise the key's rate limit",
    503: "wait until the golden replay has passed; if it does not pass, the server's log says what differs",
    504: "raise the deadline (--timeout); if it is long enough, look for a member that hangs",
}
_LOG = "read the server's log: this is its defect, not the request's"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    name, status
        Of the check; it is skipped if it needs another one that is wrong.
    detail
        What the server said.
    advice
        What to do if it is wrong.
    ms
        Time that the check took, milliseconds.
    """

    name: str
    status: Literal["ok", "wrong", "skipped"]
    detail: str
    advice: str = ""
    ms: float = 0.0


class _Defect(Exception):
    def __init__(self, detail: str, advice: str = _LOG) -> None:
        super().__init__(detail)
        self.advice = advice


@dataclass(slots=True)
class _Server:
    """The server under check, and what it answered so far."""

    http: httpx.Client
    windows: Windows
    timeout_s: float
    golden: Golden | None = None
    grpc: Any = None
    expected: str | None = None
    release: str = ""
    request: Tensors = field(default_factory=dict)
    forecasts: dict[str, _Answer] = field(default_factory=dict)

    @property
    def one(self) -> Tensors:
        """The first window alone."""
        return {name: array[:1] for name, array in self.request.items()}

    @property
    def parameters(self) -> dict[str, Any]:
        return {"timeout": max(1, int(1e6 * self.timeout_s))}


def check_server(
    url: str,
    windows: Windows,
    access: Access,
    timeout_s: float,
    grpc_url: str | None = None,
    golden: Golden | None = None,
    release: str | None = None,
) -> list[Finding]:
    """Ask a server for one of everything.

    Parameters
    ----------
    url
        Of its REST port.
    windows
        What to ask with.
    access
        How it lets callers in.
    timeout_s
        Longest time for each answer.
    grpc_url
        Of its gRPC port, if that is to be checked too (needs the extra ``serving``).
    golden
        Where the golden windows of the release that answers come from, if they are to be replayed.
    release
        The one that must answer; any will do if it is not given.

    Returns
    -------
    One finding per check, in the order in which they were made. What is wrong never raises.

    Raises
    ------
    InvalidInput
        If an address or the certificate authority cannot be used.
    DataError
        As ``windows``.
    """
    if not url.startswith(("http://", "https://")):
        raise InvalidInput(f"server '{url}' is not understood; write http://host:port or https://host:port")
    with httpx.Client(base_url=url, timeout=timeout_s, headers=access.headers, verify=access.verify(url)) as http:
        server = _Server(http, windows, timeout_s, golden, expected=release)
        together = _TOGETHER if golden is None else {**_TOGETHER, **_GOLDEN}
        if grpc_url is None:
            return _run(server, {**_REST, **together})
        with hidden_arguments():
            from predictors.serving.grpc_client import GrpcClient

        address, tls = grpc_address(grpc_url)
        server.grpc = GrpcClient(address, access.grpc_credentials() if tls else None, access.headers)
        try:
            return _run(server, {**_REST, **_GRPC, **together})
        finally:
            server.grpc.close()


def _run(server: _Server, checks: Mapping[str, tuple[Callable[[_Server], str], tuple[str, ...]]]) -> list[Finding]:
    findings: dict[str, Finding] = {}
    for name, (check, needs) in checks.items():
        missing = [need for need in needs if need in findings and findings[need].status != "ok"]
        if missing:
            findings[name] = Finding(name, "skipped", f"needs '{missing[0]}'")
            continue
        started = time.perf_counter()
        status: Literal["ok", "wrong"] = "wrong"
        advice = ""
        try:
            detail = check(server)
            status = "ok"
        except _Defect as wrong:
            detail, advice = str(wrong), wrong.advice
        except httpx.TransportError as wrong:
            detail = f"{server.http.base_url} cannot be reached: {wrong}"
            advice = "is the server running, is this its REST port, and is http or https right?"
        except DataError:
            raise
        except WavecastError as wrong:
            detail, advice = str(wrong), _ADVICE.get(wrong.http_status, _LOG)
        findings[name] = Finding(name, status, detail, advice, round(1e3 * (time.perf_counter() - started), 3))
    return list(findings.values())


def _get(server: _Server, path: str) -> Any:
    """A JSON object."""
    response = server.http.get(path)
    if response.status_code != 200:
        raise _Defect(f"{path} answered {_said(response)}", _ADVICE.get(response.status_code, _LOG))
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise _Defect(f"{path} answered no JSON object but '{response.text[:60]}'", _ADVICE[404])
    return content


def _said(response: httpx.Response) -> str:
    try:
        return f"{response.status_code}: {response.json()['error']}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code}: {response.text[:80]!r}"


def _live(server: _Server) -> str:
    if _get(server, "/v2/health/live").get("live") is not True:
        raise _Defect("/v2/health/live does not say that it is live", _ADVICE[404])
    return "live"


def _ready(server: _Server) -> str:
    if _get(server, "/v2/health/ready").get("ready") is not True:
        raise _Defect("/v2/health/ready answers 200 and does not say that it is ready")
    if _get(server, f"/v2/models/{MODEL}/ready").get("ready") is not True:
        raise _Defect(f"the server is ready, model '{MODEL}' is not", _ADVICE[503])
    return f"server and model '{MODEL}' are ready"


def _server_metadata(server: _Server) -> str:
    about = _get(server, "/v2")
    if "binary_tensor_data" not in about.get("extensions", ()):
        raise _Defect("the server's metadata does not list the extension 'binary_tensor_data'", _ADVICE[404])
    return f"{about.get('name')} {about.get('version')}"


def _model_metadata(server: _Server) -> str:
    about = _get(server, f"/v2/models/{MODEL}")
    try:
        inputs = {entry["name"]: (entry["datatype"], entry["shape"]) for entry in about["inputs"]}
        outputs = {entry["name"] for entry in about["outputs"]}
        facts = about["parameters"]
        server.release = facts["release"]
        server.request = server.windows(int(facts["window_bars"]))
    except (KeyError, TypeError) as wrong:
        raise _Defect(f"the model's metadata has no usable {wrong}", _ADVICE[404]) from wrong
    if inputs.get("bars") != ("FP64", [-1, -1, 5]) or not {"variance", "log_variance", "quantiles"} <= outputs:
        raise _Defect(f"model '{MODEL}' takes {inputs} and gives {sorted(outputs)}; that is no forecast of bars")
    if server.expected not in (None, server.release):
        raise _Defect(f"release {server.release} answers, not {server.expected}", "is the traffic where it should be?")
    return f"release {server.release}, horizons {facts['horizons']}, windows of {facts['window_bars']} bars"


def _version(server: _Server) -> str:
    _get(server, f"/v2/models/{MODEL}/versions/{server.release}")
    path = f"/v2/models/{MODEL}/versions/no-such-release"
    response = server.http.get(path)
    if response.status_code != 404:
        raise _Defect(f"{path} answered {_said(response)}; expected 404")
    return f"release {server.release} by its name; an unknown one is refused with 404"


def _infer_json(server: _Server) -> str:
    return _forecast(server, "REST JSON", server.one, _post(server, server.one, binary=False))


def _infer_binary(server: _Server) -> str:
    return _forecast(server, "REST binary", server.one, _post(server, server.one, binary=True))


def _batch(server: _Server) -> str:
    tensors, parameters = _post(server, server.request, binary=True)
    check_forecast(tensors, parameters, BATCH)
    for row in range(BATCH):
        alone, _ = _post(server, {name: array[row : row + 1] for name, array in server.request.items()}, binary=True)
        for name, array in alone.items():
            if not np.allclose(tensors[name][row], array[0], rtol=_BATCH_RTOL, atol=0.0):
                raise _Defect(f"'{name}' of window {row} is not the same alone and in a batch of {BATCH}")
    return f"{BATCH} windows at once, the same as one by one"


def _refusal(server: _Server) -> str:
    body, headers = rest_wire.encode(_impossible(server.one), server.parameters)
    response = server.http.post(rest_wire.PATH, content=body, headers=headers)
    if response.status_code != 400:
        raise _Defect(f"bars with low > high were answered {_said(response)}; expected 400")
    if "bars" not in _said(response) or "Traceback" in response.text:
        raise _Defect(f"the refusal does not name the tensor 'bars': {_said(response)}")
    if "REST binary" in server.forecasts:
        again, _ = _post(server, server.one, binary=True)
        _same("REST binary", server.forecasts["REST binary"][0], "the same request after a refused one", again)
    return "low > high is refused with 400, and the next answer is the same as before"


def _metrics(server: _Server) -> str:
    response = server.http.get("/metrics")
    if response.status_code != 200:
        raise _Defect(f"/metrics answered {_said(response)}", _ADVICE.get(response.status_code, _LOG))
    samples = [line for line in response.text.splitlines() if line and not line.startswith("#")]
    if not any(f'"{MODEL}"' in sample for sample in samples):
        raise _Defect(f"none of the {len(samples)} samples at /metrics is about model '{MODEL}'")
    return f"{len(samples)} samples"


def _grpc_ready(server: _Server) -> str:
    try:
        live = server.grpc.call("ServerLive", server.timeout_s).live
    except NotReady as unreachable:  # a server that is there answers this, whatever its models do
        raise _Defect(str(unreachable), "is the server running, is this its gRPC port, and TLS or not right?") from None
    if not live:
        raise _Defect("the gRPC server says that it is not live")
    if not server.grpc.call("ServerReady", server.timeout_s).ready:
        raise _Defect("the gRPC server is not ready", _ADVICE[503])
    if not server.grpc.call("ModelReady", server.timeout_s, name=MODEL).ready:
        raise _Defect(f"model '{MODEL}' is not ready over gRPC", _ADVICE[503])
    return f"server and model '{MODEL}' are ready"


def _grpc_metadata(server: _Server) -> str:
    about = server.grpc.call("ServerMetadata", server.timeout_s)
    model = server.grpc.call("ModelMetadata", server.timeout_s, name=MODEL)
    if server.release and list(model.versions) != [server.release]:
        raise _Defect(
            f"gRPC serves {list(model.versions)}, REST serves {server.release}", "are both ports one server's?"
        )
    return f"{about.name} {about.version}, release {', '.join(model.versions)}"


def _grpc_raw(server: _Server) -> str:
    return _forecast(server, "gRPC raw", server.one, _call(server, server.one, raw=True))


def _grpc_typed(server: _Server) -> str:
    return _forecast(server, "gRPC typed", server.one, _call(server, server.one, raw=False))


def _grpc_refusal(server: _Server) -> str:
    try:
        _call(server, _impossible(server.one), raw=True)
    except InvalidInput as refused:
        if "bars" not in str(refused):
            raise _Defect(f"the refusal does not name the tensor 'bars': {refused}") from refused
        return "low > high is refused with INVALID_ARGUMENT"
    except WavecastError as wrong:
        raise _Defect(f"bars with low > high were answered '{wrong}'; expected INVALID_ARGUMENT") from wrong
    raise _Defect("bars with low > high were answered with a forecast; expected INVALID_ARGUMENT")


def _same_bits(server: _Server) -> str:
    if not server.forecasts:
        raise _Defect("there is no forecast to compare")
    first, *others = server.forecasts
    for other in others:
        _same(first, server.forecasts[first][0], other, server.forecasts[other][0])
    return f"{', '.join(server.forecasts)}: the same bits"


def _ensemble(server: _Server) -> str:
    if not server.forecasts:
        raise _Defect("there is no forecast to look at")
    for transport, (_, parameters) in server.forecasts.items():
        if parameters["degraded"]:
            raise _Defect(
                f"the answer over {transport} is degraded, made by {parameters['members']} only",
                "a member does not answer: see which one /v2/health/ready or the server's log names, and restart it",
            )
        if server.release and parameters["release"] != server.release:
            raise _Defect(f"the metadata says release {server.release}, the answer {parameters['release']}")
    weights = member_weights(parameters)
    return ", ".join(f"{kind} {weight:.0%}" for kind, weight in weights.items())


def _golden(server: _Server) -> str:
    assert server.golden is not None
    golden = server.golden(server.release)
    asks: dict[str, Callable[[Tensors], _Answer]] = {"REST": lambda window: _post(server, window, binary=True)}
    if server.grpc is not None:
        asks["gRPC"] = lambda window: _call(server, window, raw=True)
    for transport, ask in asks.items():
        for index, bars in enumerate(golden["bars"]):
            tensors, parameters = ask({"bars": bars[None]})
            if parameters["degraded"]:
                raise _Defect(f"golden window {index} over {transport} has only {parameters['members']}", _ADVICE[503])
            check_golden_answer(tensors, golden, index, server.release)
    return f"{len(golden['bars'])} windows over {' and '.join(asks)}, as when the release was made"


def _impossible(tensors: Tensors) -> Tensors:
    """The same with low above high in the last bar."""
    bars = tensors["bars"].copy()
    bars[:, -1, LOW] = 2 * bars[:, -1, HIGH]
    return {**tensors, "bars": bars}


def _post(server: _Server, tensors: Tensors, binary: bool) -> _Answer:
    body, headers = rest_wire.encode(tensors, server.parameters, binary)
    return rest_wire.decode(server.http.post(rest_wire.PATH, content=body, headers=headers))


def _call(server: _Server, tensors: Tensors, raw: bool) -> _Answer:
    answer = server.grpc.infer(MODEL, tensors, server.parameters, server.timeout_s, raw)
    return answer.tensors, answer.parameters


def _forecast(server: _Server, transport: str, asked: Tensors, answer: _Answer) -> str:
    tensors, parameters = answer
    check_forecast(tensors, parameters, len(asked["bars"]))
    server.forecasts[transport] = answer
    return f"volatility per bar {', '.join(f'{value:.4%}' for value in np.sqrt(tensors['variance'][0]))}"


def _same(one: str, expected: Tensors, other: str, found: Tensors) -> None:
    for name, array in expected.items():
        if name not in found or found[name].tobytes() != array.tobytes():
            raise _Defect(f"'{name}' over {one} and over {other} are not the same bits")


_REST: dict[str, tuple[Callable[[_Server], str], tuple[str, ...]]] = {
    "REST live": (_live, ()),
    "REST ready": (_ready, ("REST live",)),
    "REST server metadata": (_server_metadata, ("REST live",)),
    "REST model metadata": (_model_metadata, ("REST live",)),
    "REST release by name": (_version, ("REST model metadata",)),
    "REST JSON forecast": (_infer_json, ("REST model metadata",)),
    "REST binary forecast": (_infer_binary, ("REST model metadata",)),
    "REST batch": (_batch, ("REST binary forecast",)),
    "REST refusal": (_refusal, ("REST model metadata",)),
    "REST metrics": (_metrics, ("REST live",)),
}
_GRPC: dict[str, tuple[Callable[[_Server], str], tuple[str, ...]]] = {
    "gRPC ready": (_grpc_ready, ()),
    "gRPC metadata": (_grpc_metadata, ("gRPC ready",)),
    "gRPC raw forecast": (_grpc_raw, ("REST model metadata", "gRPC ready")),
    "gRPC typed forecast": (_grpc_typed, ("REST model metadata", "gRPC ready")),
    "gRPC refusal": (_grpc_refusal, ("REST model metadata", "gRPC ready")),
}
_TOGETHER: dict[str, tuple[Callable[[_Server], str], tuple[str, ...]]] = {
    "same bits": (_same_bits, ("REST model metadata",)),
    "full ensemble": (_ensemble, ("REST model metadata",)),
}
_GOLDEN: dict[str, tuple[Callable[[_Server], str], tuple[str, ...]]] = {
    "golden windows": (_golden, ("REST model metadata",)),
}
