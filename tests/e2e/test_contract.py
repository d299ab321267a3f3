"""The gateway contract in the real client is the one that Byway implements."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import BUNDLED, differences, fetch_newest, main, read
from older import missing

from byway.backends import capabilities
from byway.signin.contract import REFUSALS, SAFE_VARIABLES, SECTIONS


def test_the_bundled_client_has_the_contract_that_byway_implements() -> None:
    assert differences(read(BUNDLED)) == []


def test_a_changed_contract_is_shown_as_a_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"| `{name}` | words |\n" for name in [*REFUSALS[:-1], "tool_budget"])
    titles = "".join(f"## {title}\n" for title in SECTIONS[1:])
    names = ",".join(f'"{name}"' for name in sorted(SAFE_VARIABLES - {"API_TIMEOUT_MS"} | {"CLAUDE_CODE_NEW"}))
    program = tmp_path / "claude"
    program.write_text(
        f"x`# Claude Code gateway protocol\n{titles}\n`,y`## Customer-routed inference\n{rows}\n`;z=new Set([{names}])"
    )
    assert main([str(program)]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert {"-beta_header", "+tool_budget", "-Flow", "-API_TIMEOUT_MS", "+CLAUDE_CODE_NEW"} <= set(printed)
    program.write_text("another program")
    with pytest.raises(ValueError, match="its layout has changed"):
        read(program)


def test_byway_names_only_refusals_of_the_contract() -> None:
    used = [name.partition(":")[0] for name, _ in capabilities._CLASSES]
    assert set(used) | {capabilities.IMAGE, capabilities.DOCUMENT} <= set(REFUSALS)


@pytest.mark.long
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_newest_client_has_the_contract_that_byway_implements(tmp_path: Path) -> None:
    lines = differences(read(fetch_newest(tmp_path)))
    assert lines == [], "\n".join(lines)
