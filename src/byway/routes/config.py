"""`/byway/config`: the settings in force, changes of the config file, export and import, its versions, and the way back."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from byway.admin import config as configs
from byway.admin.config import ConfigChange, ConfigReport, ConfigView, SavedConfig, VersionChanges, VersionInfo
from byway.admin.configtext import ConfigExport, ImportPreview, export_config, import_config, preview_import
from byway.admin.errors import invalid
from byway.config.editing import Append, Edit, Remove, Set, edit
from byway.problems import Problem
from byway.routes.admin import apply, if_match, run, who
from byway.routes.context import RequestContext
from byway.routes.operation import decode, operation, read_body


class EditRequest(Struct, forbid_unknown_fields=True):
    """`{"op": "set", "path": ["model_aliases", "haiku"], "value": "qwen3:8b"}`; `append` and `remove` likewise."""

    op: Literal["set", "append", "remove"]
    path: list[str | int]
    value: Any = None

    def edit(self) -> Edit:
        path = tuple(self.path)
        if self.op == "remove":
            return Remove(path)
        return Set(path, self.value) if self.op == "set" else Append(path, self.value)


class ConfigEdits(Struct, forbid_unknown_fields=True):
    """Changes of the config file, applied together or not at all."""

    edits: list[EditRequest]
    why: str = "changed by the API"
    """The reason, for the history."""


class RollbackRequest(Struct, forbid_unknown_fields=True):
    """The version to go back to."""

    version: Annotated[int, Meta(ge=1, lt=1_000_000_000)]


class VersionList(Struct, frozen=True):
    """The versions that are kept, newest first."""

    versions: tuple[VersionInfo, ...]


_DECODER: Final = msgspec.json.Decoder(ConfigEdits)
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


async def show(context: RequestContext) -> ConfigView:
    """Return the settings in force, secrets masked, and the etag of the file that they come from."""
    gateway, config = context.gateway, context.runtime.config
    file = gateway.services.config_file
    return await run(lambda: configs.view_config(file, config, gateway.started_config, gateway.config_problem))


async def check(context: RequestContext) -> ConfigReport:
    """Check a YAML text, or JSON edits of the current file, and return every error. Nothing is written."""
    gateway, body = context.gateway, await read_body(context)
    file = gateway.services.config_file
    if context.header(b"content-type").startswith("application/json"):
        changes = decode(_DECODER, body)
        text = await run(lambda: edit(file.read().text, [change.edit() for change in changes.edits]))
    else:
        text = _utf8(body)
    return await run(lambda: configs.check_config(file, text, gateway.started_config))


async def change(context: RequestContext, body: ConfigEdits) -> ConfigChange:
    """Apply edits to the file. With If-Match, changes that others made to other settings since that etag are kept."""
    base, file, author = if_match(context), context.gateway.services.config_file, who(context)

    def save() -> SavedConfig:
        before = configs.read_current(file, lenient=True)
        return SavedConfig(before, file.change([edit.edit() for edit in body.edits], author, body.why, base))

    return _report(context, await apply(context, save))


async def replace(context: RequestContext) -> ConfigChange:
    """Replace the file by the YAML text of the body. Requires If-Match: the etag of the replaced file, or `*`."""
    text = _utf8(await read_body(context))
    base, file, author = if_match(context, required=True), context.gateway.services.config_file, who(context)
    return _report(context, await apply(context, lambda: configs.replace_config(file, text, author, base)))


async def versions(context: RequestContext) -> VersionList:
    """List the versions of the file that are kept, newest first."""
    file = context.gateway.services.config_file
    return VersionList(tuple(await run(lambda: configs.list_versions(file))))


async def version(context: RequestContext) -> VersionChanges:
    """Return what one version changed, line by line, without secrets."""
    if not _DIGITS.fullmatch(context.tail):
        raise Problem("not_found", "There is no such version.")
    file, number, scrub = context.gateway.services.config_file, int(context.tail), context.runtime.scrubber.scrub
    return await run(lambda: configs.version_changes(file, number, scrub))


async def rollback(context: RequestContext, body: RollbackRequest) -> ConfigChange:
    """Give the file the text of an earlier version."""
    base, file, author = if_match(context), context.gateway.services.config_file, who(context)
    return _report(context, await apply(context, lambda: configs.rollback_config(file, body.version, author, base)))


async def export(context: RequestContext) -> ConfigExport:
    """Return the file with a `${VARIABLE}` in place of each secret, and the variables that must be set where it is used."""
    file = context.gateway.services.config_file
    return await run(lambda: export_config(file))


async def preview(context: RequestContext) -> ImportPreview:
    """Check a YAML text that is to replace the file, and return what it would change. Nothing is written."""
    text, services, started = _utf8(await read_body(context)), context.gateway.services, context.gateway.started_config

    def look() -> ImportPreview:
        services.vault.fetch(text)
        return preview_import(services.config_file, text, text_key(context), services.vault, started)

    return await run(look)


async def import_text(context: RequestContext) -> ConfigChange:
    """Replace the file by an exported text. Requires If-Match: the etag of the preview, or `*`.

    Where the text has a variable that is not set, and the file has a secret for the same server, that secret stays.
    """
    text, services = _utf8(await read_body(context)), context.gateway.services
    base, author = if_match(context, required=True), who(context)

    def write() -> SavedConfig:
        services.vault.fetch(text)
        return import_config(services.config_file, text, author, services.vault, base)

    return _report(context, await apply(context, write))


def text_key(context: RequestContext) -> bytes:
    """The key that hides the secrets of the config's text: see `config/hiding`."""
    return context.gateway.services.login.derived_key("config text")


def _report(context: RequestContext, saved: SavedConfig) -> ConfigChange:
    return saved.change(context.gateway.started_config)


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise invalid("body", "the config has to be UTF-8 text") from None


ROUTES = (
    operation("GET", "/byway/config", show, response=ConfigView),
    operation("PATCH", "/byway/config", change, request=ConfigEdits, response=ConfigChange, if_match=True),
    operation("PUT", "/byway/config", replace, request=str, response=ConfigChange, if_match=True, text=True),
    operation("POST", "/byway/config/check", check, request=ConfigEdits, response=ConfigReport, text=True),
    operation(
        "POST", "/byway/config/rollback", rollback, request=RollbackRequest, response=ConfigChange, if_match=True
    ),
    operation("GET", "/byway/config/export", export, response=ConfigExport),
    operation("POST", "/byway/config/import/preview", preview, request=str, response=ImportPreview, text=True),
    operation(
        "POST", "/byway/config/import", import_text, request=str, response=ConfigChange, if_match=True, text=True
    ),
    operation("GET", "/byway/config/versions", versions, response=VersionList),
    operation("GET", "/byway/config/versions/{number}", version, response=VersionChanges),
)
