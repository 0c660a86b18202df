"""The releases of a store, each as models of this process: the layout ``embedded``."""

from __future__ import annotations

from weakref import WeakValueDictionary

import structlog

from predictors.core.errors import NotFound, StoreError
from predictors.members.lstm import model as lstm
from predictors.members.transformer import model as transformer
from predictors.members.xgboost import model as xgboost
from predictors.serving.cache import ResponseCache
from predictors.serving.ensemble import Ensemble
from predictors.serving.forecast import WavecastModel
from predictors.serving.member import MemberModel
from predictors.serving.model import V2Model
from predictors.serving.settings import ServeSettings
from predictors.serving.work import Worker
from predictors.store import Member, Release, Store, newest_release, read_release

_READS = {module.KIND: module.READS for module in (lstm, transformer, xgboost)}
_log = structlog.get_logger()


class Repository:
    """Makes models of the releases of a store; it keeps none of them."""

    def __init__(self, store: Store, settings: ServeSettings, worker: Worker) -> None:
        self._store = store
        self._settings = settings
        self._worker = worker
        self._cache = ResponseCache.of(settings.cache_windows)
        self._members: WeakValueDictionary[tuple[str, str], MemberModel] = WeakValueDictionary()
        self._loaded: WeakValueDictionary[str, WavecastModel] = WeakValueDictionary()

    def releases(self) -> list[str]:
        """Identifiers of the releases of the store.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            return self._store.names("releases")
        except StoreError as wrong:
            raise _unreadable(wrong) from wrong

    def load(self, release: str) -> list[V2Model]:
        """Read and verify a release (empty for the newest), and replay its golden windows; this blocks.

        Raises
        ------
        NotFound
            If there is none.
        ArtifactError, StoreError, NotReady
            If it cannot be read, was altered, or answers its golden windows otherwise.
        """
        try:
            release = release or newest_release(self._store)
            public = self._loaded.get(release)
            if public is None:
                return self.make(read_release(self._store, release))
        except NotFound as wrong:  # its message has the store's place, which is nobody's business
            raise NotFound(
                f"the store has no release '{release}'" if release else "the store has no release"
            ) from wrong
        except StoreError as wrong:
            raise _unreadable(wrong) from wrong
        return [public, *(self._members[key] for key in public.members.items())]

    def make(self, release: Release) -> list[V2Model]:
        """Models of a release that was read: the public one, then its members, all replayed.

        Raises
        ------
        ArtifactError, NotReady
            If a member cannot be loaded, or an answer differs from the golden one.
        """
        members = {kind: self._member(kind, artifact) for kind, artifact in release.members.items()}
        asks = {kind: member.ask for kind, member in members.items()}
        asks_now = {kind: member.ask_now for kind, member in members.items()}
        ensemble = Ensemble(release.manifest, asks, self._settings.min_members, asks_now)
        public = WavecastModel(
            release.manifest,
            release.golden,
            ensemble,
            self._settings,
            self._worker,
            cache=self._cache,
            forecaster_now=ensemble.now,
        )
        public.load()
        self._loaded[public.version] = public
        return [public, *members.values()]

    def _member(self, kind: str, artifact: Member) -> MemberModel:
        """A member; one that another release loaded is shared."""
        key = (kind, artifact.manifest.version)
        member = self._members.get(key)
        if member is None:
            member = MemberModel(kind, _READS[kind], artifact, self._settings, self._worker)
            member.load()
            self._members[key] = member
        return member


def _unreadable(wrong: StoreError) -> StoreError:
    _log.error("store cannot be read", reason=str(wrong))
    return StoreError("the store cannot be read; the server's log says why")
