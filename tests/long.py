"""Runs the tests that take minutes or need npm clients, and writes their results to bench/results/long.md: `make long`."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree
from pathlib import Path

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "bench/results/long.md"


def rows(report: Path) -> list[tuple[str, str, float]]:
    """(test, result, seconds) of each test case in a JUnit report."""
    table = []
    for case in tree.parse(report).iter("testcase"):  # noqa: S314 - our own pytest wrote it
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        module = case.attrib["classname"].rpartition(".")[2]
        table.append((f"{module}::{case.attrib['name']}", result, float(case.attrib["time"])))
    return table


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "long", f"--junitxml={report}", "-o", "junit_logging=no"]
        code = subprocess.run([*command, *arguments], cwd=ROOT, check=False).returncode
        results = rows(report) if report.exists() else []
    if not arguments and results:
        lines = [f"| `{name}` | {result} | {seconds:.0f} |" for name, result, seconds in results]
        system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
        TABLE.write_text(
            "# Long tests\n\n"
            f"Results of `make long` on {datetime.date.today().isoformat()}, {system}.\n\n"
            "| Test | Result | Seconds |\n|---|---|---|\n" + "\n".join(lines) + "\n",
            encoding="utf-8",
        )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
