"""The README's Python runs as it stands, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from arch.data import nasdaq
from running_server import Served

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_prints_a_forecast(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    assert "http://127.0.0.1:8080" in code
    bars: pd.DataFrame = nasdaq.load().rename(columns=str.lower)
    exec(code.replace("http://127.0.0.1:8080", served.http), {"bars": bars})  # noqa: S102 - our own README
    printed = capsys.readouterr().out
    for column in ("horizon", "volatility", "q0.05", "q0.95"):
        assert column in printed
