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


def batch(pairs: exports.Pairs) -> str:
    """For a batch file of cmd.exe, where a percent sign is doubled. At its prompt it is not: `exports.cmd`."""
    return exports.cmd(pairs).replace("%", "%%")


_SHELLS: Final[dict[str, tuple[Callable[[exports.Pairs], str], Callable[[str], str]]]] = {
    "bash": (exports.bash, lambda name: f"unset {name}"),
    "fish": (exports.fish, lambda name: f"set -e {name}"),
    "powershell": (exports.powershell, lambda name: f"Remove-Item Env:{name} -ErrorAction SilentlyContinue"),
    "cmd": (batch, lambda name: f'set "{name}="'),
}
