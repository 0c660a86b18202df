"""The whole path in one process: bars -> features -> members -> combination."""

from __future__ import annotations

from predictors.core.errors import ArtifactError
from predictors.core.forecast import Forecast
from predictors.core.golden import OUTPUTS, check_golden_answer
from predictors.core.window import OhlcvWindow, check_windows
from predictors.members.onnx_member import OnnxMember, replay
from predictors.router.combine import combine
from predictors.store import Release
from predictors.wavelet.features import compute_features
from predictors.wavelet.spec import FeatureSpec


class Engine:
    """A release, loaded and proven on this CPU, that answers windows of bars."""

    def __init__(self, release: Release) -> None:
        """Load every member and replay the golden windows.

        Raises
        ------
        ArtifactError
            If a member does not belong to the release's feature spec.
        NotReady
            If a golden window is answered differently on this CPU.
        """
        self.manifest = release.manifest
        self.spec = FeatureSpec.from_json(release.manifest.spec)
        self._members: dict[str, OnnxMember] = {}
        for kind, member in sorted(release.members.items()):
            name = f"member {kind} {member.manifest.version}"
            if member.manifest.spec_hash != self.spec.hash:
                raise ArtifactError(
                    f"{name}: trained on feature spec {member.manifest.spec_hash[:12]}, "
                    f"the release has {self.spec.hash[:12]}"
                )
            self._members[kind] = OnnxMember(member.model)
            replay(self._members[kind], member.golden, name)
        for index, bars in enumerate(release.golden["bars"]):
            answer = self.forecast(OhlcvWindow(bars[None]))
            outputs = {name: getattr(answer, name) for name in OUTPUTS}
            check_golden_answer(outputs, release.golden, index, release.manifest.release)

    def forecast(self, window: OhlcvWindow) -> Forecast:
        """Forecast B windows of at least ``window_bars`` bars.

        Raises
        ------
        InvalidInput
            Naming the window, field, value and rule.
        """
        check_windows(window, self.spec.window_bars)
        block = compute_features(window.last(self.spec.window_bars).bars, self.spec)
        answers = {kind: member.log_variance(block.tabular, block.sequence) for kind, member in self._members.items()}
        return combine(answers, self.manifest)
