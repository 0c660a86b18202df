"""With a member killed, hung or returning garbage no public request fails; when it is back, it takes part again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from graph_parts import GARBAGE, Graph
from numpy.typing import NDArray
from running_server import Published
from v2_requests import assert_same_bits, call, grpc_message, post, tensor

DEADLINE_S = 5.0
BACK_S = 30.0
"""Far more than the breaker's pauses, because the machine may be busy."""

Windows = NDArray[np.float64]


@pytest.fixture(scope="module")
def graph(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graph]:
    """A graph that every test leaves whole."""
    graph = Graph(published, tmp_path_factory.mktemp("graph"))
    try:
        graph.start()
        yield graph
    finally:
        graph.stop()
    for part in graph.parts:
        assert "Traceback" not in part.log.read_text()


def _ask(graph: Graph, bars: Windows, timeout_s: float = DEADLINE_S) -> Any:
    content = {"inputs": [tensor("bars", bars)], "parameters": {"timeout": int(timeout_s * 1e6)}}
    return post(graph.wavelet.served, content)


def _members(response: httpx.Response) -> str:
    assert response.status_code == 200, response.text
    return "+".join(part.partition(":")[0] for part in response.json()["parameters"]["members"].split(","))


def _assert_answer(response: httpx.Response, published: Published, bars: Windows, *kinds: str) -> None:
    """The offline answer of exactly these members."""
    assert _members(response) == "+".join(kinds)
    outputs = {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in response.json()["outputs"]}
    assert_same_bits(outputs, published.expected(bars, *kinds))


def _until_whole(graph: Graph, bars: Windows) -> None:
    """Ask until all members take part again; nothing fails meanwhile."""
    deadline = time.monotonic() + BACK_S
    while _members(_ask(graph, bars)) != "lstm+transformer+xgboost":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    _assert_answer(_ask(graph, bars), graph.published, bars, "lstm", "transformer", "xgboost")


@contextmanager
def _mode(graph: Graph, mode: str, bars: Windows) -> Iterator[None]:
    graph.traitor.mode = mode
    try:
        yield
    finally:
        graph.traitor.mode = "well"
        _until_whole(graph, bars)


@pytest.mark.parametrize("mode", GARBAGE)
def test_garbage_is_left_out_not_averaged(graph: Graph, windows: Windows, mode: str) -> None:
    with _mode(graph, mode, windows[:1]):
        for _ in range(5):
            _assert_answer(_ask(graph, windows[:1]), graph.published, windows[:1], "lstm", "transformer")


def test_a_member_that_keeps_failing_is_not_asked_by_requests_any_more(graph: Graph, windows: Windows) -> None:
    with _mode(graph, "error", windows[:1]):
        opened = graph.router.log.read_text().count("breaker opened")
        for _ in range(3):
            _assert_answer(_ask(graph, windows[:1]), graph.published, windows[:1], "lstm", "transformer")
        _until(lambda: graph.router.log.read_text().count("breaker opened") > opened)
        asked = graph.traitor.calls
        started = time.monotonic()
        for _ in range(200):
            _members(_ask(graph, windows[:1]))
        probes_at_most = (time.monotonic() - started) / 0.5 + 1
        assert graph.traitor.calls - asked <= probes_at_most


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BACK_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_frozen_member_makes_no_request_fail(graph: Graph, windows: Windows) -> None:
    lstm = graph.members["lstm"].process
    assert lstm is not None
    os.kill(lstm.pid, signal.SIGSTOP)
    try:
        for _ in range(30):
            _assert_answer(_ask(graph, windows[:1]), graph.published, windows[:1], "transformer", "xgboost")
        ready = httpx.get(f"{graph.wavelet.served.http}/v2/models/wavecast/ready")
        assert ready.status_code == 200, ready.text
    finally:
        os.kill(lstm.pid, signal.SIGCONT)
    _until_whole(graph, windows[:1])


def test_a_killed_member_takes_part_again_when_it_is_back(graph: Graph, windows: Windows) -> None:
    lstm = graph.members["lstm"]
    lstm.kill()
    for _ in range(30):
        _assert_answer(_ask(graph, windows[:1]), graph.published, windows[:1], "transformer", "xgboost")
    lstm.start()
    lstm.wait_ready("lstm")
    _until_whole(graph, windows[:1])


def test_a_router_and_a_wavelet_that_start_while_a_member_is_down_become_ready(graph: Graph, windows: Windows) -> None:
    """The golden windows are replayed for the members that answer, against what those answered at the release."""
    lstm = graph.members["lstm"]
    lstm.kill()
    for part in (graph.router, graph.wavelet):
        part.kill()
        part.start()
    graph.wavelet.wait_ready("wavecast")
    _assert_answer(_ask(graph, windows[:1]), graph.published, windows[:1], "transformer", "xgboost")
    lstm.start()
    lstm.wait_ready("lstm")
    _until_whole(graph, windows[:1])


def test_without_any_member_it_is_503_in_time_and_well_again_afterwards(graph: Graph, windows: Windows) -> None:
    for part in graph.members.values():
        part.kill()
    graph.traitor.mode = "hung"
    try:
        codes = [_ask(graph, windows[:1], 1.0).status_code for _ in range(6)]
        assert set(codes) <= {503, 504}
        _until(lambda: _ask(graph, windows[:1], 1.0).status_code == 503)
        gone = _ask(graph, windows[:1], 1.0)
        assert "0 of 3 members answered, 1 needed" in gone.json()["error"]
        with pytest.raises(grpc.RpcError) as refused:
            call(graph.wavelet.served, grpc_message(windows[:1], timeout=1_000_000))
        assert refused.value.code().name == "UNAVAILABLE"
    finally:
        graph.traitor.mode = "well"
        for part in graph.members.values():
            part.start()
    for kind, part in graph.members.items():
        part.wait_ready(kind)
    _until_whole(graph, windows[:1])


@pytest.mark.parametrize(("parameter_s", "transport_s"), [(2.0, 60.0), (60.0, 2.0)])
def test_members_get_what_is_left_of_the_smaller_deadline(
    graph: Graph, windows: Windows, parameter_s: float, transport_s: float
) -> None:
    message = grpc_message(windows[:1], timeout=int(parameter_s * 1e6))
    call(graph.wavelet.served, message, timeout=transport_s)
    assert 0.0 < graph.traitor.left_s < 2.0


def test_features_of_another_spec_are_refused_by_the_router(graph: Graph, windows: Windows) -> None:
    metadata = httpx.get(f"{graph.router.served.http}/v2/models/wavecast").json()
    inputs = [tensor(t["name"], np.zeros((1, *t["shape"][1:])), datatype="FP32") for t in metadata["inputs"]]
    refused = post(graph.router.served, {"inputs": inputs, "parameters": {"spec": "0" * 64}})
    assert refused.status_code == 400
    assert metadata["parameters"]["spec"] in refused.json()["error"]
