"""Prices of vendors are read from the installed package by a process of its own, without the network."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from e2e.conftest import ASK
from gateway import Gateway
from scripted import Say, Scripted

from byway.cli.main import byway
from byway.prices import source
from byway.prices.source import FILE, PriceSource


def test_the_prices_are_extracted_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = PriceSource(tmp_path)
    asyncio.run(made.load())
    assert made.version == source.installed_version() and made.version
    assert {path.name for path in tmp_path.iterdir()} == {FILE}
    (openai,) = made.providers(["openai"])
    assert len(openai.models) > 50
    # Azure sells the models of others too.
    assert len(made.providers(["azure"])) > 3
    monkeypatch.setattr(sys, "executable", "/bin/false")
    again = PriceSource(tmp_path)
    asyncio.run(again.load())
    assert again.providers(["openai"]) == [openai]


def test_a_running_byway_records_the_vendors_price_of_a_long_prompt() -> None:
    """https://developers.openai.com/api/docs/pricing (seen 2026-11-30): GPT-5.4 above 272,000 tokens $5 and $22.50."""
    with Scripted(lambda request: Say("Hello there.", tokens=(300_000, 1_000))) as server:
        backend = {"name": "cloud", "type": "openai", "url": server.url, "models": ["gpt-5.4"], "local": False}
        with Gateway({"backends": [backend], "model_aliases": {"default": "cloud/gpt-5.4"}}) as gateway:
            for stream in (False, True):
                assert gateway.post({**ASK, "stream": stream}).status == 200
            data = str(gateway.home / "data")
            rows: list[dict[str, Any]] = []

            def recorded() -> bool:
                done = CliRunner().invoke(byway, ["usage", "--json", "--data-dir", data])
                rows[:] = json.loads(done.stdout)["rows"]
                return bool(rows) and rows[0]["requests"] == 2

            gateway.wait(recorded, what="both requests are in the sums")
            # 300,000 x 5 + 1,000 x 22.5 millionths, twice
            assert (rows[0]["name"], rows[0]["cost"], rows[0]["unpriced"]) == ("gpt-5.4", 3.045, 0)


def test_a_package_that_cannot_be_read_leaves_prices_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    made = PriceSource(tmp_path)
    asyncio.run(made.load())
    assert (made.version, made.providers(["openai"])) == ("", [])
    assert made.problem.startswith("genai-prices cannot be read")


def test_reading_the_package_cannot_open_a_connection() -> None:
    program = (
        "import sys, socket\nfrom byway.prices.extract import refuse_network\nsys.addaudithook(refuse_network)\n"
        "from genai_prices.update_prices import UpdatePrices\n"
        "try:\n    UpdatePrices().fetch()\nexcept PermissionError as error:\n    print('refused', error)\n"
        "except Exception as error:\n    print(type(error), error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is not allowed" in done.stdout, done.stdout + done.stderr
