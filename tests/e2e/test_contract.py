"""The gateway contract in the real client is the one that Byway implements."""

from __future__ import annotations

from pathlib import Path

import pytest
from contract import BUNDLED, differences, fetch_newest, main, read
from older import missing

from byway import problems
from byway.backends import capabilities
from byway.server.routes import ROUTES
from byway.signin.contract import ERRORS, NAMES, PATHS, REFUSALS, SAFE_VARIABLES, SECTIONS


def test_the_bundled_client_has_the_contract_that_byway_implements() -> None:
    assert differences(read(BUNDLED)) == []


def test_a_changed_contract_is_shown_as_a_diff(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "".join(f"| `{name}` | words |\n" for name in [*REFUSALS[:-1], "tool_budget"])
    titles = "".join(f"## {title}\n" for title in SECTIONS[1:])
    names = ",".join(f'"{name}"' for name in sorted(SAFE_VARIABLES - {"API_TIMEOUT_MS"} | {"CLAUDE_CODE_NEW"}))
    errors = "".join(f"| {status} | `{type}` | words |\n" for status, type in [*ERRORS[1:], ("402", "top_up")])
    paths = "".join(f"`POST {path}`\n" for path in [*PATHS[1:], "/v1/batches", "/v1/{signal}"])
    code = ",".join(f'"{name}"' for name in (*NAMES, *PATHS, *(type for _, type in ERRORS)) if name != "slow_down")
    program = tmp_path / "claude"
    program.write_text(
        f"x`# Claude Code gateway protocol\n{titles}{paths}{errors}\n`,y`## Customer-routed inference\n{rows}\n`;"
        f"z=new Set([{names}]);[{code}]"
    )
    assert main([str(program)]) == 1
    printed = [line for line in capsys.readouterr().out.splitlines() if line[0] in "+-" and line[1] not in "+-"]
    assert printed == [
        "-beta_header", "+tool_budget", "-Flow", "-API_TIMEOUT_MS", "+CLAUDE_CODE_NEW",
        "-/.well-known/oauth-authorization-server", "+/v1/batches", "-400 invalid_request_error", "+402 top_up", "-slow_down",
    ]  # fmt: skip
    program.write_text("another program")
    with pytest.raises(ValueError, match="its layout has changed"):
        read(program)


def test_byway_names_only_refusals_of_the_contract() -> None:
    used = [name.partition(":")[0] for name, _ in capabilities._CLASSES]
    assert set(used) | {capabilities.IMAGE, capabilities.DOCUMENT} <= set(REFUSALS)


def test_byway_serves_every_path_of_the_contract() -> None:
    served = {(route.method, route.path) for route in ROUTES}
    for path in PATHS:
        method = "GET" if path in ("/api/oauth/usage", "/managed/settings", "/v1/models", PATHS[0]) else "POST"
        assert {(method, path), (method, f"/anthropic{path}")} <= served, path


def test_byway_has_every_error_of_the_contract() -> None:
    sent = {(str(row.status), row.type) for row in problems.TABLE.values()}
    assert {(status.replace("5xx", "500"), type) for status, type in ERRORS} <= sent
    assert (400, "policy_blocked") in {(row.status, row.type) for row in problems.TABLE.values()}


@pytest.mark.long
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_the_newest_client_has_the_contract_that_byway_implements(tmp_path: Path) -> None:
    lines = differences(read(fetch_newest(tmp_path)))
    assert lines == [], "\n".join(lines)
