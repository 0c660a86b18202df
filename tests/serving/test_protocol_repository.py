"""A further release of the store is loaded beside the one that answers, and unloaded again."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub
from numpy.typing import NDArray
from running_server import Published, Served, serve
from small_release import publish_release
from v2_requests import INFER, assert_same_bits, tensor

from predictors.core.artifact import RELEASE, ReleaseManifest
from predictors.core.errors import NotFound
from predictors.members.onnx_member import OnnxMember
from predictors.serving.registry import Registry
from predictors.serving.repository import Repository
from predictors.serving.settings import ServeSettings, read_settings
from predictors.serving.work import Worker
from predictors.store import Store, read_release

MODELS = "/v2/repository/models/wavecast"


@dataclass(slots=True)
class Two:
    """A store with an older and a newer release, and one that answers its golden windows otherwise."""

    store: Path
    old: Published
    new: Published
    wrong: ReleaseManifest


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    store = tmp_path_factory.mktemp("two") / "store"
    old = publish_release(store, created="2026-01-01T00:00:00Z")
    new = publish_release(store, penalty_factor=10.0, created="2026-01-03T00:00:00Z")
    wrong = publish_release(store, penalty_factor=100.0, release_factor=1.01, created="2026-01-02T00:00:00Z")
    return Two(store, _published(store, old), _published(store, new), wrong)


def _published(store: Path, manifest: ReleaseManifest) -> Published:
    release = read_release(Store(str(store)), manifest.release)
    return Published(store, manifest, {kind: OnnxMember(member.model) for kind, member in release.members.items()})


@pytest.fixture(scope="module")
def started(two: Two, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("served") / "log"
    server = serve(two.store, "embedded", log, WAVECAST_RELEASE=two.old.manifest.release)
    yield server
    assert server.stop() == 0, server.log.read_text()
    assert "Traceback" not in server.log.read_text()


@pytest.fixture
def server(started: Served, two: Two) -> Served:
    """Serves the older release alone."""
    _change(started, "load", two.old.manifest.release)
    _change(started, "unload", two.new.manifest.release)
    return started


def _change(server: Served, verb: str, release: str | None = None, model: str = "wavecast") -> httpx.Response:
    body = {} if release is None else {"parameters": {"release": release}}
    return httpx.post(f"{server.http}/v2/repository/models/{model}/{verb}", json=body, timeout=60)


def _answer(server: Served, bars: NDArray[np.float64], path: str = INFER, **headers: str) -> tuple[str, dict[str, Any]]:
    """Release and tensors of a forecast."""
    response = httpx.post(server.http + path, json={"inputs": [tensor("bars", bars)]}, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["parameters"]["release"] == answer["model_version"]
    return answer["model_version"], {o["name"]: np.array(o["data"]).reshape(o["shape"]) for o in answer["outputs"]}


def _versions(server: Served, model: str = "wavecast") -> list[str]:
    found: list[str] = httpx.get(f"{server.http}/v2/models/{model}").json()["versions"]
    return found


def test_a_release_is_loaded_asked_by_path_header_and_metadata_and_unloaded(
    server: Served, two: Two, windows: NDArray[np.float64]
) -> None:
    old, new = two.old.manifest.release, two.new.manifest.release
    bars = windows[:1]
    assert _versions(server) == [old]
    assert _change(server, "load", new).json() == {"name": "wavecast", "version": new, "load": True}
    assert _versions(server) == [old, new]
    assert _versions(server, "lstm") == [two.old.manifest.members["lstm"], two.new.manifest.members["lstm"]]

    expected = {old: two.old.expected(bars), new: two.new.expected(bars)}
    for answered, tensors in (
        _answer(server, bars),
        *(_answer(server, bars, f"/v2/models/wavecast/versions/{one}/infer") for one in (old, new)),
        *(_answer(server, bars, **{"x-wavecast-release": one}) for one in (old, new)),
    ):
        assert_same_bits(tensors, expected[answered])
    assert _answer(server, bars)[0] == new, "the newest loaded answers when none is named"
    with grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        message = pb.ModelInferRequest(model_name="wavecast")
        message.inputs.add(name="bars", datatype="FP64", shape=bars.shape)
        message.raw_input_contents.append(bars.tobytes())
        for one in (old, new):
            assert stub.ModelInfer(message, metadata=[("x-wavecast-release", one)]).model_version == one
        assert list(stub.ModelMetadata(pb.ModelMetadataRequest(name="wavecast")).versions) == [old, new]

    path = f"/v2/models/wavecast/versions/{old}/infer"
    both = httpx.post(server.http + path, json={}, headers={"x-wavecast-release": new})
    assert (both.status_code, new in both.json()["error"], old in both.json()["error"]) == (400, True, True)

    assert _change(server, "unload", old).status_code == 200
    assert _versions(server) == [new]
    gone = httpx.post(server.http + INFER, json={}, headers={"x-wavecast-release": old})
    assert (gone.status_code, new in gone.json()["error"]) == (404, True)
    assert _answer(server, bars)[0] == new


def test_to_load_the_former_release_again_is_a_roll_back(
    server: Served, two: Two, windows: NDArray[np.float64]
) -> None:
    old, new = two.old.manifest.release, two.new.manifest.release
    assert _change(server, "load").json()["version"] == new, "without a name it is the newest of the store"
    assert _change(server, "load", old).status_code == 200
    assert _versions(server) == [new, old]
    assert _answer(server, windows[:1])[0] == old


def test_while_a_release_is_loaded_the_others_answer(server: Served, two: Two, windows: NDArray[np.float64]) -> None:
    """Not one request fails, and every one is answered by one release as a whole."""
    expected = {p.manifest.release: p.expected(windows[:1]) for p in (two.old, two.new)}
    done = threading.Event()
    answers: list[tuple[str, dict[str, Any]]] = []

    def ask() -> None:
        while not done.is_set():
            answers.append(_answer(server, windows[:1]))

    asking = threading.Thread(target=ask)
    asking.start()
    for _ in range(3):
        for published in (two.new, two.old):
            assert _change(server, "load", published.manifest.release).status_code == 200
        assert _change(server, "unload", two.new.manifest.release).status_code == 200
    done.set()
    asking.join()
    for release, tensors in answers:
        assert_same_bits(tensors, expected[release])


def test_a_release_that_answers_its_golden_windows_otherwise_is_not_loaded(
    server: Served, two: Two, windows: NDArray[np.float64]
) -> None:
    refused = _change(server, "load", two.wrong.release)
    assert (refused.status_code, "golden replay" in refused.json()["error"]) == (503, True)
    assert _versions(server) == [two.old.manifest.release]
    assert_same_bits(_answer(server, windows[:1])[1], two.old.expected(windows[:1]))


def test_an_altered_release_is_not_loaded(server: Served, two: Two) -> None:
    manifest = two.store / "releases" / two.new.manifest.release / RELEASE
    content = manifest.read_bytes()
    try:
        manifest.write_bytes(content.replace(b"0.9", b"0.8", 1))
        refused = _change(server, "load", two.new.manifest.release)
    finally:
        manifest.write_bytes(content)
    assert refused.status_code == 500
    assert "altered" in refused.json()["error"]
    assert str(two.store) not in refused.text
    assert _versions(server) == [two.old.manifest.release]


@pytest.mark.parametrize(
    ("verb", "release", "model", "status", "word"),
    [
        ("load", "0123456789ab", "wavecast", 404, "0123456789ab"),
        ("load", "../../secret", "wavecast", 404, "12 hexadecimal"),
        ("load", None, "nobody", 404, "'nobody'"),
        ("load", None, "lstm", 400, "with its release"),
        ("unload", None, "wavecast", 400, "'release' is missing"),
        ("unload", "0123456789ab", "wavecast", 404, "0123456789ab"),
        ("unload", "{old}", "wavecast", 400, "so it stays"),
    ],
)
def test_what_cannot_be_loaded_or_unloaded_is_refused_by_name(
    served: Served, published: Published, verb: str, release: str | None, model: str, status: int, word: str
) -> None:
    """Where there is a store; the layout of processes has none, and says that."""
    wanted = None if release is None else release.format(old=published.manifest.release)
    refused = _change(served, verb, wanted, model)
    if served.children():
        assert (refused.status_code, "the one release" in refused.json()["error"]) == (400, True)
        return
    assert refused.status_code == status, refused.text
    assert word in refused.json()["error"]
    assert str(published.store) not in refused.text


def test_the_index_lists_what_is_loaded_and_what_could_be(server: Served, two: Two) -> None:
    index = httpx.post(server.http + "/v2/repository/index").json()
    states = {(entry["name"], entry["version"]): (entry["state"], entry["reason"]) for entry in index}
    old = two.old.manifest
    assert {key for key, state in states.items() if state[0] == "READY"} == {
        ("wavecast", old.release),
        *old.members.items(),
    }
    for release in (two.new.manifest.release, two.wrong.release):
        assert states["wavecast", release] == ("UNAVAILABLE", "not loaded")
    ready = httpx.post(server.http + "/v2/repository/index", json={"ready": True}).json()
    assert {entry["state"] for entry in ready} == {"READY"}


def test_grpc_loads_and_unloads_the_release_of_its_metadata(server: Served, two: Two) -> None:
    old, new = two.old.manifest.release, two.new.manifest.release
    with grpc.insecure_channel(server.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        load = pb.RepositoryModelLoadRequest(model_name="wavecast")
        assert stub.RepositoryModelLoad(load, metadata=[("x-wavecast-release", new)]).isLoaded
        assert _versions(server) == [old, new]
        unload = pb.RepositoryModelUnloadRequest(model_name="wavecast")
        with pytest.raises(grpc.RpcError) as refused:
            stub.RepositoryModelUnload(unload, metadata=[("x-wavecast-release", new)])
        assert refused.value.code().name == "INVALID_ARGUMENT"
        assert stub.RepositoryModelUnload(unload, metadata=[("x-wavecast-release", old)]).isUnloaded
    assert _versions(server) == [new]


@pytest.mark.parametrize(
    "body", [b"[]", b"{", b'{"release": "a"}', b'{"parameters": []}', b'{"parameters": {"release": 1}}', b"\xff"]
)
def test_a_malformed_body_is_refused(served: Served, body: bytes) -> None:
    for path in (f"{MODELS}/load", f"{MODELS}/unload"):
        refused = httpx.post(served.http + path, content=body, headers={"content-type": "application/json"})
        assert (refused.status_code, list(refused.json())) == (400, ["error"])


def test_an_unloaded_release_is_freed(two: Two) -> None:
    """Nothing keeps its models, so their memory goes when the last answer is sent."""
    worker = Worker(4, 1)
    store = Store(str(two.store))
    repository = Repository(store, read_settings(ServeSettings, {"store": str(two.store)}), worker)
    registry = Registry(repository.make(read_release(store, two.old.manifest.release)), repository)
    kept = [weakref.ref(model) for model in registry.models.values()]

    async def change() -> None:
        await registry.load("wavecast", two.new.manifest.release)
        await registry.unload("wavecast", two.old.manifest.release)
        with pytest.raises(NotFound):
            registry.find("wavecast", two.old.manifest.release)

    asyncio.run(change())
    gc.collect()
    assert [ref() for ref in kept] == [None] * 4
    worker.close()
