"""Fixes that a running Byway makes itself, for the page Troubleshooting, `byway doctor` and the API.

A fix is offered by a live check (`LiveCheck.repair`) and made only when it is requested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from byway.admin import aliases
from byway.admin.backends import check_backends
from byway.admin.config import change_config
from byway.admin.errors import run
from byway.clients.checks import first_served
from byway.config.editing import Edit, Remove, Set
from byway.display import count
from byway.gateway import Gateway
from byway.problems import Problem

#: Each fix with the verb on its button.
FIXES: Final[Mapping[str, str]] = {
    "restart": "Restart Byway",
    "check-backends": "Retry now",
    "require-keys": "Require keys",
    "enable-tcp": "Turn on TCP",
    "set-aliases": "Use one model for all names",
}


async def make_fix(gateway: Gateway, name: str, who: str) -> str:
    """Make a fix; return what was done, as a sentence. Raises Problem."""
    if name == "restart":
        services, config = gateway.services, gateway.runtime.config
        busy = await run(lambda: services.restart_problem(config))
        if busy:
            raise Problem("invalid_request", f"Not restarted: {busy}")
        services.restart()
        return "Byway restarts."
    if name == "check-backends":
        states = [info.state for info in await check_backends(gateway.runtime)]
        failed = states.count("failed")
        return f"{count(failed, 'backend')} of {len(states)} failed." if failed else "All backends answer."
    if name == "require-keys":
        await _change(gateway, [Remove(("api_keys", "mode"))], who, "keys required")
        return "Clients need a key now."
    if name == "enable-tcp":
        await _change(gateway, [Set(("server", "tcp"), True)], who, "API over TCP")
        return "The API over TCP is on. It takes effect after a restart."
    if name == "set-aliases":
        model = first_served(gateway.runtime)
        if not model:
            raise Problem("invalid_request", "No backend serves a model now.")
        if any(slot in gateway.runtime.config.model_aliases for slot in aliases.SLOTS):
            # Aliases that are set stay; the names without one use the default.
            await _change(gateway, [Set(("model_aliases", "default"), [model])], who, f"default alias: {model}")
            return f"{model} is used for every name without an alias."
        await _change(gateway, aliases.all_slots(model), who, f"{model} for all names")
        return f"{model} is used for every Claude name."
    raise Problem("not_found", "There is no such fix.")


async def _change(gateway: Gateway, edits: Sequence[Edit], who: str, why: str) -> None:
    file = gateway.services.config_file
    await run(lambda: change_config(file, lambda current: edits, who, why))
    await gateway.services.reload()
