"""The OpenAPI document is true: its examples are answered, and nothing that is tried against it breaks the server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
from running_server import Served

_CHECKS = """
[checks.negative_data_rejection]
# 413 is the answer to what is too large, 504 to an invalid request with a deadline of a microsecond.
expected-statuses = ["4xx", "504"]

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]
"""


def test_schemathesis_finds_nothing(served: Served, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(_CHECKS)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            *("--config-file", str(tmp_path / "schemathesis.toml")),
            *("run", served.http + "/openapi.json", "--no-color", "--warnings", "off", "--continue-on-failure"),
            # JSON Schema cannot say that data must have as many numbers as the shape, or that low <= close.
            *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
            *("--phases", "examples,coverage,fuzzing", "--max-time", "12", "--seed", "1", "--request-timeout", "60"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Traceback" not in served.log.read_text()


def test_every_example_is_answered(served: Served) -> None:
    document = httpx.get(served.http + "/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        if not path.endswith("/infer"):
            continue
        where = path
        for parameter in operations["post"].get("parameters", ()):
            where = where.replace(f"{{{parameter['name']}}}", parameter["schema"]["enum"][-1])
        example = operations["post"]["requestBody"]["content"]["application/json"]["example"]
        answer = httpx.post(served.http + where, json=example, timeout=60)
        assert answer.status_code == 200, answer.text
        asked += 1
    assert asked == 2 * len(httpx.get(served.http + "/v2/models").json()["models"])


def test_the_page_needs_nothing_from_elsewhere(served: Served) -> None:
    page = httpx.get(served.http + "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for foreign in ("http://", "https://", "//cdn", "<script", "<link", "@import"):
        assert foreign not in page.text
    for path in httpx.get(served.http + "/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in page.text
