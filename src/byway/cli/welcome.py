"""The text that `byway up` prints once it serves, at most one screen: from facts to lines. Pure: it queries nothing."""

from __future__ import annotations

import json
import shlex
from typing import Final, NamedTuple

from byway import platform
from byway.admin.exports import ClientSetup, curl, launch, variables
from byway.backends.vendors import VENDORS
from byway.clientfiles.shell import Shell, render
from byway.display import listing
from byway.local.discovery import DiscoveredServer

#: Rows and columns of a terminal of the usual size. Two rows are for the lines that `byway up` prints itself.
SCREEN: Final = (24, 100)
_OWN_ROWS: Final = 2
#: Names that are listed before the rest is counted.
_LISTED: Final = 4
#: Backends that get a line each.
_LINES: Final = 2
#: Characters of a message that are shown.
_MESSAGE: Final = 90


class BackendLine(NamedTuple):
    """A backend in the start text."""

    name: str
    title: str
    state: str
    message: str
    models: tuple[str, ...]


class StartReport(NamedTuple):
    """Everything that the start text is made of."""

    setup: ClientSetup
    socket: str | None = None
    """Path of a unix socket."""
    config: str = ""
    """The config file, or that there is none."""
    backends: tuple[BackendLine, ...] = ()
    keys: tuple[str, ...] | None = None
    """The names of the keys that are accepted; None when no key is required."""
    servers: tuple[DiscoveredServer, ...] = ()
    """Model servers on this machine that the config does not use."""
    unserved: tuple[str, ...] = ()
    """Targets of aliases that no backend serves."""
    notes: tuple[str, ...] = ()
    page: str = ""
    """The link that opens the settings page once."""
    program: str = "byway"
    """How the command `byway` is called from this shell."""


class WelcomeLine(NamedTuple):
    """A line of the start text. `kind`: plain, head, good, bad, code (to be pasted), dim."""

    text: str
    kind: str = "plain"
    rank: int = 0
    """Lines of the highest rank are left out first when the text does not fit; those of rank 0 never are."""
    block: str = ""
    """Lines of the same block are left out together."""


#: Ranks of lines, the most important first.
_HEADS: Final = 1
_TEST: Final = 2
_CONFIG: Final = 3
_OFFER: Final = 4
_BLANK: Final = 5
_HINT: Final = 6


def welcome(report: StartReport, screen: tuple[int, int] = SCREEN) -> list[WelcomeLine]:
    """The whole start text, for a terminal with that many rows and columns."""
    setup = report.setup
    lines = _state(report)
    if report.page:
        lines.append(WelcomeLine(f"{'Settings':<12}{report.page}  (works once)", "code"))
    lines += _warnings(report)
    if setup.url:
        head = f"Claude Code, in another terminal: {report.program} claude. Or by hand:"
        lines += [_blank(), WelcomeLine(head, "head", _HEADS), *_claude_code(report)]
    if setup.url or report.socket:
        lines += [_blank(), WelcomeLine("Try it:", "head", _TEST, "test")]
        lines += [WelcomeLine(text, "code", _TEST, "test") for text in curl(setup, report.socket)]
    lines += _servers(report)
    return fit(lines, screen[0] - _OWN_ROWS, screen[1])


def fit(lines: list[WelcomeLine], rows: int, columns: int) -> list[WelcomeLine]:
    """`lines` without as many of the highest rank, from the end, as it takes to fit into `rows`."""
    kept = list(lines)
    while sum(_rows(line, columns) for line in kept) > rows:
        rank = max(line.rank for line in kept)
        if not rank:
            break
        last = max(at for at, line in enumerate(kept) if line.rank == rank)
        block = kept[last].block
        kept = [line for at, line in enumerate(kept) if at != last and not (block and line.block == block)]
    return kept


def _rows(line: WelcomeLine, columns: int) -> int:
    """The rows that a line takes, with its indent of two."""
    return max(1, -(-(len(line.text) + 2) // columns))


def _blank() -> WelcomeLine:
    return WelcomeLine("", rank=_BLANK)


def _state(report: StartReport) -> list[WelcomeLine]:
    base = f"{report.setup.url}/anthropic" if report.setup.url else f"unix:{report.socket}"
    return [
        WelcomeLine(f"{'Endpoint':<12}{base}"),
        WelcomeLine(f"{'Config':<12}{report.config}", rank=_CONFIG),
        *_backends(report),
    ]


def _backends(report: StartReport) -> list[WelcomeLine]:
    """A line for each of a few backends; otherwise how many are ready, and which are not."""
    if len(report.backends) <= _LINES:
        return [_backend("" if number else "Backends", backend) for number, backend in enumerate(report.backends)]
    ready = [backend.name for backend in report.backends if backend.state in ("ready", "asleep")]
    others = [backend.name for backend in report.backends if backend.name not in ready]
    names = f": {listing(tuple(ready), _LISTED)}" if ready else ""
    lines = [
        WelcomeLine(f"{'Backends':<12}{len(ready)} of {len(report.backends)} ready{names}", "good" if ready else "bad")
    ]
    if others:
        text = f"{'':<12}Not ready: {listing(tuple(others), _LISTED)}. Details: {report.program} models"
        lines.append(WelcomeLine(text, "bad"))
    return lines


def _backend(head: str, backend: BackendLine) -> WelcomeLine:
    kind = {"ready": "good", "failed": "bad", "off": "bad"}.get(backend.state, "plain")
    state = backend.state if backend.state != "unknown" else "no answer yet"
    models = f": {listing(backend.models, _LISTED)}" if backend.models else ""
    message = f": {_short(backend.message)}" if backend.message else ""
    return WelcomeLine(f"{head:<12}{backend.name}{models} ({backend.title}, {state}){message}", kind)


def _short(text: str) -> str:
    """The first sentence of a message: the next one is advice that `byway models` prints too."""
    text = text.partition(". ")[0]
    return text if len(text) <= _MESSAGE else f"{text[:_MESSAGE].rstrip()} ..."


def _warnings(report: StartReport) -> list[WelcomeLine]:
    lines = []
    if report.unserved:
        text = f"{'Aliases':<12}No backend serves {listing(report.unserved, _LISTED)}. Details: {report.program} alias"
        lines.append(WelcomeLine(text, "bad"))
    if report.setup.is_builtin:
        text = (
            "The built-in model is for testing: it cannot work as an agent. For real work add a backend under Settings."
        )
        lines.append(WelcomeLine(text))
    elif report.setup.is_too_small:
        text = f"A window of {report.setup.window:,} tokens is too small for a session: use a larger one, or claude --bare."
        lines.append(WelcomeLine(text, "bad"))
    lines += [WelcomeLine(text, "bad") for text in report.notes]
    return lines


def _claude_code(report: StartReport) -> list[WelcomeLine]:
    setup = report.setup
    shell: Shell = "powershell" if platform.system() == "windows" else "bash"
    lines = [WelcomeLine(render(name, value, shell), "code") for name, value in variables(setup)]
    lines.append(WelcomeLine(launch(setup), "code"))
    if report.keys is not None:
        names = f" ({listing(report.keys, _LISTED)})" if report.keys else ""
        text = f"Replace YOUR-KEY by a key{names}. To create one: {report.program} key create NAME"
        lines.append(WelcomeLine(text, "dim", _HEADS))
    if setup.window is None and not setup.is_official and setup.model:
        text = "Its context window is unknown. Set it in byway.yaml under the backend: models: [{id: NAME, window: TOKENS}]"
        lines.append(WelcomeLine(text, "dim", _HINT))
    if not (setup.is_official or setup.is_builtin or setup.has_classifier):
        text = f"For auto mode: {report.program} config set safeguards.classifier {shlex.quote(setup.main_model or 'MODEL')}"
        lines.append(WelcomeLine(text, "dim", _HINT))
    if report.program.startswith(".venv"):
        text = f"Byway's commands start with {report.program} here. To type only byway: make link"
        lines.append(WelcomeLine(text, "dim", _CONFIG))
    return lines


def _servers(report: StartReport) -> list[WelcomeLine]:
    """The first model server that the config does not use, and the commands that use it."""
    if not report.servers:
        return []
    server, others = report.servers[0], len(report.servers) - 1
    version = f" {server.version}" if server.version else ""
    more = f" (and {others} more: see Models on the settings page)" if others else ""
    head = f"{VENDORS[server.vendor].title}{version} is running at {server.url}{more}"
    if not server.models:
        return [_blank(), WelcomeLine(f"{head}. It serves no model yet.", rank=_OFFER)]
    return [
        _blank(),
        WelcomeLine(f"{head}. To use it:", "head", _OFFER, "offer"),
        WelcomeLine(offer(server, report.program), "code", _OFFER, "offer"),
    ]


def offer(server: DiscoveredServer, program: str = "byway") -> str:
    """The command line that adds a server to the config, with its first model for every name."""
    has_usual_url = server.url == VENDORS[server.vendor].url
    backend = {"type": server.vendor} if has_usual_url else {"type": server.vendor, "url": server.url}
    value = shlex.quote(json.dumps(backend))
    return (
        f"{program} config set backends {value} --append && {program} alias set default {shlex.quote(server.models[0])}"
    )
