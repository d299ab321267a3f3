"""How clients get in: the TCP server, its addresses, their keys; and what has been changed by whom."""

from __future__ import annotations

import datetime
import re
from typing import Any, Final, NamedTuple

from byway.config import static_changes, validators
from byway.config.editing import Edit, Set
from byway.config.settings import Scope
from byway.problems import Problem
from byway.routes.context import Ask, Routes
from byway.routes.settings import lines, who, work
from byway.ui.page import Said, changed, etag, failed, form, go, number, part, seen, show, status, tried, wants_part

_ANYWHERE: Final = ("0.0.0.0", "::", "[::]", "*")
_PORT: Final = re.compile(r"\d{1,5}")
SCOPES: Final[tuple[tuple[Scope, str, bool], ...]] = (
    ("read", "list models, count tokens", True),
    ("write", "ask models", True),
    ("files", "upload and read files", True),
    ("admin", "open these settings", False),
)


class Bind(NamedTuple):
    """The first TCP address of the config, and the others as they are."""

    host: str
    port: int
    others: tuple[str, ...]

    @property
    def wide(self) -> bool:
        return self.host in _ANYWHERE


def bind(addresses: tuple[str, ...]) -> Bind:
    """What `server.bind_address` says, taken apart."""
    for at, address in enumerate(addresses):
        place = validators.listen(address)
        if not isinstance(place, str):
            return Bind(place[0], place[1], addresses[:at] + addresses[at + 1 :])
    return Bind("127.0.0.1", 38080, addresses)


async def index(ask: Ask) -> None:
    """The page."""
    await _page(ask)


async def _page(ask: Ask, card: str = "", said: Said | None = None, **more: Any) -> None:
    data = {"plain": "", "made": None, **await _server(ask), **await _keys(ask), **await _history(ask), **more}
    await show(
        ask,
        "api",
        "API",
        here="/api",
        lead="How clients get in, who may, and what was changed.",
        status=status(said),
        card=card,
        said=said,
        etag=await etag(ask),
        **data,
    )


async def _card(ask: Ask, card: str, said: Said | None, **more: Any) -> None:
    ask.runtime = ask.app.runtime
    if not wants_part(ask):
        await _page(ask, card, said, **more)
        return
    gather = {"server": _server, "keys": _keys, "history": _history}[card]
    data = {"plain": "", "made": None, **await gather(ask), **more}
    await part(ask, "api", card, status(said), _NEWS[card], card=card, said=said, etag=await etag(ask), **data)


#: By the card that was changed, those that show it too.
_NEWS: Final = {"server": "history-news", "keys": "server-news, history-news", "history": "server-news, keys-news"}


async def again(ask: Ask) -> None:
    """One card as it is now."""
    if ask.tail not in _NEWS:
        raise Problem("not_found", "There is no such card.")
    await _card(ask, ask.tail, None)


async def _server(ask: Ask) -> dict[str, Any]:
    config = ask.runtime.config
    found = bind(config.server.bind_address)
    return {
        "addresses": ask.app.at_desk.addresses,
        "socket": ask.app.at_desk.socket,
        "tcp": config.server.tcp,
        "bind": found,
        "closed": ask.runtime.keyring.blocking,
        "restart": static_changes(ask.app.began, config),
    }


async def _keys(ask: Ask) -> dict[str, Any]:
    found = await work(ask.app.at_desk.store.keys)
    configured = [key for key in ask.runtime.config.api_keys.api_keys]
    return {
        "keys": [one for one in found if one.live],
        "dead": [one for one in found if not one.live][:20],
        "configured": configured,
        "scopes": SCOPES,
        "closed": ask.runtime.keyring.blocking,
        "mode": ask.runtime.config.api_keys.mode,
    }


async def _history(ask: Ask) -> dict[str, Any]:
    desk = ask.app.at_desk
    return {"versions": await work(desk.filing.versions), "audit": await work(lambda: desk.store.audit_entries(50))}


# -------------------------------------------------------------------------------------------------------------- actions


async def server(ask: Ask) -> None:
    """Save where Byway listens."""
    fields = await form(ask)
    config = await seen(ask, fields["etag"])
    now = bind(config.server.bind_address)
    if not _PORT.fullmatch(fields["port"]) or not 1 <= int(fields["port"]) <= 65535:
        await _card(ask, "server", Said("bad", "The port is a number from 1 to 65535."))
        return
    wide = fields["external"] == "on"
    if wide and not ask.runtime.keyring.blocking:
        hint = "Without keys anybody on the network could use your models and your clouds. Create one below first."
        await _card(ask, "server", Said("bad", "External access needs a key.", hint))
        return
    edits: list[Edit] = []
    host = now.host if now.wide == wide else "0.0.0.0" if wide else "127.0.0.1"
    port = int(fields["port"])
    if (host, port) != (now.host, now.port):
        shown = f"[{host.strip('[]')}]:{port}" if ":" in host else f"{host}:{port}"
        edits.append(Set(("server", "bind_address"), [shown, *now.others] if now.others else shown))
    tcp = fields["tcp"] == "on"
    if tcp != config.server.tcp:
        edits.append(Set(("server", "tcp"), tcp))
    await _card(ask, "server", await changed(ask, edits, "API server", fields["etag"]))


async def restart(ask: Ask) -> None:
    """Begin the process anew with the config as it is now."""
    desk = ask.app.at_desk
    was, now = (bind(config.server.bind_address).port for config in (ask.app.began, ask.runtime.config))
    # With `--port` the config's port is not what counts, before and after.
    moved = now if now != was and desk.base and f":{was}/" in f"{desk.base}/" else None
    await show(
        ask,
        "restart",
        "Restarting",
        here="/api",
        lead="Running answers get their time to finish, then Byway begins anew. This page comes back by itself.",
        moved=moved,
    )
    desk.restart()


async def create(ask: Ask) -> None:
    """Make a key; its value is shown once."""
    fields = await form(ask)
    store = ask.app.at_desk.store
    scopes = [scope for scope, _, _ in SCOPES if fields[f"scope:{scope}"] == "on"]
    ends = None
    if fields["ends"]:
        try:
            ends = datetime.datetime.fromisoformat(fields["ends"]).replace(tzinfo=datetime.UTC)
        except ValueError:
            await _card(ask, "keys", Said("bad", "The end is a day: 2027-12-31."))
            return
    try:
        key, plain = await work(lambda: store.add_key(fields["name"], scopes, ends, who(ask)))
    except Problem as problem:
        await _card(ask, "keys", failed(ask, problem))
        return
    await _let_in(ask)
    await _card(ask, "keys", None, plain=plain, made=key)


async def rotate(ask: Ask) -> None:
    """Give a key another value."""
    fields = await form(ask)
    store = ask.app.at_desk.store
    try:
        key, plain = await work(lambda: store.rotate_key(fields["id"], who(ask)))
    except Problem as problem:
        await _card(ask, "keys", failed(ask, problem))
        return
    await _let_in(ask)
    await _card(ask, "keys", None, plain=plain, made=key)


async def revoke(ask: Ask) -> None:
    """Let a key open nothing any more."""
    fields = await form(ask)
    store = ask.app.at_desk.store
    try:
        key = await work(lambda: store.revoke_key(fields["id"], who(ask)))
    except Problem as problem:
        await _card(ask, "keys", failed(ask, problem))
        return
    await _let_in(ask)
    await _card(
        ask,
        "keys",
        Said("good", f"{key.name} is revoked.", "Its next request is refused; an answer that runs goes on."),
    )


async def _let_in(ask: Ask) -> None:
    """Have the door know at once what the store knows."""
    stored = await work(ask.app.at_desk.store.key_records)
    ask.app.runtime.take_keys(stored)


async def version(ask: Ask) -> None:
    """What one version of the config changed."""
    wanted = number(ask.tail)
    found = await work(lambda: ask.app.at_desk.filing.version(wanted))
    await show(
        ask,
        "version",
        f"Version {wanted}",
        here="/api",
        found=found,
        changes=await work(lambda: lines(ask, wanted)),
        etag=await etag(ask),
    )


async def rollback(ask: Ask) -> None:
    """Go back to a version."""
    fields = await form(ask)
    wanted = number(fields["version"])
    desk = ask.app.at_desk
    said = await tried(
        ask,
        lambda: desk.filing.rollback(wanted, who(ask), fields["etag"] or None),
        lambda _: Said("good", f"The config is that of version {wanted} again."),
    )
    if said.kind == "good" and not wants_part(ask):
        await go(ask, "/api")
        return
    await _card(ask, "history", said)


ROUTES: Routes = (
    ("GET", "/api", index),
    ("GET", "/api/cards/*", again),
    ("POST", "/api/server", server),
    ("POST", "/api/restart", restart),
    ("POST", "/api/keys/create", create),
    ("POST", "/api/keys/rotate", rotate),
    ("POST", "/api/keys/revoke", revoke),
    ("GET", "/api/versions/*", version),
    ("POST", "/api/rollback", rollback),
)
