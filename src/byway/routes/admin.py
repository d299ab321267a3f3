"""What the admin API and the settings page share: run a service in a thread, apply a change, name the author."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from byway.admin import config as configs
from byway.admin.config import CurrentConfig, SavedConfig
from byway.admin.errors import invalid
from byway.admin.errors import run as run  # the routes and the page use it too
from byway.config.editing import Edit
from byway.routes.authorize import from_owner
from byway.routes.context import RequestContext

T = TypeVar("T")


def who(context: RequestContext) -> str:
    """The author of a change, for the audit."""
    caller = context.caller
    if caller.key:
        return f"key {caller.key}"
    if caller.account:
        return f"account {caller.account}"
    return "the owner's socket" if from_owner(context) else "the page"


async def apply(context: RequestContext, service: Callable[[], T]) -> T:
    """Call a service that changes the config file or a secret, and reload the config. Raises Problem."""
    result = await run(service)
    await context.gateway.services.reload()
    context.runtime = context.gateway.runtime
    return result


async def change_config(
    context: RequestContext,
    make_edits: Callable[[CurrentConfig], Sequence[Edit]],
    why: str,
    base: str | None = None,
) -> SavedConfig:
    """Change the config file and reload it. `base` is the etag that the author has seen. Raises Problem."""
    file, author = context.gateway.services.config_file, who(context)
    return await apply(context, lambda: configs.change_config(file, make_edits, author, why, base))


async def change_keys(context: RequestContext, service: Callable[[], T]) -> T:
    """Call a service that changes keys of the store, and use them from the next request on. Raises Problem."""
    result = await run(service)
    await refresh_keys(context)
    return result


async def refresh_keys(context: RequestContext) -> None:
    """Use the keys of the store as they are now, from the next request on. Raises Problem."""
    context.gateway.runtime.take_keys(await run(context.gateway.services.store.key_records))


async def read_current(context: RequestContext) -> CurrentConfig:
    """The config file as it is now. Raises Problem when it is invalid."""
    file = context.gateway.services.config_file
    return await run(lambda: configs.read_current(file))


def if_match(context: RequestContext, *, required: bool = False) -> str | None:
    """The etag in `If-Match`; None for `*`, or for none where it is not required."""
    given = context.header(b"if-match").strip()
    if not given and required:
        raise invalid("If-Match", "send the etag of the config that you have seen, or `*` to replace any")
    return None if given in ("", "*") else given.removeprefix("W/").strip('"')
