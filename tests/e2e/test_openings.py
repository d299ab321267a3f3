"""What a model server sees of two conversations of the real Claude Code: the same, up to what only one of them has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from e2e.claude import Claude
from e2e.conftest import Wire
from scripted import Say

pytestmark = pytest.mark.real


@pytest.mark.parametrize("arguments", [(), ("--bare",)], ids=["whole", "bare"])
def test_conversations_in_two_folders_begin_alike(wire: Wire, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    wire.play([Say("Yes."), Say("No.")])
    for name, question in (("one", "Is this a good place to begin?"), ("two", "What would you change here?")):
        claude = Claude(tmp_path / name, wire.gateway.url)
        if name == "two":
            (claude.work / "CLAUDE.md").write_text("Be brief.\n")
            for command in (("init",), ("checkout", "-b", "try")):
                subprocess.run(["git", *command], cwd=claude.work, check=True, capture_output=True)
        assert not claude.ask(question, *arguments).failed
    first, second = (item.json for item in wire.received[-2:])
    assert first["tools"] == second["tools"]
    common, own = zip(
        *(body["messages"][0]["content"].split("# This conversation\n") for body in (first, second)), strict=True
    )
    assert common[0] == common[1]
    assert str(tmp_path) not in common[0]
    assert str(tmp_path / "one") in own[0] and str(tmp_path / "two") in own[1]
    for body, question in ((first, "Is this a good place to begin?"), (second, "What would you change here?")):
        assert body["messages"][-1]["role"] == "user" and body["messages"][-1]["content"].endswith(question)
