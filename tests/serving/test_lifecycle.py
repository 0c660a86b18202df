"""Start, refuse to start, lose members, and stop."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from running_server import Published, Served, serve, wavecast
from small_release import nasdaq, publish_release
from v2_requests import INFER, assert_same_bits, call, grpc_message, grpc_raw, post, rest_json, tensor

LAYOUTS = ["embedded", "processes"]


def _refused(store: Path, log: Path, *flags: str, **environment: str) -> tuple[int, str]:
    """Exit code and what a server wrote that must not come up."""
    with wavecast(
        "serve", "--store", str(store), "--port", "0", "--grpc-port", "0", *flags, log=log, **environment
    ) as p:
        assert p.stdout is not None
        assert p.stdout.read() == ""
        code = p.wait(60)
    lines = [line for line in log.read_text().splitlines() if not line.startswith("starting ")]
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return code, lines[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_member_that_answers_its_golden_windows_otherwise_is_not_served(layout: str, tmp_path: Path) -> None:
    publish_release(tmp_path / "store", member_shift=1e-3)
    code, line = _refused(tmp_path / "store", tmp_path / "log", "--layout", layout)
    assert code == 1
    assert "golden replay differs by 0.001" in line


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_release_that_answers_its_golden_windows_otherwise_is_not_served(layout: str, tmp_path: Path) -> None:
    publish_release(tmp_path / "store", release_factor=1.001)
    code, line = _refused(tmp_path / "store", tmp_path / "log", "--layout", layout)
    assert code == 1
    assert "golden replay of 'variance' differs" in line


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_altered_model_is_not_served(layout: str, tmp_path: Path) -> None:
    release = publish_release(tmp_path / "store")
    model = tmp_path / "store" / "models" / "lstm" / release.members["lstm"] / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    code, line = _refused(tmp_path / "store", tmp_path / "log", "--layout", layout)
    assert code == 1
    assert "model.onnx was altered" in line


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_or_release_that_is_not_there_is_the_users_mistake(
    layout: str, published: Published, tmp_path: Path
) -> None:
    code, line = _refused(tmp_path / "nothing", tmp_path / "log", "--layout", layout)
    assert (code, "nothing" in line) == (2, True)
    code, line = _refused(published.store, tmp_path / "log", "--layout", layout, "--release", "000000000000")
    assert (code, "000000000000" in line) == (2, True)


@pytest.mark.parametrize(
    ("layout", "flag"), [("embedded", "--port"), ("embedded", "--grpc-port"), ("processes", "--port")]
)
def test_a_port_in_use_is_one_line_and_exit_code_1(
    layout: str, flag: str, published: Published, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, line = _refused(published.store, tmp_path / "log", "--layout", layout, flag, port)
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in line


def test_an_unknown_or_wrong_setting_is_refused(published: Published, tmp_path: Path) -> None:
    code, line = _refused(published.store, tmp_path / "log", WAVECAST_MAX_BACH="5")
    assert (code, "WAVECAST_MAX_BACH" in line) == (2, True)
    code, line = _refused(published.store, tmp_path / "log", WAVECAST_MAX_BATCH="0")
    assert (code, "max_batch" in line) == (2, True)


def test_variables_that_kubernetes_adds_for_a_service_are_no_settings(published: Published, tmp_path: Path) -> None:
    added = {
        "WAVECAST_SERVICE_HOST": "10.0.0.1",
        "WAVECAST_PORT_80_TCP": "tcp://10.0.0.1:80",
        "WAVECAST_PORT": "tcp://",
    }
    server = serve(published.store, "embedded", tmp_path / "log", **added)
    assert server.stop() == 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sigterm_lets_a_request_in_flight_finish(
    layout: str, published: Published, windows: NDArray[np.float64], tmp_path: Path
) -> None:
    """A REST request whose body arrives after the signal is answered; then the server is gone, exit code 0."""
    server = serve(published.store, layout, tmp_path / "log")
    body = httpx.Request("POST", server.http + INFER, json={"inputs": [tensor("bars", windows[:1])]}).content
    host, port = server.http.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body[:100])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        _until_refused(host, int(port))
        connection.sendall(body[100:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert published.manifest.release.encode() in answer
    assert server.ended() == 0
    assert "Traceback" not in server.log.read_text()


def _until_refused(host: str, port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection((host, port)).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.1)
    raise AssertionError("the server still listens")


def test_sigterm_lets_a_grpc_request_in_flight_finish_with_the_members_that_answer(
    published: Published, windows: NDArray[np.float64], tmp_path: Path
) -> None:
    server = serve(published.store, "processes", tmp_path / "log")
    lstm = server.children()["lstm"]
    os.kill(lstm, signal.SIGSTOP)
    answers: list[object] = []
    asking = threading.Thread(target=lambda: answers.append(call(server, grpc_message(windows[:1], timeout=2_000_000))))
    asking.start()
    time.sleep(0.5)
    server.process.send_signal(signal.SIGTERM)
    asking.join()
    os.kill(lstm, signal.SIGCONT)
    assert server.ended() == 0
    (answer,) = answers
    assert answer.parameters["members"].string_param == "transformer:0.5,xgboost:0.5"  # type: ignore[attr-defined]


def test_ctrl_c_is_a_clean_stop(published: Published, tmp_path: Path) -> None:
    server = serve(published.store, "processes", tmp_path / "log")
    server.process.send_signal(signal.SIGINT)
    assert server.ended() == 0


def test_no_process_outlives_a_killed_parent(published: Published, tmp_path: Path) -> None:
    server = serve(published.store, "processes", tmp_path / "log")
    children = server.children()
    assert sorted(children) == ["lstm", "router", "transformer", "wavelet", "xgboost"]
    server.process.kill()
    server.ended()
    for _ in range(100):
        if not any(_alive(number) for number in children.values()):
            return
        time.sleep(0.1)
    raise AssertionError("a process is left")


def _alive(number: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except OSError:
        return False


@pytest.fixture
def graph(published: Published, tmp_path: Path) -> Iterator[Served]:
    """A graph of processes to break."""
    server = serve(published.store, "processes", tmp_path / "log")
    yield server
    for number in server.children().values():
        os.kill(number, signal.SIGCONT)
    assert server.stop() == 0


def _deadline(bars: NDArray[np.float64], seconds: float) -> dict[str, object]:
    return {"inputs": [tensor("bars", bars)], "parameters": {"timeout": int(seconds * 1e6)}}


def test_late_members_are_left_out_and_the_answer_says_so(
    graph: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    """A frozen member degrades the answer, which is the offline answer of the others; without any it is 504."""
    members = graph.children()
    os.kill(members["lstm"], signal.SIGSTOP)
    response = post(graph, _deadline(windows[:1], 1.0))
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["parameters"]["degraded"] is True
    assert answer["parameters"]["members"] == "transformer:0.5,xgboost:0.5"
    assert_same_bits(
        {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer["outputs"]},
        published.expected(windows[:1], "transformer", "xgboost"),
    )
    for name in ("transformer", "xgboost"):
        os.kill(members[name], signal.SIGSTOP)
    late = post(graph, _deadline(windows[:1], 0.5))
    assert late.status_code == 504
    assert "lstm: late" in late.json()["error"]
    with pytest.raises(grpc.RpcError) as refused:
        call(graph, grpc_message(windows[:1], timeout=500_000))
    assert refused.value.code().name == "DEADLINE_EXCEEDED"
    for name in ("lstm", "transformer", "xgboost"):
        os.kill(members[name], signal.SIGCONT)
    assert_same_bits(rest_json(graph, windows[:1]), published.expected(windows[:1]))


def test_killed_members_are_left_out_and_without_any_it_is_503(
    graph: Served, published: Published, windows: NDArray[np.float64]
) -> None:
    members = graph.children()
    os.kill(members["xgboost"], signal.SIGKILL)
    assert_same_bits(grpc_raw(graph, windows[:1]), published.expected(windows[:1], "lstm", "transformer"))
    assert httpx.get(graph.http + "/v2/models/wavecast/ready").status_code == 200
    os.kill(members["lstm"], signal.SIGKILL)
    assert_same_bits(rest_json(graph, windows[:1]), published.expected(windows[:1], "transformer"))
    os.kill(members["transformer"], signal.SIGKILL)
    gone = post(graph, _deadline(windows[:1], 5.0))
    assert gone.status_code == 503
    assert "0 of 3 members answered, 1 needed" in gone.json()["error"]
    with pytest.raises(grpc.RpcError) as refused:
        call(graph, grpc_message(windows[:1]))
    assert refused.value.code().name == "UNAVAILABLE"
    unready = httpx.get(graph.http + "/v2/models/wavecast/ready")
    assert (unready.status_code, list(unready.json())) == (503, ["error"])
    assert httpx.get(graph.http + "/v2/health/ready").status_code == 503
    assert httpx.get(graph.http + "/v2/health/live").status_code == 200
    assert "xgboost stopped: exit code -9; answers are degraded" in graph.log.read_text()


def test_without_its_router_the_graph_ends_with_one_line(published: Published, tmp_path: Path) -> None:
    server = serve(published.store, "processes", tmp_path / "log")
    os.kill(server.children()["router"], signal.SIGKILL)
    assert server.ended() == 1
    assert server.log.read_text().splitlines()[-1] == "error: router stopped: exit code -9"


def test_a_large_batch_does_not_block_the_server(published: Published, tmp_path: Path) -> None:
    """While 1,000 windows are computed, health is answered before they are."""
    server = serve(published.store, "embedded", tmp_path / "log")
    bars = np.repeat(nasdaq()[0][None, -128:], 1000, axis=0)
    done = threading.Event()

    def ask() -> None:
        call(server, grpc_message(bars))
        done.set()

    asking = threading.Thread(target=ask)
    asking.start()
    answered = 0
    with httpx.Client(base_url=server.http) as client:
        while not done.is_set():
            assert client.get("/v2/health/live").status_code == 200
            answered += not done.is_set()
    asking.join()
    assert answered >= 3
    assert server.stop() == 0
