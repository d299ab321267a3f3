"""Ten million usage records: queries stay fast. `make long` runs it and writes the times to bench/results/usage.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import usage

RESULTS = Path(__file__).parent.parent / "bench/results/usage.md"


@pytest.mark.long
def test_queries_of_ten_million_records(tmp_path: Path) -> None:
    assert shutil.disk_usage(tmp_path).free > 8 << 30, "it needs 8 GB of disk space"
    RESULTS.write_text(usage.report(usage.RECORDS, tmp_path), encoding="utf-8")


def test_the_report_of_query_times_has_a_row_for_each_query(tmp_path: Path) -> None:
    text = usage.report(200, tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 16
    assert "200 records" in text
