"""Each process alone, as its image runs it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from graph_parts import START_S, Part, free_port
from numpy.typing import NDArray
from running_server import Published, Served
from small_release import SPEC
from v2_requests import call, grpc_message, post, tensor

from predictors.core.artifact import MemberManifest
from predictors.wavelet.features import compute_features


@contextmanager
def _process(module: str, log: Path, *flags: str) -> Iterator[Served]:
    """One process of the graph, once it is alive; afterwards it must end cleanly."""
    http, rpc = free_port(), free_port()
    arguments = [*flags, "--http_port", str(http), "--grpc-port", str(rpc)]
    with log.open("w") as errors:
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], stderr=errors, text=True)
    server = Served(process, f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc}", log)
    for _ in range(600):
        try:
            httpx.get(server.http + "/v2/health/live")
            break
        except httpx.ConnectError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    yield server
    assert server.stop() == 0, log.read_text()


def _artifact(published: Published, kind: str) -> str:
    return str(published.store / "models" / kind / published.manifest.members[kind])


def _inputs(bars: NDArray[np.float64]) -> list[dict[str, Any]]:
    block = compute_features(bars, SPEC)
    pairs = (("tabular", block.tabular), ("sequence", block.sequence))
    return [tensor(name, array, datatype="FP32") for name, array in pairs]


@pytest.mark.parametrize("kind", ["xgboost", "lstm", "transformer"])
def test_a_member_serves_its_artifact_to_those_with_its_features(
    published: Published, windows: NDArray[np.float64], tmp_path: Path, kind: str
) -> None:
    infer = f"/v2/models/{kind}/infer"
    inputs = _inputs(windows[:1])
    with _process(f"predictors.members.{kind}", tmp_path / "log", "--model-dir", _artifact(published, kind)) as member:
        metadata = httpx.get(f"{member.http}/v2/models/{kind}").json()
        assert metadata["versions"] == [published.manifest.members[kind]]
        assert metadata["parameters"]["spec"] == SPEC.hash
        assert httpx.get(f"{member.http}/v2/models/{kind}/ready").status_code == 200

        answer = post(member, {"inputs": inputs, "parameters": {"spec": SPEC.hash}}, infer).json()
        block = compute_features(windows[:1], SPEC)
        expected = published.members[kind].log_variance(block.tabular, block.sequence)
        assert np.array(answer["outputs"][0]["data"]).tobytes() == expected.tobytes()

        for parameters in ({}, {"spec": "0" * 64}):
            refused = post(member, {"inputs": inputs, "parameters": parameters}, infer)
            assert refused.status_code == 400
            assert "'spec'" in refused.json()["error"]
            assert SPEC.hash in refused.json()["error"]
        narrow = [tensor("tabular", np.ones((1, 3)), datatype="FP32"), inputs[1]]
        refused = post(member, {"inputs": narrow, "parameters": {"spec": SPEC.hash}}, infer)
        assert refused.status_code == 400
        assert "'tabular' has shape [1, 3]" in refused.json()["error"]


def test_without_its_router_the_wavelet_process_is_alive_but_not_ready(
    published: Published, windows: NDArray[np.float64], tmp_path: Path
) -> None:
    folder = str(published.store / "releases" / published.manifest.release)
    flags = ("--model-dir", folder, "--predictor-host", f"127.0.0.1:{free_port()}")
    with _process("predictors.wavelet", tmp_path / "log", *flags) as wavelet:
        assert httpx.get(wavelet.http + "/v2/models/wavecast/ready").status_code == 503
        refused = post(wavelet, {"inputs": [tensor("bars", windows[:1])]})
        assert (refused.status_code, refused.json()) == (503, {"error": "model 'wavecast' is not ready"})
        with pytest.raises(grpc.RpcError) as unavailable:
            call(wavelet, grpc_message(windows[:1]))
        assert unavailable.value.code().name == "UNAVAILABLE"


@pytest.mark.parametrize("spec", [SPEC.hash, "f" * 64])
def test_a_router_is_not_ready_with_a_member_of_other_features(published: Published, tmp_path: Path, spec: str) -> None:
    """Not even degraded: the release was put together wrongly."""
    folder = tmp_path / "lstm"
    shutil.copytree(_artifact(published, "lstm"), folder)
    manifest = MemberManifest.from_json((folder / "manifest.json").read_bytes(), "lstm")
    manifest = replace(manifest, spec_hash=spec, version="")
    manifest = replace(manifest, version=manifest.content_version())
    (folder / "manifest.json").write_bytes(manifest.to_json())
    release = replace(published.manifest, members=published.manifest.members | {"lstm": manifest.version}, release="")
    release = replace(release, release=release.content_version())
    shutil.copytree(published.store / "releases" / published.manifest.release, tmp_path / "release")
    (tmp_path / "release" / "release.json").write_bytes(release.to_json())

    lstm = Part("predictors.members.lstm", ("--model-dir", str(folder)), tmp_path / "lstm.log")
    xgboost = Part(
        "predictors.members.xgboost", ("--model-dir", _artifact(published, "xgboost")), tmp_path / "xgboost.log"
    )
    addresses = f"lstm={lstm.address},xgboost={xgboost.address},transformer=127.0.0.1:{free_port()}"
    flags = ("--model-dir", str(tmp_path / "release"), "--members", addresses, "--members-wait-s", "0")
    router = Part("predictors.router", flags, tmp_path / "router.log")
    try:
        for part in (lstm, xgboost):
            part.start()
        lstm.wait_ready("lstm")
        xgboost.wait_ready("xgboost")
        router.start()
        if spec == SPEC.hash:
            router.wait_ready("wavecast")
            return
        reason = f"lstm {manifest.version}: parameter 'spec' is '{SPEC.hash}'; model 'lstm' reads features of spec"
        give_up = time.monotonic() + START_S
        while router.log.read_text().count(reason) < 3:  # it asks again, and again in vain
            assert time.monotonic() < give_up, router.log.read_text()
            time.sleep(0.1)
        assert httpx.get(f"{router.served.http}/v2/models/wavecast/ready").status_code == 503
    finally:
        for part in (lstm, xgboost, router):
            if part.process is not None:
                part.kill()


@pytest.mark.parametrize(
    ("module", "flags", "code", "message"),
    [
        ("predictors.members.lstm", ["--model-dir", "{xgboost}"], 1, "of kind 'xgboost'; this server is for 'lstm'"),
        ("predictors.members.lstm", ["--model-dir", "/nowhere"], 2, "/nowhere"),
        (
            "predictors.router",
            ["--model-dir", "{release}", "--members", "lstm=a:1"],
            2,
            "needs an address for lstm,",
        ),
        ("predictors.wavelet", ["--model-dir", "{release}"], 2, "predictor_host"),
    ],
)
def test_a_process_that_is_set_up_wrongly_says_so_in_one_line(
    published: Published, module: str, flags: list[str], code: int, message: str
) -> None:
    folders = {
        "xgboost": _artifact(published, "xgboost"),
        "release": str(published.store / "releases" / published.manifest.release),
    }
    arguments = [flag.format(**folders) for flag in flags]
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert re.fullmatch(r"error: .*\n", done.stderr), done.stderr
    assert message in done.stderr
