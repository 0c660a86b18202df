"""The router's process: ``python -m predictors.router --model-dir DIR --members xgboost=HOST:PORT ...``."""

from __future__ import annotations

import sys

from predictors.core.errors import InvalidInput
from predictors.serving.ensemble import RouterModel
from predictors.serving.peer import Peer
from predictors.serving.registry import Registry
from predictors.serving.release import read_release_folder
from predictors.serving.server import Server, run_process
from predictors.serving.settings import RouterSettings, read_settings
from predictors.serving.work import Worker


def main() -> None:
    """Serve until SIGTERM."""
    settings = read_settings(RouterSettings, arguments=sys.argv[1:])
    release, golden = read_release_folder(settings.model_dir)
    if set(settings.members) != set(release.members):
        raise InvalidInput(
            f"setting 'members' has {', '.join(sorted(settings.members))}; "
            f"release {release.release} needs an address for {', '.join(sorted(release.members))}"
        )
    peers = {kind: Peer(address, settings.retry_s) for kind, address in settings.members.items()}
    worker = Worker(settings.inline_rows, settings.worker_threads)
    Server(settings, worker).start(Registry([RouterModel(release, golden, peers, settings)]))


if __name__ == "__main__":
    run_process(main)
