"""The wavelet transformer's process: ``python -m predictors.wavelet --model-dir DIR --predictor-host HOST:PORT``."""

from __future__ import annotations

import sys
from functools import partial

from predictors.serving.cache import ResponseCache
from predictors.serving.ensemble import ask_router, ask_router_then
from predictors.serving.forecast import WavecastModel
from predictors.serving.peer import Peer
from predictors.serving.registry import Registry
from predictors.serving.release import read_release_folder
from predictors.serving.server import Server, run_process
from predictors.serving.settings import WaveletSettings, read_settings
from predictors.serving.work import Worker


def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(WaveletSettings, arguments=sys.argv[1:])
    release, golden = read_release_folder(settings.model_dir)
    router = Peer(settings.predictor_host)
    worker = Worker(settings.inline_rows, settings.worker_threads)
    ask = partial(ask_router, router, release.release)
    ask_then = partial(ask_router_then, router, release.release)
    cache = ResponseCache.of(settings.cache_windows)
    model = WavecastModel(release, golden, ask, settings, worker, router, cache, forecaster_then=ask_then)
    Server(settings, worker).start(Registry([model]))


if __name__ == "__main__":
    run_process(main)
