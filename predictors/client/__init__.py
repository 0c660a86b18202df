"""Python access to a running server: a DataFrame of bars in, a DataFrame of forecasts out."""

from predictors.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]
