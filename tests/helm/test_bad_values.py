"""Wrong values are refused with a sentence that says what to write, by helm and by the models alike."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from chart import APIS, CANARY, LEAST, MEMBERS, STABLE, TWO, merged, refused, render

from optimization.rollout.schema import described, schema_json
from optimization.rollout.section import Section
from optimization.rollout.values import Values, read_values
from optimization.rollout.workload import CHART_SETTINGS
from predictors.core.errors import InvalidInput
from predictors.serving.settings import RouterSettings, WaveletSettings

BOTH: dict[str, tuple[dict[str, Any], str]] = {
    "percent over 100": (
        {**TWO, "traffic": {"canary": CANARY, "percent": 120}},
        "120 is no percentage; write a whole number from 0 to 100",
    ),
    "percent below 0": ({**TWO, "traffic": {"canary": CANARY, "percent": -1}}, "-1 is no percentage; write"),
    "canary equal to stable": (
        {"traffic": {"canary": STABLE, "percent": 5}},
        f"traffic.canary is the stable release {STABLE}; write another one, or nothing",
    ),
    "percent without a canary": ({"traffic": {"percent": 5}}, "but no canary is named; write one, or 0"),
    "a copy without a canary": ({"traffic": {"mirrorPercent": 5}}, "but no canary is named; write one, or 0"),
    "member without version": (
        {"releases": [{"name": STABLE, "members": {"lstm": ""}}]},
        "'' is no version; write 12 hexadecimal digits, as 'wavecast store ls' shows them",
    ),
    "no members": ({"releases": [{"name": STABLE, "members": {}}]}, "is empty; write the version of each member"),
    "release without a version": (
        {"releases": [{"name": "v1", "members": MEMBERS}]},
        "'v1' is no version; write 12 hexadecimal digits",
    ),
    "a release twice": (
        {"releases": [{"name": STABLE, "members": MEMBERS}] * 2},
        f"releases has {STABLE} twice; name each release once",
    ),
    "traffic to what does not run": (
        {"traffic": {"stable": CANARY}},
        f"traffic.stable is {CANARY}, which is not in releases; add it there with its members",
    ),
    "nobody answers": ({"traffic": {"stable": ""}}, "traffic.stable is empty; write the release that answers"),
    "latest": ({"image": {"tag": "latest"}}, "'latest' moves, so a rollback would not bring the old image back"),
    "a store that is none": ({"store": {"uri": "s3://models/"}}, "is no store; write s3://bucket/prefix"),
    "an endpoint with a scheme": ({"store": {"endpoint": "http://s3:9000"}}, "is no address; write host:port"),
    "a setting that the chart makes": (
        {"router": {"settings": {"http_port": 1}}},
        "'http_port' is set by the chart from other values; leave it out",
    ),
}
"""Values over the least ones, and a part of what is said."""


@pytest.mark.parametrize("case", BOTH)
def test_helm_and_the_models_refuse_the_same_and_say_what_to_write(case: str) -> None:
    values, said = BOTH[case]
    assert said in refused(values)
    with pytest.raises(InvalidInput) as wrong:
        read_values(merged(LEAST, values))
    assert said in str(wrong.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"store": {"uri": ""}}, "store.uri is empty; write the store of the releases, s3://bucket/prefix"),
        ({"store": {"credentials": {"existingSecret": ""}}}, "needs some; write existingSecret"),
        ({"store": {"credentials": {"accessKeyId": "a", "secretAccessKey": "b"}}}, "has more than one of"),
        ({"store": {"credentials": {"accessKeyId": "a"}}}, "has one of accessKeyId and secretAccessKey; write both"),
        ({"gateway": {"name": ""}}, "gateway.name is empty; write the Gateway to attach to"),
        ({"gateway": {"hostnames": []}}, "gateway.hostnames is empty; write the name"),
        ({"gateway": {"grpcHostnames": ["wavecast.example.com"]}}, "so write gateway.grpcHostnames that"),
        (
            {"gateway": {"hostnames": ["*.example.com"]}},
            "gRPC would be reached under grpc.example.com, and REST",
        ),
        ({"gateway": {"grpcHostnames": ["*.example.com"]}}, "so write gateway.grpcHostnames that"),
        (
            {
                "serviceAccount": {"create": False},
                "store": {"credentials": {"existingSecret": "", "workloadIdentity": {"a/b": "c"}}},
            },
            "would reach no pod; let the chart make the ServiceAccount",
        ),
        ({"auth": {"insecure": False}}, "auth says nothing; write auth.existingSecret"),
        ({"auth": {"existingSecret": "keys"}}, "write one of them"),
        ({"nameOverride": "forecasts-of-volatility-in-production"}, "write nameOverride with at most 23"),
        (
            {
                "nameOverride": "volatility-of-all-desks",
                "releases": [{"name": STABLE, "members": {"transformer": STABLE}}],
            },
            "of 67 characters, and 63 are allowed; write nameOverride with 4 less",
        ),
        ({"router": {"autoscaling": {"enabled": True, "maxReplicas": 1}}}, "less than its replicas 2; write more"),
        ({"tuning": {"enabled": True, "storageSecret": "db"}}, "tuning.data is empty; write the URI of the bars"),
        ({"tuning": {"enabled": True, "data": "s3://b/c"}}, "tuning.storageSecret is empty; write a Secret"),
        ({"retraining": {"enabled": True}}, "retraining.data is empty; write the URI of the bars"),
    ],
)
def test_what_is_missing_for_an_installation_is_said_by_helm(values: dict[str, Any], said: str) -> None:
    assert said in refused(values)


@pytest.mark.parametrize(
    ("values", "where"),
    [
        ({"stroe": {}}, "stroe"),
        ({"traffic": {"precent": 5}}, "precent"),
        ({"releases": [{"name": STABLE, "members": {"lstmm": STABLE}}]}, "lstmm"),
        ({"router": {"resources": {"requests": {"gpu": 1}}}}, "gpu"),
        ({"placement": "sidecar"}, "placement"),
        ({"router": {"replicas": 0}}, "replicas"),
        ({"traffic": {"percent": "20"}}, "percent"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused_by_the_schema(values: dict[str, Any], where: str) -> None:
    said = refused(values)
    assert "don't meet the specifications of the schema" in said
    assert where in said


@pytest.mark.parametrize("missing", APIS[:4])
def test_a_cluster_without_what_is_needed_is_refused_before_anything_is_made(missing: str) -> None:
    said = refused(apis=tuple(api for api in APIS if api != missing))
    assert f"this cluster has no {missing}; install" in said


def test_a_cluster_without_the_prometheus_operator_is_refused_only_if_it_is_needed() -> None:
    without = tuple(api for api in APIS if "PodMonitor" not in api)
    wanted = {"monitoring": {"podMonitor": {"enabled": True}}}
    assert "set monitoring.podMonitor.enabled=false" in refused(wanted, apis=without)


def test_before_the_first_release_no_gateway_is_needed() -> None:
    render({"releases": [], "traffic": {"stable": ""}, "gateway": {"name": "", "hostnames": []}})


def test_the_defaults_are_valid_for_the_schema_and_the_models() -> None:
    defaults = Values().model_dump(mode="json", by_alias=True)
    jsonschema.validate(defaults, json.loads(schema_json()))
    assert read_values(defaults) == Values()


def test_every_value_says_what_it_is() -> None:
    """In a sentence, down to the last one, sections of lists included."""

    def check(section: type[Section], where: str) -> None:
        for name, field in section.model_fields.items():
            assert (field.description or "").rstrip().endswith("."), f"{where}.{name}"

    seen = [Section]
    for section in seen:
        seen += section.__subclasses__()
        check(section, section.__name__)
    assert len(seen) > 20
    assert next(iter(described(Values())))[0] == "nameOverride"


def test_settings_that_the_chart_makes_are_settings() -> None:
    known = RouterSettings.model_fields.keys() | WaveletSettings.model_fields.keys()
    assert known >= CHART_SETTINGS
