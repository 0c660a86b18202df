"""What the REST codec may be trusted with: every finite double survives, in every form of the protocol."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from predictors.core.errors import WavecastError
from predictors.serving.rest_codec import RestDecoder, encode_response
from predictors.serving.tensors import Response, TensorSpec, check_answer

INPUTS = {
    "x": TensorSpec("x", "FP64", (-1, -1, -1)),
    "k": TensorSpec("k", "INT64", (-1,), optional=True),
}
OUTPUTS = (TensorSpec("y", "FP64", (-1, -1, -1)), TensorSpec("z", "FP64", (-1,)))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
DOUBLES = arrays(np.float64, st.tuples(*[st.integers(1, 4)] * 3), elements=FINITE)


@given(DOUBLES, st.booleans())
def test_json_keeps_every_bit_flat_or_nested(x: NDArray[np.float64], nested: bool) -> None:
    data = x.tolist() if nested else x.ravel().tolist()
    body = json.dumps({"inputs": [{"name": "x", "datatype": "FP64", "shape": x.shape, "data": data}]}).encode()
    decoded = RestDecoder(INPUTS, OUTPUTS).decode(body, None).request.tensors["x"]
    assert (decoded.shape, decoded.tobytes()) == (x.shape, x.tobytes())


@given(DOUBLES, arrays(np.int64, st.integers(1, 4)), st.sets(st.sampled_from(["y", "z"])))
def test_binary_and_json_outputs_mix_and_keep_every_bit(
    y: NDArray[np.float64], k: NDArray[np.int64], binary: set[str]
) -> None:
    """The length of the JSON part is arbitrary, so that binary tensors lie at any alignment."""
    x = np.resize(y, (len(k), 1, 1))
    entries = [
        {"name": name, "datatype": kind, "shape": a.shape, "parameters": {"binary_data_size": a.nbytes}}
        for name, kind, a in (("x", "FP64", x), ("k", "INT64", k))
    ]
    outputs = [{"name": name, "parameters": {"binary_data": name in binary}} for name in ("y", "z")]
    header = json.dumps({"id": "i" * (1 + k.size), "inputs": entries, "outputs": outputs}).encode()
    asked = RestDecoder(INPUTS, OUTPUTS).decode(header + x.tobytes() + k.tobytes(), str(len(header)))
    assert asked.request.tensors["x"].tobytes() == x.tobytes()
    assert asked.request.tensors["k"].tobytes() == k.tobytes()

    z = y[0, 0]
    body, length = encode_response(Response({"y": y, "z": z}), OUTPUTS, asked, "m", "1")
    assert (length is None) == (not binary)
    content = json.loads(body[:length])
    start = length or len(body)
    for entry, expected in zip(content["outputs"], (y, z), strict=True):
        if entry["name"] in binary:
            end = start + entry["parameters"]["binary_data_size"]
            assert body[start:end] == expected.tobytes()
            start = end
        else:
            assert np.array(entry["data"], float).tobytes() == expected.tobytes()
    assert start == len(body)


@pytest.mark.parametrize("literal", ["true", "false", "null", '"1"', "[1]", "{}"])
@pytest.mark.parametrize(
    "form",
    [
        '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1,2],"data":[1.5,%s]}]}',
        '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1,2],"d\\u0061ta":[1.5,%s]}],"id":"\\"data\\""}',
        '{"inputs":[{"data":[1.5,%s],"name":"x","datatype":"FP64","shape":[1,1,2]}]}',
        '{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1,1],"data":[1]},'
        '{"name":"k","datatype":"INT64","shape":[1],"data":[%s]}]}',
    ],
)
def test_what_is_no_number_is_refused_wherever_it_hides(form: str, literal: str) -> None:
    with pytest.raises(WavecastError, match=r"tensor '[xk]' (element \d is|has 3 elements)"):
        RestDecoder(INPUTS, OUTPUTS).decode((form % literal).encode(), None)


@pytest.mark.parametrize("number", [str(10**400), str(2**53 + 1), "1e308", "-0.0", "5e-324"])
def test_numbers_are_those_of_numpy_or_refused(number: str) -> None:
    body = b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1,1,1],"data":[%s]}]}' % number.encode()
    decoder = RestDecoder(INPUTS, OUTPUTS)
    if number == str(10**400):
        with pytest.raises(WavecastError):
            decoder.decode(body, None)
    else:
        expected = np.array([float(number)]).tobytes()
        assert decoder.decode(body, None).request.tensors["x"].tobytes() == expected


def test_a_header_that_is_known_goes_with_any_tensors_that_fit() -> None:
    entry = {"name": "x", "datatype": "FP64", "shape": [1, 1, 2], "parameters": {"binary_data_size": 16}}
    header = json.dumps({"inputs": [entry]}).encode()
    decoder = RestDecoder(INPUTS, OUTPUTS)
    for values in ([1.0, 2.0], [3.0, 4.0]):
        decoded = decoder.decode(header + np.array(values).tobytes(), str(len(header)))
        assert decoded.request.tensors["x"].ravel().tolist() == values
    for size, wrong in ((8, "has binary_data_size 16; 8 bytes follow"), (24, "8 bytes follow the last binary tensor")):
        with pytest.raises(WavecastError, match=wrong):
            decoder.decode(header + bytes(size), str(len(header)))
    with pytest.raises(WavecastError, match="expected a finite number"):
        decoder.decode(header + np.array([1.0, np.nan]).tobytes(), str(len(header)))


@given(st.binary(max_size=300), st.none() | st.text(max_size=5))
def test_any_body_is_refused_with_an_error_of_the_tree(body: bytes, header_length: str | None) -> None:
    with pytest.raises(WavecastError):
        RestDecoder(INPUTS, OUTPUTS).decode(body, header_length)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(max_size=8),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)
_LIKELY = st.sampled_from(["x", "k", "y", "FP64", "INT64", [1], [1, 1, 1], [1, 2, 1], [1.0, 2.0]])


@given(st.dictionaries(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), _LIKELY | _JSON), _JSON)
def test_any_json_is_decoded_or_refused_with_an_error_of_the_tree(entry: object, parameters: object) -> None:
    body = json.dumps({"inputs": [entry], "parameters": parameters}).encode(errors="replace")
    try:
        decoded = RestDecoder(INPUTS, OUTPUTS).decode(body, None)
    except WavecastError:
        return
    assert set(decoded.request.tensors) >= {"x"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_nan_and_no_infinity_leaves(bad: float) -> None:
    with pytest.raises(WavecastError, match="model 'm' computed a non-finite 'y'") as refused:
        check_answer(Response({"y": np.array([1.0, bad])}), "m")
    assert refused.value.http_status == 500
