"""The page Config: the file in an editor with a live check, export and import, and the versions of the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from byway.admin import config as configs
from byway.admin import configtext
from byway.admin.config import ConfigComplaint, ConfigReport, SavedConfig
from byway.admin.configtext import EditorText, ImportPreview
from byway.config.document import MAX_CHARACTERS
from byway.display import count
from byway.problems import Problem
from byway.routes.admin import apply, run, who
from byway.routes.config import text_key
from byway.routes.context import Header, RequestContext, Route, is_htmx
from byway.ui.page import (
    Form,
    Outcome,
    apply_change,
    config_etag,
    failure,
    parse_number,
    read_form,
    read_text_form,
    saved_message,
    send_card,
    send_changed,
    send_page,
    status_of,
)

#: Versions that the page lists.
_LISTED_VERSIONS: Final = 20
#: Problems that the page lists.
_LISTED_PROBLEMS: Final = 50
#: For each changed card, the events that reload the cards that show the same data.
_NEWS: Final = {
    "editor": "history-news, transfer-news",
    "transfer": "editor-news, history-news",
    "history": "editor-news, transfer-news",
}


async def index(context: RequestContext) -> None:
    """Send the page."""
    await _page(context)


async def _page(context: RequestContext, card: str = "", outcome: Outcome | None = None, **more: Any) -> None:
    data = {**await _editor(context), **await _transfer(context), **await _history(context), **more}
    await send_page(
        context,
        "config",
        "Config",
        here="/config",
        lead="Edit the config file with a check while you type, move it to another machine, or restore an earlier version.",
        status=status_of(outcome),
        card=card,
        outcome=outcome,
        **data,
    )


async def _card(context: RequestContext, card: str, outcome: Outcome | None, **more: Any) -> None:
    read = {"editor": _editor, "transfer": _transfer, "history": _history}[card]
    changed = outcome is not None and outcome.kind != "bad"
    await send_changed(context, _page, "config", card, outcome, read, _NEWS[card] if changed else "", **more)


async def again(context: RequestContext) -> None:
    """Send one card."""
    if context.tail not in _NEWS:
        raise Problem("not_found", "Unknown card.")
    await _card(context, context.tail, None)


async def _editor(context: RequestContext) -> dict[str, Any]:
    file, key, started = context.gateway.services.config_file, text_key(context), context.gateway.started_config

    def read() -> tuple[EditorText, ConfigReport]:
        editor = configtext.editor_text(file, key)
        return editor, configtext.check_text(file, editor.text, key, started)

    try:
        editor, report = await run(read)
    except Problem as problem:
        # The file cannot be read. The page is shown with the reason, and saving reports it too.
        complaint = ConfigComplaint("", None, problem.message, "error")
        editor, report = EditorText("", "unreadable", 0), ConfigReport(False, (complaint,))
    return {
        "file": str(file.path.absolute()),
        "text": editor.text,
        "etag": editor.etag,
        "hidden": editor.hidden,
        "conflict": None,
        **_checked(report),
    }


def _checked(report: ConfigReport) -> dict[str, Any]:
    """The result of a check for the template."""
    number = len(report.complaints)
    errors = sum(complaint.severity == "error" for complaint in report.complaints)
    parts = [count(errors, "error")] if errors else []
    parts += [count(number - errors, "warning")] if number > errors else []
    return {
        "problems": report.complaints[:_LISTED_PROBLEMS],
        "more_problems": max(0, number - _LISTED_PROBLEMS),
        "verdict": ("bad" if errors else "warn" if number else "good", ", ".join(parts) or "valid"),
        "needs_restart": report.restart,
    }


async def _transfer(context: RequestContext) -> dict[str, Any]:
    file = context.gateway.services.config_file
    try:
        export, problem = await run(lambda: configtext.export_config(file)), ""
    except Problem as error:
        export, problem = None, error.message
    return {"export": export, "export_problem": problem, "preview": None, "import_text": "", "import_etag": ""}


async def _history(context: RequestContext) -> dict[str, Any]:
    file = context.gateway.services.config_file
    try:
        versions = await run(lambda: configs.list_versions(file, _LISTED_VERSIONS))
    except Problem:
        # Troubleshooting reports the problem of the store.
        versions = []
    return {"versions": versions, "history_etag": await config_etag(context)}


# -------------------------------------------------------------------------------------------------------------- actions


async def check(context: RequestContext) -> None:
    """Check the typed text and send the list of problems. Nothing is written."""
    fields = await read_text_form(context)
    file, key, started = context.gateway.services.config_file, text_key(context), context.gateway.started_config
    report = await run(lambda: configtext.check_text(file, fields["text"][: MAX_CHARACTERS + 1], key, started))
    if is_htmx(context):
        await send_card(context, "config", "problems", **_checked(report))
    else:
        await _page(context, "editor", None, text=fields["text"], etag=fields["etag"], **_checked(report))


async def save(context: RequestContext) -> None:
    """Save the typed text. When the file has changed meanwhile, show both texts and write nothing."""
    fields = await read_text_form(context)
    file, key, author = context.gateway.services.config_file, text_key(context), who(context)
    typed, base = fields["text"], fields["etag"]
    try:
        saved = await apply(context, lambda: configtext.save_text(file, typed, key, author, base, "edited on the page"))
    except Problem as problem:
        if problem.kind == "stale":
            await _conflict(context, typed, await run(lambda: configtext.editor_text(file, key)))
            return
        report = await _report(context, typed)
        outcome = failure(context, problem) if report.good else _invalid(report)
        await _card(context, "editor", outcome, text=typed, etag=base, **_checked(report))
        return
    outcome = saved_message(context, saved) if saved.is_changed else Outcome("good", "Nothing to change.")
    await _card(context, "editor", outcome)


async def _report(context: RequestContext, typed: str) -> ConfigReport:
    file, key, started = context.gateway.services.config_file, text_key(context), context.gateway.started_config
    return await run(lambda: configtext.check_text(file, typed, key, started))


def _invalid(report: ConfigReport) -> Outcome:
    errors = sum(complaint.severity == "error" for complaint in report.complaints)
    return Outcome("bad", f"Not saved: {count(errors, 'error')}. Your text is kept here; the file is unchanged.")


async def _conflict(context: RequestContext, typed: str, now: EditorText) -> None:
    """Show the file as it is now beside the typed text. The next Save replaces the file as it is now."""
    versions = await run(lambda: configs.list_versions(context.gateway.services.config_file, 1))
    typed = typed.replace("\r\n", "\n")
    conflict = {
        "theirs": now.text,
        "author": versions[0].who if versions else "",
        "why": versions[0].why if versions else "",
        "changes": configtext.text_changes(now.text, typed),
    }
    outcome = Outcome(
        "bad",
        "Not saved: the file was changed since you opened it.",
        "Below are the file as it is now, and your text. Copy what you need from one to the other, then save.",
    )
    report = await _report(context, typed)
    await _card(context, "editor", outcome, text=typed, etag=now.etag, conflict=conflict, **_checked(report))


async def download(context: RequestContext) -> None:
    """Send the file without secrets, as a download."""
    file = context.gateway.services.config_file
    export = await run(lambda: configtext.export_config(file))
    body = export.text.encode()
    headers: list[Header] = [
        (b"content-type", b"application/yaml; charset=utf-8"),
        (b"content-disposition", b'attachment; filename="byway.yaml"'),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    await context.begin(200, headers)
    await context.send({"type": "http.response.body", "body": body})


async def import_text(context: RequestContext) -> None:
    """Check a text and show what it would change; once that is confirmed, replace the file."""
    fields = await read_text_form(context)
    text, services, started = (
        fields["text"].replace("\r\n", "\n"),
        context.gateway.services,
        context.gateway.started_config,
    )
    if not text.strip():
        await _card(context, "transfer", Outcome("bad", "Choose a file, or paste a config."))
        return
    if fields["confirm"] == "on":
        await _import(context, fields, text)
        return

    def look() -> ImportPreview:
        services.vault.fetch(text)
        return configtext.preview_import(services.config_file, text, text_key(context), services.vault, started)

    preview = await run(look)
    outcome = None
    if not preview.good:
        outcome = Outcome(
            "bad", f"Not imported: {count(len(preview.complaints), 'error')}.", lines=_lines(preview.complaints)
        )
    elif not preview.changes:
        outcome = Outcome("good", "Nothing to change: the file has this content already.")
    shown = preview if preview.good and preview.changes else None
    await _card(context, "transfer", outcome, preview=shown, import_text=text, import_etag=preview.etag)


async def _import(context: RequestContext, fields: Form, text: str) -> None:
    services, author = context.gateway.services, who(context)

    def write() -> SavedConfig:
        services.vault.fetch(text)
        return configtext.import_config(services.config_file, text, author, services.vault, fields["etag"])

    try:
        saved = await apply(context, write)
    except Problem as problem:
        stale = Outcome("bad", "Not imported: the file was changed since the check.", "Check it again.")
        outcome = stale if problem.kind == "stale" else failure(context, problem)
        await _card(context, "transfer", outcome, import_text=text)
        return
    await _card(context, "transfer", saved_message(context, saved, "Imported"))


def _lines(complaints: Sequence[ConfigComplaint]) -> tuple[str, ...]:
    shown = []
    for complaint in complaints[:_LISTED_PROBLEMS]:
        line = f"line {complaint.line}: " if complaint.line else ""
        path = f"{complaint.path}: " if complaint.path else ""
        shown.append(f"{line}{path}{complaint.message}")
    return tuple(shown)


async def version(context: RequestContext) -> None:
    """What one version of the config changed."""
    wanted = parse_number(context.tail)
    file, scrub = context.gateway.services.config_file, context.runtime.scrubber.scrub
    version_info = await run(lambda: configs.version_changes(file, wanted, scrub))
    await send_page(
        context,
        "version",
        f"Version {wanted}",
        here="/config",
        version_info=version_info,
        changes=version_info.changes,
        etag=await config_etag(context),
    )


async def rollback(context: RequestContext) -> None:
    """Go back to a version."""
    fields = await read_form(context)
    wanted = parse_number(fields["version"])
    services, author = context.gateway.services, who(context)
    outcome = await apply_change(
        context,
        lambda: configs.rollback_config(services.config_file, wanted, author, fields["etag"] or None),
        lambda saved: saved_message(context, saved, f"Restored version {wanted}"),
    )
    await _card(context, "history", outcome)


ROUTES = (
    Route("GET", "/config", index, "admin", "page"),
    Route("GET", "/config/cards/*", again, "admin", "page"),
    Route("POST", "/config/check", check, "admin", "page"),
    Route("POST", "/config/save", save, "admin", "page"),
    Route("GET", "/config/byway.yaml", download, "admin", "page"),
    Route("POST", "/config/import", import_text, "admin", "page"),
    Route("GET", "/config/versions/*", version, "admin", "page"),
    Route("POST", "/config/rollback", rollback, "admin", "page"),
)
