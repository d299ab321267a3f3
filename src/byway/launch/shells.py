"""Variables as commands of a shell. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from byway.admin import exports


def export_text(shell: str, pairs: Mapping[str, str], removed: Sequence[str]) -> str:
    """The commands that set `pairs` and remove the variables `removed`, one a line. `shell`: bash, fish, powershell, cmd."""
    set_all, remove = _SHELLS[shell]
    lines = [remove(name) for name in removed]
    if pairs:
        lines.append(set_all([*pairs.items()]))
    return "".join(f"{line}\n" for line in lines)


def cmd(pairs: exports.Pairs) -> str:
    """For a batch file of cmd.exe. The quotes around name and value keep `&`, `|`, `<`, `>` and `^` literal; a percent sign is
    doubled (https://learn.microsoft.com/windows-server/administration/windows-commands/set_1, seen 2026-11-29)."""
    return "\n".join(f'set "{name}={_batch(value)}"' for name, value in pairs)


def _batch(value: str) -> str:
    # A line end or a quote would end the command.
    return "".join(character for character in value if character.isprintable() and character != '"').replace("%", "%%")


_SHELLS: Final[dict[str, tuple[Callable[[exports.Pairs], str], Callable[[str], str]]]] = {
    "bash": (exports.bash, lambda name: f"unset {name}"),
    "fish": (exports.fish, lambda name: f"set -e {name}"),
    "powershell": (exports.powershell, lambda name: f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"),
    "cmd": (cmd, lambda name: f'set "{name}="'),
}
