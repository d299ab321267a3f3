"""A real Prometheus (Debian's package) scrapes a real Byway and answers the queries of the dashboard."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from dashboard import expressions
from gateway import Gateway, config
from ports import free_port
from scripted import Say, Scripted
from waiting import wait_until

PROMETHEUS = os.environ.get("BYWAY_TEST_PROMETHEUS") or shutil.which("prometheus")
KEY = "sk-byway-0123456789abcdef"
ASK = {"model": "claude-opus-5-5", "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
#: These have no samples here: no request fails, and there are no keys with limits.
EMPTY = ("byway_problems_total", "error_type!=")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (Debian: prometheus)"),
]


def query(url: str, expression: str) -> list[Any]:
    """The result of an instant query."""
    text = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{text}", timeout=10) as response:
            answer = json.load(response)
    except OSError:
        return []
    assert answer["status"] == "success", answer
    result: list[Any] = answer["data"]["result"]
    return result


def test_prometheus_scrapes_byway_and_answers_the_queries_of_the_dashboard(tmp_path: Path) -> None:
    assert PROMETHEUS is not None
    port = free_port()
    sections: dict[str, Any] = {
        "metrics": {"enabled": True},
        "api_keys": {"api_keys": [{"key": KEY, "id": "owner", "scopes": ["read", "write", "admin"]}]},
        "limits": [{"for": "global", "requests_per_minute": 100_000}],
    }
    with Scripted(lambda request: Say("Hello.")) as server, Gateway(config(server, **sections)) as gateway:
        scrape = {
            "job_name": "byway",
            "scrape_interval": "1s",
            "authorization": {"credentials": KEY},
            "static_configs": [{"targets": [f"127.0.0.1:{gateway.port}"]}],
        }
        settings = tmp_path / "prometheus.yml"
        settings.write_text(json.dumps({"scrape_configs": [scrape]}))
        command = [PROMETHEUS, f"--config.file={settings}", f"--storage.tsdb.path={tmp_path / 'data'}"]
        with (
            (tmp_path / "log").open("wb") as log,
            subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process,
        ):
            try:
                url = f"http://127.0.0.1:{port}"
                wait_until(lambda: any(row["value"][1] == "1" for row in query(url, "up")))

                def is_counted() -> bool:
                    assert gateway.post(ASK, headers={"x-api-key": KEY}).status == 200
                    rows = query(url, "sum(rate(gen_ai_server_request_duration_seconds_count[1m]))")
                    return bool(rows) and float(rows[0]["value"][1]) > 0

                wait_until(is_counted)
                for expression in expressions("1m"):
                    if not any(name in expression for name in EMPTY):
                        wait_until(lambda expression=expression: query(url, expression))  # type: ignore[misc]
                (row,) = query(url, 'byway_backend_up{backend="one"}')
                assert row["value"][1] == "1"
                for name in EMPTY:
                    # Prometheus accepts the query.
                    (expression,) = [each for each in expressions("1m") if name in each]
                    query(url, expression)
            finally:
                process.terminate()
