"""Every resource is one that the API server takes, and what is committed is what the chart makes."""

from __future__ import annotations

import copy
import re
import textwrap
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from chart import CHART, CI_VALUES, RENDERED, ROOT, Resource, _render, examples, render_file, resources
from kube_schema import FOLDER, problems

from optimization.rollout.schema import REFERENCE, SCHEMA, VALUES, reference, schema_json, values_yaml


@pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)
def test_what_the_chart_renders_is_valid(path: Path) -> None:
    found = {f"{one['kind']} {one['metadata']['name']}": problems(one) for one in render_file(path)}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_examples_are_valid() -> None:
    found = {f"{one['kind']} {one['metadata']['name']}": problems(one) for one in examples()}
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("path", CI_VALUES, ids=lambda path: path.stem)
def test_the_committed_manifests_are_what_the_chart_renders(path: Path) -> None:
    committed = RENDERED / f"{path.stem.removesuffix('-values')}.yaml"
    assert committed.read_text() == _render(path.read_text()), "run 'make generate'"


def test_every_committed_manifest_has_its_values() -> None:
    names = {path.stem.removesuffix("-values") for path in CI_VALUES}
    assert {path.stem for path in RENDERED.glob("*.yaml")} == names


@pytest.mark.parametrize(("path", "made"), [(VALUES, values_yaml), (SCHEMA, schema_json), (REFERENCE, reference)])
def test_files_made_from_the_values_model_are_current(path: Path, made: object) -> None:
    assert callable(made)
    assert (ROOT / path).read_text() == made(), "run 'make generate'"


def _first(kind: str, name: str = "canary") -> Resource:
    (path,) = (path for path in CI_VALUES if path.stem == f"{name}-values")
    return copy.deepcopy(next(one for one in render_file(path) if one["kind"] == kind))


@pytest.mark.parametrize(
    "kind", ["ServingRuntime", "InferenceService", "PodMonitor", "PodDisruptionBudget", "NetworkPolicy", "Role"]
)
def test_an_unknown_field_is_found(kind: str) -> None:
    """Else the tests above would pass for the wrong reason."""
    resource = _first(kind)
    spec = resource if kind == "Role" else resource["spec"]
    spec["replcias"] = 1
    assert problems(resource)


@pytest.mark.skipif(FOLDER is None, reason="needs the CRDs of the Gateway API in KSERVE_CRDS")
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute", "InferenceService", "ServingRuntime"])
def test_an_unknown_field_deep_inside_is_found_by_the_crds(kind: str) -> None:
    resource = _first(kind)
    spec = resource["spec"]
    inner = spec["rules"][0]["backendRefs"][0] if kind.endswith("Route") else spec.get("predictor") or spec
    (inner if kind != "ServingRuntime" else inner["containers"][0])["wieght"] = 1
    assert any("wieght" in one for one in problems(resource))


def test_the_values_of_the_documentation_render() -> None:
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    (values,) = re.findall(r"```yaml\n   # values.yaml\n(.*?)```", text, re.DOTALL)
    kinds = {one["kind"] for one in resources(_render(textwrap.dedent(values)))}
    assert {"InferenceService", "HTTPRoute", "GRPCRoute"} <= kinds


def test_the_version_of_the_chart_is_that_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version("wavecast")
