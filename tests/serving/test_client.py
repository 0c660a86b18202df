"""The Python client: a DataFrame of bars in, a DataFrame of forecasts out, whichever way it asks."""

from __future__ import annotations

import asyncio
from typing import Literal

import arch.data.nasdaq
import numpy as np
import pandas as pd
import pytest
from running_server import Published, Served

from predictors.client import AsyncClient, Client
from predictors.core.errors import InvalidInput, NotReady

PROTOCOLS: list[Literal["rest", "grpc"]] = ["rest", "grpc"]


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Two symbols' bars in one table, real prices; the second is the first, 30 bars earlier."""
    frame = arch.data.nasdaq.load().rename(columns=str.lower).drop(columns="adj close")
    frame = frame.rename_axis("timestamp").reset_index()
    return pd.concat([frame[-200:].assign(symbol="NEW"), frame[-230:-30].assign(symbol="OLD")])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_forecasts_come_per_symbol_and_horizon(
    served: Served, published: Published, table: pd.DataFrame, protocol: Literal["rest", "grpc"]
) -> None:
    with Client(served.http if protocol == "rest" else served.grpc, protocol) as client:
        answer = client.forecast(table, bars_per_year=260)
    assert list(answer.columns) == [
        *("symbol", "origin", "horizon", "variance", "volatility"),
        *("q0.05", "q0.25", "q0.5", "q0.75", "q0.95"),
        *("members", "release", "degraded"),
    ]
    assert list(zip(answer.symbol, answer.horizon, strict=True)) == [("NEW", 1), ("NEW", 5), ("OLD", 1), ("OLD", 5)]
    bars = np.stack(
        [
            group[["open", "high", "low", "close", "volume"]].to_numpy(float)[-128:]
            for _, group in table.groupby("symbol")
        ]
    )
    expected = published.expected(bars)
    np.testing.assert_allclose(answer.variance, expected["variance"].ravel(), rtol=1e-6)
    np.testing.assert_allclose(answer["q0.95"], expected["quantiles"][..., -1].ravel(), rtol=1e-6)
    np.testing.assert_allclose(answer.volatility, np.sqrt(260 * answer.variance))
    assert answer.origin[0] == pd.Timestamp("2018-12-31", tz="UTC")
    assert set(answer.release) == {published.manifest.release}
    assert not answer.degraded.any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_asynchronous_client_answers_alike(
    served: Served, table: pd.DataFrame, protocol: Literal["rest", "grpc"]
) -> None:
    url = served.http if protocol == "rest" else served.grpc
    one = table[table.symbol == "NEW"].drop(columns=["symbol", "volume"]).set_index("timestamp")

    async def ask() -> pd.DataFrame:
        async with AsyncClient(url, protocol) as client:
            return await client.forecast(one)

    with Client(url, protocol) as client:
        pd.testing.assert_frame_equal(asyncio.run(ask()), client.forecast(one))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_servers_refusals_arrive_as_the_same_errors(
    served: Served, table: pd.DataFrame, protocol: Literal["rest", "grpc"]
) -> None:
    with Client(served.http if protocol == "rest" else served.grpc, protocol) as client:
        with pytest.raises(InvalidInput, match="'timestamps'.*'max_age_s' allows 60 s"):
            client.forecast(table, max_age_s=60)
        with pytest.raises(InvalidInput, match="'bars' has 100 bars per window; at least 128 are needed"):
            client.forecast(table, window_bars=100)


def test_tables_that_are_no_bars_are_refused_before_anything_is_sent(table: pd.DataFrame) -> None:
    with Client("http://127.0.0.1:9") as client:
        with pytest.raises(InvalidInput, match="no column 'close'"):
            client.forecast(table.drop(columns="close"))
        with pytest.raises(InvalidInput, match="no times"):
            client.forecast(table.drop(columns="timestamp"))
        with pytest.raises(InvalidInput, match="symbol 'NEW' has 200 bars; 300 are needed"):
            client.forecast(table, window_bars=300)
        with pytest.raises(InvalidInput, match="protocol 'soap'"):
            Client("http://127.0.0.1:9", "soap")  # type: ignore[arg-type]


def test_a_server_that_is_not_there_is_not_ready(table: pd.DataFrame) -> None:
    with Client("http://127.0.0.1:9") as client, pytest.raises(NotReady, match=r"127\.0\.0\.1:9 cannot be reached"):
        client.forecast(table)
    with Client("127.0.0.1:9", "grpc") as client, pytest.raises(NotReady):
        client.forecast(table)
