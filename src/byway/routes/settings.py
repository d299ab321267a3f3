"""The settings as an API: `/byway/config` with its versions, the audit, the state of all backends, the last requests.

For a login of the page, a key with the scope `admin`, or whoever owns the unix socket in the data folder. Secrets never leave:
settings come masked, and a change says only what changes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from byway.config import Config, ConfigError, static_changes
from byway.config.editing import Append, Edit, EditError, Remove, Set
from byway.config.file import ConfigChanged, SaveResult
from byway.config.settings import masked
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.store import StoreError

T = TypeVar("T")
_encode: Final = msgspec.json.Encoder().encode


class _Change(Struct, forbid_unknown_fields=True):
    """`{"op": "set", "path": ["model_aliases", "haiku"], "value": "qwen3:8b"}`; `append` and `remove` likewise."""

    op: Literal["set", "append", "remove"]
    path: list[str | int]
    value: Any = None

    def edit(self) -> Edit:
        path = tuple(self.path)
        if self.op == "remove":
            return Remove(path)
        return Set(path, self.value) if self.op == "set" else Append(path, self.value)


#: What the store may have as a version: SQLite's numbers end somewhere.
_Number = Annotated[int, Meta(ge=1, lt=1_000_000_000)]


class _Changes(Struct, forbid_unknown_fields=True):
    edits: list[_Change]
    why: str = "changed by the API"


async def work(do: Callable[[], T]) -> T:
    """What `do` gives, done in a thread: it reads and writes files. Raises Problem in words for whoever asked."""
    try:
        return await asyncio.to_thread(do)
    except ConfigError as error:
        raise Problem("invalid_request", f"The config would not be good:\n{error}") from None
    except EditError as error:
        raise Problem("invalid_request", str(error.problem)) from None
    except (ValueError, LookupError) as error:
        raise Problem("invalid_request", str(error.args[0] if error.args else error)) from None
    except RecursionError:
        raise Problem("invalid_request", "The changes are nested too deeply.") from None
    except StoreError as error:
        raise Problem("internal", str(error)) from None
    except ConfigChanged as stale:
        conflicts = [conflict._asdict() for conflict in stale.conflicts]
        raise Problem(
            "stale", str(stale), facts={"etag": stale.etag, "conflicts": _encode(conflicts).decode()}
        ) from None
    except OSError as error:
        where = error.filename or "the disk"
        raise Problem(
            "internal", f"{where} cannot be written or read: {error.strerror or error}. Nothing was changed."
        ) from None


def who(context: RequestContext) -> str:
    """Who does it, in words for the audit."""
    return f"key {context.caller.key}" if context.caller.key else "the page"


def edits(body: bytes) -> tuple[Sequence[Edit], str]:
    """The changes of a request, and what they are for; raises Problem."""
    try:
        found = msgspec.json.decode(body, type=_Changes)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("invalid_request", f"The changes cannot be read: {error}") from None
    return [one.edit() for one in found.edits], found.why


async def show(context: RequestContext) -> None:
    """The settings as they are in force, masked, with the etag of the file that they come from."""
    services = context.gateway.services
    paper = await work(services.config_file.read)
    config = context.runtime.config
    body = {
        "file": str(services.config_file.path.absolute()),
        "etag": paper.etag,
        "settings": masked(config),
        "warnings": [str(one) for one in config.warnings],
        "problem": context.gateway.config_problem,
        "restart": list(static_changes(context.gateway.started_config, config)),
    }
    await _answer(context, body, paper.etag)


async def check(context: RequestContext) -> None:
    """What a text, or changes, would come to: every complaint, and nothing is written."""
    services, body = context.gateway.services, await context.body()
    text = await work(lambda: _text(context, body))
    try:
        config = await asyncio.to_thread(services.config_file.check, text)
    except ConfigError as error:
        complaints = [{"path": one.path, "line": one.line, "message": one.message} for one in error.problems]
        await _answer(context, {"good": False, "complaints": complaints})
        return
    restart = static_changes(context.gateway.started_config, config)
    await _answer(context, {"good": True, "warnings": [str(one) for one in config.warnings], "restart": list(restart)})


def _text(context: RequestContext, body: bytes) -> str:
    from byway.config.editing import edit

    if context.header(b"content-type").startswith("application/json"):
        return edit(context.gateway.services.config_file.read().text, edits(body)[0])
    return _utf8(body)


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem("invalid_request", "The config has to be UTF-8 text.") from None


async def change(context: RequestContext) -> None:
    """Make changes in the file. `If-Match` has the etag that they were made up for: others' changes elsewhere stay."""
    made, why = edits(await context.body())
    base = _base(context)
    services = context.gateway.services
    outcome = await work(lambda: services.config_file.change(made, who(context), why, base))
    await _changed(context, outcome)


async def replace(context: RequestContext) -> None:
    """Replace the file by the YAML text in the body. `If-Match` has the etag of what is replaced."""
    text = _utf8(await context.body())
    base = _base(context, needed=True)
    services = context.gateway.services
    outcome = await work(lambda: services.config_file.write(text, who(context), "replaced by the API", base))
    await _changed(context, outcome)


async def versions(context: RequestContext) -> None:
    """The versions that are kept, newest first."""
    found = await work(context.gateway.services.config_file.versions)
    await _answer(context, {"versions": [msgspec.to_builtins(one) for one in found]})


async def version(context: RequestContext) -> None:
    """What changed with one version, line by line, without secrets."""
    services, number = context.gateway.services, _number(context.tail)
    found = await work(lambda: services.config_file.version(number))
    await _answer(
        context, {**msgspec.to_builtins(found), "text": None, "changes": await work(lambda: lines(context, number))}
    )


async def rollback(context: RequestContext) -> None:
    """Make the file what it was in the version that the body names: `{"version": 12}`."""
    try:
        number = msgspec.json.decode(await context.body(), type=dict[str, _Number])["version"]
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError):
        raise Problem("invalid_request", 'The body has to be {"version": NUMBER}.') from None
    base, services = _base(context), context.gateway.services
    outcome = await work(lambda: services.config_file.rollback(number, who(context), base))
    await _changed(context, outcome)


async def audit(context: RequestContext) -> None:
    """Who changed what, newest first."""
    found = await work(context.gateway.services.store.audit_entries)
    await _answer(context, {"audit": [msgspec.to_builtins(one) for one in found]})


async def requests(context: RequestContext) -> None:
    """The last requests, newest first. `?after=NUMBER`: only those behind that one. `count`: how many there have been."""
    after = re.fullmatch(rb"after=(\d{1,18})", context.scope["query_string"])
    seen = int(after[1]) if after else 0
    found = [
        {"number": one.number, "at": one.at, "error": one.error, **msgspec.to_builtins(one.line)}
        for one in context.gateway.requests.newest()
        if one.number > seen
    ]
    await _answer(context, {"requests": found, "count": context.gateway.requests.count})


# -------------------------------------------------------------------------------------------------------------------------


def lines(context: RequestContext, number: int) -> list[str]:
    """What version `number` changed, as `ConfigFile.changes` tells it."""
    return context.gateway.services.config_file.changes(number, context.runtime.scrubber.scrub)


async def _changed(context: RequestContext, outcome: SaveResult) -> None:
    await context.gateway.services.reload()
    config: Config = outcome.config
    body = {
        "etag": outcome.etag,
        "merged": outcome.merged,
        "warnings": [str(one) for one in config.warnings],
        "restart": list(static_changes(context.gateway.started_config, config)),
    }
    await _answer(context, body, outcome.etag)


async def _answer(context: RequestContext, body: dict[str, Any], etag: str = "") -> None:
    headers = [(b"cache-control", b"no-store")]
    if etag:
        headers.append((b"etag", f'"{etag}"'.encode()))
    await context.answer(_encode(body), headers=headers)


def _base(context: RequestContext, *, needed: bool = False) -> str | None:
    """The etag that `If-Match` names; None for `*`."""
    given = context.header(b"if-match").strip()
    if not given and needed:
        raise Problem(
            "invalid_request", "If-Match: name the etag of the config that you have seen, or `*` to replace any."
        )
    return None if given in ("", "*") else given.removeprefix("W/").strip('"')


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise Problem("not_found", "There is no such version.")
    return int(text)


ROUTES = (
    Route("GET", "/byway/config", show, "admin"),
    Route("PATCH", "/byway/config", change, "admin"),
    Route("PUT", "/byway/config", replace, "admin"),
    Route("POST", "/byway/config/check", check, "admin"),
    Route("POST", "/byway/config/rollback", rollback, "admin"),
    Route("GET", "/byway/config/versions", versions, "admin"),
    Route("GET", "/byway/config/versions/*", version, "admin"),
    Route("GET", "/byway/audit", audit, "admin"),
    Route("GET", "/byway/requests", requests, "admin"),
)
