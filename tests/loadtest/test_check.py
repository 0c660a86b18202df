"""`wavecast check`: nothing wrong with a real server, and every defect of a bad one is named."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import arch.data.nasdaq
import numpy as np
import pytest
from click.testing import CliRunner
from misbehaving_server import INFER, Asked, Change, MisbehavingServer, Reply, altered
from running_server import Served

from predictors.cli.check import check
from predictors.client.access import Access
from predictors.client.checks import check_server
from predictors.client.sample import sample_windows
from predictors.core.errors import DataError
from predictors.store import Store, newest_release, read_golden

GRPC_CHECKS = {"gRPC ready", "gRPC metadata", "gRPC raw forecast", "gRPC typed forecast", "gRPC refusal"}


def _check(*arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and findings by name."""
    ended = CliRunner().invoke(check, [*arguments, "--json"])
    answer = json.loads(ended.output)
    assert answer["ok"] == (ended.exit_code == 0)
    return ended.exit_code, {finding["name"]: finding for finding in answer["checks"]}


def test_a_real_server_is_found_right_over_every_transport(served: Served) -> None:
    """As a process of its own: KServe's SDK must not see, and refuse, its options."""
    command = [sys.executable, "-m", "predictors.cli", "check", served.http, "--grpc", served.grpc]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.endswith("everything works\n")
    assert "REST JSON, REST binary, gRPC raw, gRPC typed" in ended.stdout


def _store(served: Served) -> str:
    return str(served.log.parent / "store")


def test_the_golden_windows_of_the_store_are_replayed_over_every_transport(served: Served) -> None:
    release = newest_release(Store(_store(served)))
    expecting = ("--store", _store(served), "--release", release)
    code, findings = _check(served.http, "--grpc", served.grpc, *expecting)
    assert (code, findings["golden windows"]["status"]) == (0, "ok")
    assert "over REST and gRPC" in findings["golden windows"]["detail"]


def test_answers_that_are_not_the_golden_ones_are_wrong(served: Served) -> None:
    """Those of a release of the same name whose golden windows say something else."""
    release = newest_release(Store(_store(served)))
    golden = read_golden(Store(_store(served)), release)[1]
    changed = {**golden, "variance": 1.01 * golden["variance"]}
    url, asked = served.http, sample_windows
    findings = check_server(url, lambda bars: asked(4, bars, 0), Access(None, None), 10.0, golden=lambda _: changed)
    (found,) = (finding for finding in findings if finding.name == "golden windows")
    assert (found.status, "'variance' differs by" in found.detail) == ("wrong", True)


def test_another_release_than_the_one_expected_is_wrong(served: Served) -> None:
    code, findings = _check(served.http, "--release", "0" * 12)
    assert code == 1
    assert "answers, not 000000000000" in findings["REST model metadata"]["detail"]


def test_bars_of_a_file_are_asked_for_too(served: Served, tmp_path: Path) -> None:
    table = arch.data.nasdaq.load().rename(columns=str.lower).rename_axis("timestamp")
    table.iloc[-140:].to_csv(tmp_path / "bars.csv")
    code, findings = _check(served.http, "--data", str(tmp_path / "bars.csv"))
    assert (code, {finding["status"] for finding in findings.values()}) == (0, {"ok"})
    made_up = _check(served.http)[1]
    assert findings["REST JSON forecast"]["detail"] != made_up["REST JSON forecast"]["detail"]


def test_a_file_that_is_too_short_is_the_users_mistake(served: Served, tmp_path: Path) -> None:
    table = arch.data.nasdaq.load().rename(columns=str.lower).rename_axis("timestamp")
    table.iloc[-100:].to_csv(tmp_path / "bars.csv")
    with pytest.raises(DataError, match="has 100 bars; 128 are needed"):
        CliRunner().invoke(check, [served.http, "--data", str(tmp_path / "bars.csv")], catch_exceptions=False)


def test_a_server_that_is_not_there_is_wrong_once_and_the_rest_is_skipped() -> None:
    code, findings = _check("http://127.0.0.1:9")
    assert code == 1
    assert findings["REST live"]["status"] == "wrong"
    assert "is the server running" in findings["REST live"]["advice"]
    assert {finding["status"] for name, finding in findings.items() if name != "REST live"} == {"skipped"}


def test_a_grpc_port_that_is_not_there_does_not_hide_the_rest(served: Served) -> None:
    code, findings = _check(served.http, "--grpc", "127.0.0.1:9")
    wrong = {name for name, finding in findings.items() if finding["status"] == "wrong"}
    skipped = {name for name, finding in findings.items() if finding["status"] == "skipped"}
    assert (code, wrong, skipped) == (1, {"gRPC ready"}, GRPC_CHECKS - {"gRPC ready"})
    assert "is this its gRPC port" in findings["gRPC ready"]["advice"]


def test_a_right_server_made_by_hand_is_found_right() -> None:
    """Else the tests below would pass for the wrong reason."""
    with MisbehavingServer() as server:
        code, findings = _check(server.url)
    assert (code, {finding["status"] for finding in findings.values()}) == (0, {"ok"}), findings


def _at(path: str, reply: Reply) -> Change:
    async def change(asked: Asked, right: Reply) -> Reply:
        return reply if asked.path == path else right

    return change


def _forecasts(**changes: Any) -> Change:
    async def change(asked: Asked, right: Reply) -> Reply:
        return altered(right, **changes) if right.forecast else right

    return change


async def _last_bit_differs_in_json(asked: Asked, right: Reply) -> Reply:
    if right.forecast is None or right.binary:
        return right
    return altered(right, variance=lambda same: np.nextafter(same, 1.0))


async def _batch_differs(asked: Asked, right: Reply) -> Reply:
    if right.forecast is None or len(right.forecast.tensors["variance"]) == 1:
        return right
    return altered(right, variance=lambda same: same * 1.001)


async def _refusals_are_answered(asked: Asked, right: Reply) -> Reply:
    return Reply(500, {"error": "Traceback"}) if right.status == 400 else right


async def _connection_is_dropped(asked: Asked, right: Reply) -> Reply | None:
    return None if asked.path == INFER else right


def _refusal_spoils_what_follows() -> Change:
    spoiled = False

    async def change(asked: Asked, right: Reply) -> Reply:
        nonlocal spoiled
        spoiled = spoiled or right.status == 400
        return altered(right, variance=lambda same: same * 2) if spoiled and right.forecast else right

    return change


DEFECTS: dict[str, tuple[Change, str, str]] = {
    "not live": (_at("/v2/health/live", Reply(404, {"error": "no route"})), "REST live", "404: no route"),
    "not ready": (
        _at("/v2/health/ready", Reply(503, {"error": "not ready: lstm"})),
        "REST ready",
        "503: not ready: lstm",
    ),
    "another server": (_at("/v2", Reply(200, "<html>")), "REST server metadata", "no JSON object but '<html>'"),
    "no bars": (_at("/v2/models/wavecast", Reply(200, {"inputs": []})), "REST model metadata", "no usable 'outputs'"),
    "no key": (_at(INFER, Reply(401, {"error": "an API key is needed"})), "REST JSON forecast", "an API key is needed"),
    "no metrics": (_at("/metrics", Reply(200, "up 1\n")), "REST metrics", "none of the 1 samples"),
    "any release": (
        _at("/v2/models/wavecast/versions/no-such-release", Reply(200, {})),
        "REST release by name",
        "expected 404",
    ),
    "NaN": (_forecasts(variance=lambda same: same * np.nan), "REST binary forecast", "'variance' holds a NaN"),
    "negative": (_forecasts(variance=lambda same: -same), "REST binary forecast", "expected > 0"),
    "quantiles": (_forecasts(quantiles=lambda same: same[..., ::-1].copy()), "REST JSON forecast", "descend"),
    "shape": (_forecasts(log_variance=lambda same: same[:, :1].copy()), "REST JSON forecast", "expected [1, 2]"),
    "weights": (_forecasts(parameters={"members": "lstm:0.4,xgboost:0.5"}), "REST JSON forecast", "with the sum 1"),
    "members": (_forecasts(parameters={"members": "lstm"}), "REST JSON forecast", "expected kind:weight"),
    "degraded": (_forecasts(parameters={"degraded": True}), "full ensemble", "made by lstm:0.4,xgboost:0.6 only"),
    "release": (_forecasts(parameters={"release": "ba9876543210"}), "full ensemble", "the answer ba9876543210"),
    "no V2": (_at(INFER, Reply(200, {"outputs": 1})), "REST JSON forecast", "no V2 response"),
    "transports": (_last_bit_differs_in_json, "same bits", "'variance' over REST JSON and over REST binary"),
    "batch": (_batch_differs, "REST batch", "not the same alone and in a batch"),
    "refusal": (_refusals_are_answered, "REST refusal", "expected 400"),
    "refused state": (_refusal_spoils_what_follows(), "REST refusal", "not the same bits"),
    "dropped": (_connection_is_dropped, "REST JSON forecast", "cannot be reached"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_named_where_it_is_with_what_to_do(defect: str) -> None:
    change, name, text = DEFECTS[defect]
    with MisbehavingServer(change) as server:
        code, findings = _check(server.url)
    found = findings[name]
    assert (code, found["status"]) == (1, "wrong"), findings
    assert text in found["detail"]
    assert found["advice"]


def test_the_table_names_the_defect_and_the_way_out() -> None:
    with MisbehavingServer(_at(INFER, Reply(401, {"error": "an API key is needed"}))) as server:
        ended = CliRunner().invoke(check, [server.url])
    assert ended.exit_code == 1
    assert "an API key is needed" in ended.output
    assert "--api-key-file" in ended.output
    assert "checks found something wrong" in ended.output


def _ready_at_the_second_time() -> Change:
    asked_before = False

    async def change(asked: Asked, right: Reply) -> Reply:
        nonlocal asked_before
        if asked.path != "/v2/health/ready" or asked_before:
            return right
        asked_before = True
        return Reply(503, {"error": "not ready: lstm"})

    return change


def test_a_server_that_starts_is_waited_for_and_what_is_waited_for_is_said() -> None:
    with MisbehavingServer(_ready_at_the_second_time()) as server:
        ended = CliRunner().invoke(check, [server.url, "--wait", "60s"])
    assert ended.exit_code == 0, ended.output
    assert ended.stderr == "waiting: REST ready: /v2/health/ready answered 503: not ready: lstm\n"
    assert ended.stdout.endswith("everything works\n")


def test_a_server_that_stays_wrong_is_given_up() -> None:
    ended = CliRunner().invoke(check, ["http://127.0.0.1:9", "--wait", "1s"])
    assert ended.exit_code == 1
    assert ended.stderr.count("waiting: REST live: http://127.0.0.1:9 cannot be reached") == 1
    assert "is the server running" in ended.stdout


async def _only_with_the_key(asked: Asked, right: Reply) -> Reply:
    shown = asked.headers.get("authorization") == "Bearer wc_secret"
    return (
        right if shown or asked.path.startswith("/v2/health") else replace(right, status=401, content={"error": "key"})
    )


def test_the_key_of_a_file_is_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("wc_secret\n")
    with MisbehavingServer(_only_with_the_key) as server:
        assert _check(server.url)[0] == 1
        assert _check(server.url, "--api-key-file", str(tmp_path / "key"))[0] == 0
