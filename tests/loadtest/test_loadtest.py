"""`wavecast loadtest`: every request is accounted for, from the time at which it was due."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from click.testing import CliRunner
from hdrh.histogram import HdrHistogram
from misbehaving_server import Asked, Change, MisbehavingServer, Reply, altered, behave
from running_server import Served

from predictors.cli.loadtest import loadtest
from predictors.core.errors import InvalidInput, NotReady
from predictors.loadtest.alarm import Alarm

SHORT = ("--duration", "500ms", "--warmup", "100ms")
PATIENT = ("--deadline", "30s")


def _load(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report."""
    ended = CliRunner().invoke(loadtest, [*arguments, "--json"], catch_exceptions=False)
    return ended.exit_code, json.loads(ended.stdout)


def _latencies_ms(report: dict[str, Any]) -> list[float]:
    """Every latency, to three digits."""
    histogram = HdrHistogram.decode(report["histogram"])
    return [
        item.value_iterated_to / 1e3
        for item in histogram.get_recorded_iterator()
        for _ in range(item.count_at_value_iterated_to)
    ]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("protocol", ["rest-json", "rest-binary", "grpc"])
def test_a_real_server_answers_all_requests_of_a_fixed_rate(served: Served, protocol: str, batch: int) -> None:
    url = served.grpc if protocol == "grpc" else served.http
    options = ("--protocol", protocol, "--batch", str(batch), "--rate", "60")
    code, report = _load(url, *options, *SHORT, *PATIENT)
    assert (code, report["errors"]) == (0, {})
    # 60 requests a second for half a second, of which the last may be due at its very end.
    assert report["requests"] == report["answered"] == report["judged"] == pytest.approx(30, abs=1)
    assert report["degraded"] == 0
    assert len(_latencies_ms(report)) == report["answered"]


@pytest.mark.parametrize("protocol", ["rest-json", "rest-binary", "grpc"])
def test_a_closed_loop_keeps_every_connection_asking(served: Served, protocol: str) -> None:
    url = served.grpc if protocol == "grpc" else served.http
    code, report = _load(url, "--protocol", protocol, "--connections", "3", *SHORT, *PATIENT)
    assert (code, report["errors"]) == (0, {})
    assert report["answered"] == report["judged"] >= 3


def test_the_same_from_the_command_line_with_a_picture(served: Served, tmp_path: Path) -> None:
    """As a process of its own: KServe's SDK must not see, and refuse, its options."""
    command = [sys.executable, "-m", "predictors.cli", "loadtest", served.grpc, "--protocol", "grpc", *SHORT, *PATIENT]
    limits = ["--p99", "60s", "--errors", "0%", "--picture", "load.svg"]
    ended = subprocess.run([*command, *limits], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "closed loop, 8 connections" in ended.stdout
    assert "p99        met" in ended.stdout
    picture = ET.parse(tmp_path / "load.svg").getroot()  # noqa: S314 - we wrote it
    lines = picture.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.attrib["points"].split()) > 0 for line in lines] == [True] * 4


def _every_third(change: Change) -> Change:
    async def changed(asked: Asked, right: Reply) -> Any:
        return await change(asked, right) if asked.number % 3 == 2 else right

    return changed


async def _busy(asked: Asked, right: Reply) -> Reply:
    return Reply(503, {"error": "not ready: lstm"})


async def _broken(asked: Asked, right: Reply) -> Reply:
    return Reply(500, {"error": "internal error"})


async def _not_a_number(asked: Asked, right: Reply) -> Reply:
    return altered(right, variance=lambda same: same * np.nan)


async def _too_few(asked: Asked, right: Reply) -> Reply:
    return altered(right, variance=lambda same: same[:, :1].copy())


async def _no_content(asked: Asked, right: Reply) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


async def _no_http(asked: Asked, right: Reply) -> bytes:
    return b"hello\r\n\r\n"


async def _dropped(asked: Asked, right: Reply) -> None:
    return None


async def _half(asked: Asked, right: Reply) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"


async def _slow(asked: Asked, right: Reply) -> Reply:
    await asyncio.sleep(3600)
    return right


async def _closing(asked: Asked, right: Reply) -> bytes:
    return b"HTTP/1.1 503 X\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


DEFECTS: dict[str, tuple[Change, str, str]] = {
    "busy": (_busy, "HTTP 503", "not ready: lstm"),
    "broken": (_broken, "HTTP 500", "internal error"),
    "closing": (_closing, "HTTP 503", "{}"),
    "NaN": (_not_a_number, "wrong content", "'variance' holds a NaN"),
    "shape": (_too_few, "wrong content", "expected [1, 2]"),
    "empty": (_no_content, "wrong content", "no V2 response"),
    "garbage": (_no_http, "not HTTP", "hello"),
    "dropped": (_dropped, "connection lost", "before its answer was complete"),
    "slow": (_slow, "deadline", "no answer within"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_third_answer_is_wrong_and_every_third_is_counted(defect: str) -> None:
    """With the first message of its kind; connections that break are made anew."""
    change, kind, text = DEFECTS[defect]
    with MisbehavingServer(_every_third(change)) as server:
        deadline = "500ms" if kind == "deadline" else "30s"
        options = ("--rate", "60", "--connections", "16", "--errors", "10%", "--deadline", deadline)
        code, report = _load(server.url, *options, *SHORT)
    assert code == 1
    assert report["errors"].keys() == {kind}, report["examples"]
    assert text in report["examples"][kind]
    assert report["errors"][kind] == pytest.approx(report["requests"] / 3, abs=1)
    assert report["answered"] + report["errors"][kind] == report["requests"]
    # Refusals and breaks have no latency; giving up has one, the deadline at least.
    given_up = report["errors"].get("deadline", 0)
    assert len(_latencies_ms(report)) == report["answered"] + given_up
    if given_up:
        assert report["latency_ms"]["max"] >= 500 * 0.999


def test_half_an_answer_is_none() -> None:
    with MisbehavingServer(_every_third(_half)) as server:
        _, report = _load(server.url, "--rate", "30", "--deadline", "300ms", *SHORT)
    assert report["errors"].keys() == {"deadline"}


def test_degraded_answers_are_counted_and_are_no_errors() -> None:
    async def change(asked: Asked, right: Reply) -> Reply:
        return altered(right, {"degraded": True}) if asked.number % 2 else right

    with MisbehavingServer(change) as server:
        code, report = _load(server.url, "--rate", "60", *SHORT, *PATIENT)
    assert (code, report["errors"]) == (0, {})
    assert report["degraded"] == pytest.approx(report["answered"] / 2, abs=1)


def test_a_wrong_answer_is_found_among_answers_that_never_repeat() -> None:
    """Right ones are then looked at in part, and the report says how many."""

    async def change(asked: Asked, right: Reply) -> Reply:
        return altered(right, variance=lambda same: same * (1 + 1e-9 * asked.number))

    with MisbehavingServer(change) as server:
        code, report = _load(server.url, "--connections", "4", "--duration", "3s", "--warmup", "1us", *PATIENT)
    assert (code, report["errors"]) == (0, {})
    seen, rest = min(report["answered"], 1024), max(0, report["answered"] - 1024)
    assert report["judged"] == pytest.approx(seen + rest / 16, abs=2)


STALL_S = 0.5


async def _stalls_once(asked: Asked, right: Reply) -> Reply:
    if asked.number == 60:
        time.sleep(STALL_S)  # of the loop, so that all connections wait
    return right


def test_an_open_loop_charges_a_stall_to_every_request_that_was_due() -> None:
    """At 100 requests a second some 40 are due while 100 ms or more of the pause are left: no omission."""
    with MisbehavingServer(_stalls_once) as server:
        options = ("--rate", "100", "--duration", "3s", "--warmup", "100ms", "--connections", "4")
        _, report = _load(server.url, *options, *PATIENT)
    waited = [latency for latency in _latencies_ms(report) if latency >= 100]
    assert len(waited) >= 38
    assert report["latency_ms"]["p99"] >= 1e3 * STALL_S * 0.9
    assert report["answered"] == report["requests"] == pytest.approx(300, abs=1)


def test_requests_that_no_connection_was_free_for_are_given_up_at_their_deadline() -> None:
    with MisbehavingServer(_slow) as server:
        code, report = _load(server.url, "--rate", "100", "--connections", "2", "--deadline", "200ms", *SHORT)
    assert code == 1
    assert (report["answered"], report["errors"]) == (0, {"deadline": report["requests"]})
    assert report["requests"] == pytest.approx(50, abs=1)


def test_thresholds_set_the_exit_code() -> None:
    with MisbehavingServer() as server:
        assert (
            _load(server.url, "--rate", "20", "--p99", "60s", "--max", "1m", "--errors", "0%", *SHORT, *PATIENT)[0] == 0
        )
        code, report = _load(server.url, "--rate", "20", "--p50", "1us", "--p99.9", "60s", *SHORT, *PATIENT)
    assert code == 1
    assert [(verdict["name"], verdict["met"]) for verdict in report["thresholds"]] == [("p50", False), ("p99.9", True)]


def test_an_interrupt_ends_it_and_reports_what_was_measured() -> None:
    command = [sys.executable, "-m", "predictors.cli", "loadtest", "--json", "--duration", "10m", "--warmup", "1us"]
    with (
        MisbehavingServer() as server,
        subprocess.Popen([*command, server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process,
    ):
        assert server.asked.wait(60)
        while server.forecasts < 100:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    report = json.loads(out)
    assert (process.returncode, err, report["interrupted"]) == (130, b"", True)
    assert report["answered"] > 0
    assert report["errors"] == {}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("http://127.0.0.1:9", "--duration", "2h"), "'2h' is no time"),
        (("http://127.0.0.1:9", "--errors", "0.1"), "'0.1' is no share"),
        (("http://127.0.0.1:9", "--rate", "0"), "--rate"),
        (("http://127.0.0.1:9", "--protocol", "soap"), "--protocol"),
        (("http://127.0.0.1:9", "--api-key-file", "/no/such/file"), "does not exist"),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: tuple[str, ...], text: str) -> None:
    ended = CliRunner().invoke(loadtest, arguments)
    assert ended.exit_code == 2
    assert text in ended.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("127.0.0.1:9",), "server '127.0.0.1:9' is not understood"),
        (("http://127.0.0.1:9", "--protocol", "grpc"), "gRPC address 'http://127.0.0.1:9' is not understood"),
        (("http://127.0.0.1:9", "--duration", "61m"), "at most 60m"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(arguments: tuple[str, ...], text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        _load(*arguments)


@pytest.mark.parametrize("arguments", [("http://127.0.0.1:9",), ("127.0.0.1:9", "--protocol", "grpc")])
def test_a_server_that_is_not_there_is_not_loaded(arguments: tuple[str, ...]) -> None:
    with pytest.raises(NotReady, match="127.0.0.1:9 cannot be reached"):
        _load(*arguments)


def test_a_request_that_is_refused_as_wrong_is_not_repeated_a_thousand_times(served: Served) -> None:
    with pytest.raises(InvalidInput, match="nothing to measure: HTTP 400.*at least 128 are needed"):
        _load(served.http, "--bars", "100")
    with pytest.raises(InvalidInput, match="nothing to measure: gRPC INVALID_ARGUMENT.*at least 128 are needed"):
        _load(served.grpc, "--protocol", "grpc", "--bars", "100")
    with MisbehavingServer(behave) as server, pytest.raises(InvalidInput, match="HTTP 404.*there is no /elsewhere"):
        _load(f"{server.url}/elsewhere")


def test_an_alarm_never_rings_early() -> None:
    async def ring() -> list[float]:
        alarm = Alarm()
        late = []
        for step in range(50):
            due = time.monotonic() + 0.0003 * step
            await alarm.sleep_until(due)
            late.append(time.monotonic() - due)
        await alarm.sleep_until(time.monotonic() - 1)  # a time that has passed does not wait
        alarm.close()
        return late

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert min(runner.run(ring())) >= 0
