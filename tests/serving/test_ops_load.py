"""Too many requests and slow ones are refused at once, with the time to come again; the others are served."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from running_server import Published, Served, serve
from v2_requests import INFER, assert_same_bits, call, grpc_message, grpc_raw, post, rest_json, tensor

from predictors.serving.keys import new_key, write_keys

AT_OTHERS = 16
"""Inferences that the wavelet process has at the router at once."""
MOST_WAITING = 3


def _ask(bars: NDArray[np.float64], **parameters: int) -> dict[str, object]:
    return {"inputs": [tensor("bars", bars)], "parameters": parameters}


def _refused_call(served: Served, bars: NDArray[np.float64], *metadata: tuple[str, str]) -> tuple[str, dict[str, str]]:
    """Status and trailing metadata of a gRPC inference that must fail."""
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    with grpc.insecure_channel(served.grpc) as channel, pytest.raises(grpc.RpcError) as refused:
        GRPCInferenceServiceStub(channel).ModelInfer(grpc_message(bars), timeout=60, metadata=metadata)
    return refused.value.code().name, dict(refused.value.trailing_metadata())


def _metric(served: Served, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", httpx.get(served.http + "/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def _answer(connection: socket.socket) -> bytes:
    """What comes up to the end of a JSON object."""
    answer = b""
    while not answer.endswith(b"}") and (part := connection.recv(65536)):
        answer += part
    return answer


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it never came true")


def test_each_key_has_its_own_rate(published: Published, windows: NDArray[np.float64], tmp_path: Path) -> None:
    """Three at once and then one in 100 s: the fourth is refused whatever the transport, another key is not."""
    (greedy, first), (modest, second) = new_key("greedy", "read"), new_key("modest", "read")
    write_keys(tmp_path / "keys", [first, second])
    settings = {"API_KEYS": str(tmp_path / "keys"), "RATE_PER_S": "0.01", "RATE_BURST": "3"}
    server = serve(published.store, "embedded", tmp_path / "log", **{f"WAVECAST_{k}": v for k, v in settings.items()})
    with httpx.Client(base_url=server.http, timeout=60) as client:
        codes = [
            client.post(INFER, json=_ask(windows[:1]), headers={"x-api-key": greedy}).status_code for _ in range(3)
        ]
        assert codes == [200, 200, 200]
        refused = client.post(INFER, json=_ask(windows[:1]), headers={"x-api-key": greedy})
        assert refused.status_code == 429
        assert "'greedy' is over 0.01 requests a second" in refused.json()["error"]
        assert 1 <= int(refused.headers["retry-after"]) <= 100
        code, metadata = _refused_call(server, windows[:1], ("x-api-key", greedy))
        assert code == "RESOURCE_EXHAUSTED"
        assert 0 < int(metadata["grpc-retry-pushback-ms"]) <= 100_000
        assert client.get("/v2/health/ready").status_code == 200
        assert client.post(INFER, json=_ask(windows[:1]), headers={"x-api-key": modest}).status_code == 200
    assert _metric(server, 'wavecast_refusals_total{reason="rate"}') == 2
    assert server.stop() == 0


@pytest.fixture(scope="module")
def graph(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Processes with a short queue."""
    log = tmp_path_factory.mktemp("graph") / "log"
    server = serve(published.store, "processes", log, WAVECAST_MAX_WAITING=str(MOST_WAITING))
    yield server
    assert server.stop() == 0, server.log.read_text()


@pytest.fixture
def frozen(graph: Served) -> Iterator[tuple[Served, Callable[[], None]]]:
    """The graph with a frozen router, so that what is let in stays in; and how to thaw it."""
    router = graph.children()["router"]
    os.kill(router, signal.SIGSTOP)
    yield graph, lambda: os.kill(router, signal.SIGCONT)
    os.kill(router, signal.SIGCONT)


def test_what_does_not_fit_into_the_queue_is_refused_at_once_and_the_rest_is_answered(
    frozen: tuple[Served, Callable[[], None]], published: Published, windows: NDArray[np.float64]
) -> None:
    server, thaw = frozen
    with ThreadPoolExecutor(AT_OTHERS + MOST_WAITING + 1) as pool:
        inside: list[Future[object]] = [
            pool.submit(*((post, server, _ask(windows[:1])) if i % 2 else (call, server, grpc_message(windows[:1]))))
            for i in range(AT_OTHERS + MOST_WAITING - 1)
        ]
        _until(lambda: _metric(server, "wavecast_waiting") == MOST_WAITING - 1)
        assert post(server, _ask(windows[:1], timeout=100_000)).status_code == 504  # waited in vain, and let go
        inside.append(pool.submit(post, server, _ask(windows[:1])))
        _until(lambda: _metric(server, "wavecast_waiting") == MOST_WAITING)

        refused = post(server, _ask(windows[:1]))
        assert (refused.status_code, list(refused.json())) == (503, ["error"])
        assert "overloaded: 3 requests wait" in refused.json()["error"]
        assert int(refused.headers["retry-after"]) >= 1
        code, metadata = _refused_call(server, windows[:1])
        assert code == "UNAVAILABLE"
        assert int(metadata["grpc-retry-pushback-ms"]) >= 1
        assert httpx.get(server.http + "/v2/health/live").status_code == 200
        assert _metric(server, 'wavecast_refusals_total{reason="overload"}') == 2
        assert _metric(server, "wavecast_in_flight") == AT_OTHERS + MOST_WAITING
        assert not any(answer.done() for answer in inside)

        thaw()
        for answer in inside:
            got = answer.result()
            assert not isinstance(got, httpx.Response) or got.status_code == 200, got
    assert_same_bits(rest_json(server, windows[:1]), published.expected(windows[:1]))
    assert _metric(server, "wavecast_waiting") == _metric(server, "wavecast_in_flight") == 0


def test_connections_go_on_after_a_refusal(
    frozen: tuple[Served, Callable[[], None]], windows: NDArray[np.float64]
) -> None:
    """Hundreds of refusals on one connection, bodies and all, and then an answer on the same one."""
    server, thaw = frozen
    with ThreadPoolExecutor(AT_OTHERS + MOST_WAITING) as pool:
        inside = [pool.submit(post, server, _ask(windows[:1])) for _ in range(AT_OTHERS + MOST_WAITING)]
        _until(lambda: _metric(server, "wavecast_waiting") == MOST_WAITING)
        with httpx.Client(base_url=server.http, timeout=60, limits=httpx.Limits(max_connections=1)) as client:
            body = json.dumps(_ask(windows[:7])).encode()
            for _ in range(200):
                refused = client.post(INFER, content=body)
                assert refused.status_code == 503
            thaw()
            assert [answer.result().status_code for answer in inside] == [200] * len(inside)
            assert client.post(INFER, content=body).status_code == 200


@pytest.fixture(scope="module")
def narrow(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One process with one thread for batches, room for one that waits, and a second for each request."""
    server = serve(
        published.store,
        "embedded",
        tmp_path_factory.mktemp("narrow") / "log",
        WAVECAST_WORKER_THREADS="1",
        WAVECAST_MAX_WAITING="1",
        WAVECAST_TIMEOUT_S="30",
        WAVECAST_CLIENT_IN_FLIGHT="8",
    )
    yield server
    assert server.stop() == 0, server.log.read_text()


def test_batches_queue_up_to_the_bound_and_single_windows_pass_them(
    narrow: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    """Six clients send large batches as fast as they can: each is answered or refused at once; after it all is well."""
    batch = np.repeat(windows, 100, axis=0)
    answers: list[int] = []

    def ask() -> None:
        for _ in range(3):
            try:
                answer = call(narrow, grpc_message(batch))
                answers.append(len(answer.raw_output_contents[0]))
            except grpc.RpcError as wrong:
                answers.append(0 if wrong.code().name == "UNAVAILABLE" and "overloaded" in wrong.details() else -1)

    asking = [threading.Thread(target=ask) for _ in range(6)]
    for thread in asking:
        thread.start()
    singles = 0
    while any(thread.is_alive() for thread in asking):
        assert_same_bits(rest_json(narrow, windows[:1]), published.expected(windows[:1]))
        singles += 1
    assert len(answers) == 18
    assert set(answers) == {0, len(batch) * 16}
    assert singles >= 3
    assert_same_bits(grpc_raw(narrow, windows), published.expected(windows))


def test_one_client_has_so_many_requests_in_flight_and_no_more(narrow: Served, windows: NDArray[np.float64]) -> None:
    """Eight whose bodies have not come yet; the ninth is refused, and served when one of them has gone."""
    host, port = narrow.http.removeprefix("http://").split(":")
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n"
    with ExitStack() as open_ones:
        for _ in range(8):
            connection = open_ones.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(head.encode())
        _until(lambda: post(narrow, _ask(windows[:1])).status_code == 429)
        refused = post(narrow, _ask(windows[:1]))
        assert refused.headers["retry-after"] == "1"
        assert "at most 8 are served" in refused.json()["error"]
        assert _refused_call(narrow, windows[:1])[0] == "RESOURCE_EXHAUSTED"
        assert httpx.get(narrow.http + "/v2/health/ready").status_code == 200
        connection.close()
        _until(lambda: post(narrow, _ask(windows[:1])).status_code == 200)


def test_a_body_that_does_not_come_is_given_up(published: Published, tmp_path: Path) -> None:
    server = serve(published.store, "embedded", tmp_path / "log", WAVECAST_TIMEOUT_S="0.5")
    host, port = server.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n" + "{"
        connection.sendall(head.encode())
        answer = _answer(connection)
        assert answer.startswith(b"HTTP/1.1 504 ")
        assert b"the body was not complete after 0.5 s; 1 bytes came" in answer
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\n" + b"x-long: " + b"y" * 70_000)
        answer = _answer(connection)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'{"error":"The head of the request has more than 65536 bytes."}' in answer
        assert connection.recv(1) == b""
    assert server.stop() == 0
