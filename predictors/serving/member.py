"""A member as a KServe predictor: features in, log-variance out."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.core.errors import ArtifactError
from predictors.core.features import FeatureBlock
from predictors.members.onnx_member import OUTPUT, OnnxMember, replay
from predictors.serving.model import V2Model, check_spec
from predictors.serving.registry import Registry
from predictors.serving.server import Server, run_process
from predictors.serving.settings import MemberSettings, ServerSettings, read_settings
from predictors.serving.tensors import Request, Response, TensorSpec
from predictors.serving.work import Worker
from predictors.store import Member, Store, read_member


class MemberModel(V2Model):
    """One verified member artifact."""

    request_parameters = ("spec", "timeout")
    immediate = True

    def __init__(
        self, kind: str, reads: tuple[str, ...], artifact: Member, settings: ServerSettings, worker: Worker
    ) -> None:
        """Declare the model of an artifact.

        Parameters
        ----------
        kind
            Kind of member that this process serves, and the model's name.
        reads
            Feature blocks that members of this kind may read.
        artifact
            As read and verified.
        settings, worker
            Of the process.

        Raises
        ------
        ArtifactError
            If the artifact is of another kind.
        """
        super().__init__(kind, settings.timeout_s)
        manifest = artifact.manifest
        if manifest.kind != kind:
            raise ArtifactError(
                f"artifact {manifest.version} is of kind '{manifest.kind}'; this server is for '{kind}'"
            )
        self.version = manifest.version
        self.facts = {"spec": manifest.spec_hash, "max_batch": settings.max_batch, "max_bytes": settings.max_bytes}
        blocks = ("tabular", "sequence")
        shapes = {name: artifact.golden[name].shape[1:] for name in blocks}
        self.inputs = {
            name: TensorSpec(name, "FP32", (-1, *shape), at_most=(settings.max_batch,))
            for name, shape in shapes.items()
        }
        self.outputs = (TensorSpec(OUTPUT, "FP64", (-1, len(manifest.horizons))),)
        self._reads = reads
        self._artifact = artifact
        self._worker = worker

    def load(self) -> bool:
        """Make the session and replay the golden windows on this CPU.

        Raises
        ------
        ArtifactError
            If the model cannot be loaded or reads what its kind does not.
        NotReady
            If an answer differs from the golden one.
        """
        name = f"{self.name} {self.version}"
        self._member = OnnxMember(self._artifact.model)
        foreign = sorted(set(self._member.inputs) - set(self._reads))
        if foreign:
            raise ArtifactError(
                f"{name}: model.onnx reads '{foreign[0]}'; a {self.name} reads {', '.join(self._reads)}"
            )
        replay(self._member, self._artifact.golden, name)
        self.ready = True
        return True

    async def respond(self, request: Request, deadline: float) -> Response:
        """Answer ``tabular`` float32 (B, F) and ``sequence`` float32 (B, S, C) with ``log_variance`` float64 (B, H).

        The response parameter ``spec`` says of which features the answer is, so that it is not averaged with others.
        """
        del deadline
        tabular, sequence = self._features(request)
        return self._response(await self._run(tabular, sequence))

    def respond_now(self, request: Request) -> Response | None:
        """The same for a batch that is small enough."""
        tabular, sequence = self._features(request)
        if len(tabular) > self._worker.inline_rows:
            return None
        return self._response(self._member.log_variance(tabular, sequence))

    def ask_now(self, block: FeatureBlock) -> NDArray[np.float64]:
        """The log-variances for the ensemble of the same process."""
        check_spec({"spec": block.spec_hash}, self._artifact.manifest.spec_hash, self.name)
        return self._member.log_variance(block.tabular, block.sequence)

    async def ask(self, block: FeatureBlock, timeout_s: float) -> NDArray[np.float64]:
        """The same for a large batch; the ensemble bounds the time itself."""
        del timeout_s
        check_spec({"spec": block.spec_hash}, self._artifact.manifest.spec_hash, self.name)
        return await self._run(block.tabular, block.sequence)

    def _features(self, request: Request) -> tuple[NDArray[Any], NDArray[Any]]:
        check_spec(request.parameters, self._artifact.manifest.spec_hash, self.name)
        return request.tensors["tabular"], request.tensors["sequence"]

    def _response(self, answer: NDArray[np.float64]) -> Response:
        return Response({OUTPUT: answer}, {"spec": self._artifact.manifest.spec_hash})

    async def _run(self, tabular: NDArray[Any], sequence: NDArray[Any]) -> NDArray[np.float64]:
        return await self._worker.run(len(tabular), partial(self._member.log_variance, tabular, sequence))


def serve_member(kind: str, reads: tuple[str, ...]) -> None:
    """Run a member's predictor until SIGTERM; settings come from the command line and the environment."""

    def main() -> None:
        settings = read_settings(MemberSettings, arguments=sys.argv[1:])
        worker = Worker(settings.inline_rows, settings.worker_threads)
        artifact = read_member(Store(str(settings.model_dir)), "")
        model = MemberModel(kind, reads, artifact, settings, worker)
        model.load()
        Server(settings, worker).start(Registry([model]))

    run_process(main)
