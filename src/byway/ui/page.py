"""What the pages share. A page is rendered on the server; htmx replaces the card of a submitted form.

A page is one module with its `ROUTES` and one template of the same name. What a page shows and changes is the API's too.
"""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from byway import __version__
from byway.access.keys import has_keys
from byway.admin import recording
from byway.admin.config import CurrentConfig, SavedConfig
from byway.admin.releases import VersionFile
from byway.config import Config, static_changes
from byway.config.editing import Edit
from byway.config.file import ConfigText
from byway.display import duration, latency, size, window
from byway.largebodies import off_loop
from byway.problems import Problem
from byway.roles import changes_all, sees_all
from byway.routes.admin import apply, change_config, run
from byway.routes.context import Header, RequestContext, Route, is_htmx
from byway.routes.forms import read_at_most, read_fields
from byway.ui.menu import READING_PAGES, SHARED_PAGES, menu

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup

T = TypeVar("T")
HERE: Final = Path(__file__).parent
INSTALLED: Final = VersionFile()
#: Characters of an error that a notice shows.
_NOTICE_LENGTH: Final = 180
#: Bytes and fields of a submitted form.
_FORM_LIMIT: Final = 64 << 10
_MOST_FIELDS: Final = 500
#: Bytes of a form with a whole file: escapes make a character three times as long.
_TEXT_LIMIT: Final = 2 << 20
#: No external and no inline content. https://developer.mozilla.org/docs/Web/HTTP/Headers/Content-Security-Policy (seen
#: 2026-11-21).
_SECURITY_HEADERS: Final[tuple[Header, ...]] = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
        b"base-uri 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Undo(NamedTuple):
    """A change of the config that can be taken back while the file stays as it is."""

    before: str
    """The etag of the file before the change."""
    after: str
    """Its etag after the change."""
    url: str
    """Where the page sends both."""


class Outcome(NamedTuple):
    """The outcome of an action: `kind` is good, warn or bad.

    The page shows a good one at the top of the window, and a bad one in its card, where the input is.
    """

    kind: str
    text: str
    hint: str = ""
    lines: tuple[str, ...] = ()
    conflicts: tuple[Any, ...] = ()
    undo: Undo | None = None


class Notice(NamedTuple):
    """A notice above every page."""

    kind: str
    text: str
    restart: bool = False
    action: tuple[str, str] | None = None
    """The text of a button, and the path to which it posts."""
    page: str = ""
    """The page where a person fixes it."""


class StatusSummary(NamedTuple):
    """The state of this Byway, shown on every page."""

    state: str
    word: str
    summary: str


@cache
def _templates() -> Environment:
    # Imported here: the first page pays for it, not the start of Byway.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["count"] = lambda number: f"{number:,}"
    environment.filters["size"] = size
    environment.filters["window"] = window
    environment.filters["span"] = duration
    environment.filters["latency"] = latency
    environment.filters["code_spans"] = code_spans
    return environment


async def _template(name: str) -> Template:
    """A template. Its first use compiles it, for which the event loop must not wait."""
    return await asyncio.to_thread(_load, name)


def _load(name: str) -> Template:
    environment = _templates()
    for shared in ("base.html", "parts.html"):
        environment.get_template(shared)
    return environment.get_template(f"{name}.html")


def code_spans(text: str) -> Markup:
    """HTML of `text`, with code between backticks."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped here


_CODE: Final = re.compile(r"`([^`\n]{1,200})`")


class Form(dict[str, str]):
    """The fields of a form; a missing field is empty."""

    def __missing__(self, name: str) -> str:
        return ""


_NO_FORM: Final = "The request is not a form of the settings page."


async def read_form(context: RequestContext) -> Form:
    """Read a submitted form. Raises Problem when it is invalid."""
    fields = await read_fields(context, _FORM_LIMIT, _MOST_FIELDS, _NO_FORM)
    return Form((name, value.strip()) for name, value in fields)


async def read_text_form(context: RequestContext) -> Form:
    """Read a form with a whole file, whose blanks stay. Raises Problem when it is invalid."""
    body = await read_at_most(context, _TEXT_LIMIT, f"The form is too large; the limit is {_TEXT_LIMIT >> 20} MiB.")

    def parse() -> Form:
        try:
            return Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS))
        except ValueError:
            raise Problem("invalid_request", _NO_FORM) from None

    return await off_loop(len(body), parse)


def parse_number(text: str) -> int:
    """Parse a number from a form or a URL; 0 when it is invalid."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def variable_reference(typed: str) -> str:
    """The reference `${NAME}` for a typed variable name. Raises ValueError."""
    name = typed.removeprefix("${").removesuffix("}").strip()
    if not _VARIABLE.fullmatch(name):
        # It may be a key, so the message does not repeat it.
        raise ValueError(
            "Invalid variable name. Use letters, digits and _, for example ${BYWAY_MY_SERVER_KEY}. Do not enter the key "
            "itself."
        )
    return f"${{{name}}}"


def query_fields(context: RequestContext) -> Form:
    """The query parameters."""
    try:
        return Form(
            parse_qsl(context.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=50)
        )
    except ValueError:
        return Form()


async def send_page(
    context: RequestContext, template: str, title: str, *, here: str, lead: str = "", status: int = 200, **data: Any
) -> None:
    """Send a whole page."""
    caller = context.caller
    sees_others = sees_all(caller.role, caller.scopes)
    is_viewer = sees_others and not changes_all(caller.role, caller.scopes)
    common = {
        "title": title,
        "lead": lead,
        "here": here,
        "menu": menu(caller),
        "caller": caller,
        "sees_others": sees_others,
        # The shared pages change nothing: their forms choose what is shown.
        "readonly": is_viewer and here not in SHARED_PAGES | READING_PAGES,
        "explain_viewer": is_viewer and here not in SHARED_PAGES - {"/", "/playground"},
        "root": context.runtime.config.server.root_path,
        "version": __version__,
        "gateway_status": gateway_status(context),
        "notices": [*_own_notices(context), *(notices(context) if sees_others else ())],
        "parts": (await _template("parts")).module,
        "outcome": None,
    }
    await send_html(context, (await _template(template)).render(common | data), status)


async def send_problem(context: RequestContext, problem: Problem) -> None:
    """Send a Problem to a browser: above the current page, or as a page of its own."""
    context.problem = problem
    status, outcome = problem.row.status, failure(context, problem)
    if is_htmx(context):
        message = (await _template("parts")).module.message(outcome)  # type: ignore[attr-defined]
        await send_html(context, message, status, [(b"hx-retarget", b"#messages"), (b"hx-reswap", b"innerHTML")])
    else:
        await send_page(
            context,
            "refused",
            "Error",
            here="",
            status=status,
            outcome=outcome,
            menu=(),
            notices=(),
        )


async def send_outcome(context: RequestContext, outcome: Outcome, event: str = "") -> None:
    """Send an outcome that belongs to no card. `event`: what the page is told when it is a good one."""
    message = (await _template("parts")).module.message(outcome)  # type: ignore[attr-defined]
    # After the message is shown: the event may make the page load its contents again.
    events = [(b"hx-trigger-after-settle", event.encode())] if event and outcome.kind != "bad" else []
    await send_html(context, message, status_of(outcome), events)


async def send_card(
    context: RequestContext,
    template: str,
    block: str,
    status: int = 200,
    news: str = "",
    headers: Sequence[Header] = (),
    **data: Any,
) -> None:
    """Send one card of a page: a block of its template. `news`: htmx events, separated by commas, that make other cards
    reload after a change."""
    common = {"root": context.runtime.config.server.root_path, "version": __version__, "outcome": None}
    loaded = await _template(template)
    variables = loaded.new_context({"parts": (await _template("parts")).module, **common, **data})
    changes = bool(news) and status < 400 and context.scope["method"] == "POST"
    # After the swap: the events then reach the body, also when another response has removed the form of this one.
    events = [(b"hx-trigger-after-swap", news.encode())] if changes else []
    await send_html(context, "".join(loaded.blocks[block](variables)), status, [*headers, *events])


async def send_changed(
    context: RequestContext,
    send_whole: Callable[..., Awaitable[None]],
    template: str,
    card: str,
    outcome: Outcome | None,
    read: Callable[[RequestContext], Awaitable[dict[str, Any]]],
    news: str = "",
    **more: Any,
) -> None:
    """Send the card of an action with its outcome; the whole page to a browser without JavaScript.

    `read` returns what the card shows, `more` replaces or adds to it. `send_whole` sends the page.
    """
    context.runtime = context.gateway.runtime
    if not is_htmx(context):
        await send_whole(context, card, outcome, **more)
        return
    data = {**await read(context), **more}
    await send_card(context, template, card, status_of(outcome), news, card=card, outcome=outcome, **data)


async def send_html(context: RequestContext, html: str, status: int = 200, headers: list[Header] | None = None) -> None:
    """Send HTML with the security headers."""
    body = html.encode()
    fields: list[Header] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *_SECURITY_HEADERS,
        *(headers or ()),
    ]
    await context.begin(status, fields)
    await context.send({"type": "http.response.body", "body": b"" if context.scope["method"] == "HEAD" else body})


async def redirect(context: RequestContext, path: str, headers: list[Header] | None = None, status: int = 200) -> None:
    """Redirect the browser to another page of this site; `status` is for htmx."""
    where = f"{context.runtime.config.server.root_path}{path}".encode()
    if is_htmx(context):
        await context.begin(status, [(b"hx-redirect", where), (b"content-length", b"0"), *(headers or ())])
    else:
        await context.begin(
            303, [(b"location", where), (b"content-length", b"0"), *_SECURITY_HEADERS, *(headers or ())]
        )
    await context.send({"type": "http.response.body", "body": b""})


def gateway_status(context: RequestContext) -> StatusSummary:
    """Summarize the states of the backends."""
    states = [state for _, state, _ in context.runtime.statuses() if state != "off"]
    ready = states.count("ready")
    summary = f"{ready} of {len(states)} backend{'s' if len(states) != 1 else ''} ready"
    if context.gateway.draining:
        return StatusSummary("warn", "Stopping", summary)
    if ready == len(states) and ready:
        return StatusSummary("good", "Ready", summary)
    if ready:
        return StatusSummary("warn", "Partly ready", summary)
    return (
        StatusSummary("warn", "Waiting", summary)
        if "loading" in states
        else StatusSummary("bad", "No backend", summary)
    )


def _own_notices(context: RequestContext) -> list[Notice]:
    """The notices about what belongs to the caller."""
    state = recording.state(context.gateway.recordings, context.caller.account)
    return [Notice("warn", state.notice, action=("Stop recording", "/requests/recording/stop"))] if state.active else []


def notices(context: RequestContext) -> list[Notice]:
    """The notices that every page shows."""
    notices = []
    if context.gateway.config_problem:
        errors = context.gateway.config_problem.splitlines()
        more = f" {len(errors) - 1} more." if len(errors) > 1 else ""
        first = errors[0] if len(errors[0]) <= _NOTICE_LENGTH else f"{errors[0][:_NOTICE_LENGTH]}…"
        text = f"The config file is invalid; the last valid one stays in force. {first}{more}"
        notices.append(Notice("bad", text, page="/config"))
    services = context.gateway.admin
    if services is not None and services.listen_problem:
        addresses = ", ".join(address for address in services.addresses if not address.startswith("unix:"))
        text = (
            f"Byway could not listen at the configured address, so it stays at {addresses}. {services.listen_problem}"
        )
        notices.append(Notice("bad", text, restart=True))
    installed = INSTALLED.installed()
    if installed != __version__:
        text = f"Byway {installed} is installed. This process runs {__version__}: restart it to use the new version."
        notices.append(Notice("warn", text, restart=True))
    restart = static_changes(context.gateway.started_config, context.runtime.config)
    if restart:
        notices.append(Notice("warn", f"Takes effect after a restart: {', '.join(restart)}.", restart=True))
    if context.runtime.config.api_keys.mode == "permissive" and (
        context.runtime.config.api_keys.api_keys or has_keys(context.runtime.stored)
    ):
        notices.append(Notice("warn", "Keys exist, but api_keys.mode is permissive: clients need no key."))
    return notices


async def apply_change(context: RequestContext, do: Callable[[], T], good: Callable[[T], Outcome]) -> Outcome:
    """Call a service that changes the config file or a secret, reload the config, and return the outcome."""
    try:
        result = await apply(context, do)
    except Problem as problem:
        return failure(context, problem)
    return good(result)


Edits = Sequence[Edit] | Callable[[CurrentConfig], Sequence[Edit]]


async def save_edits(context: RequestContext, edits: Edits, why: str, base: str, good: str = "Saved") -> Outcome:
    """Change the config. `edits` may be computed from the config as it is now; `base` is the etag of the form's config."""
    if isinstance(edits, Sequence) and not edits:
        return Outcome("good", "Nothing to change.")
    try:
        saved = await change_config(context, edits if callable(edits) else lambda current: edits, why, base or None)
    except Problem as problem:
        return failure(context, problem)
    return saved_message(context, saved, good)


def saved_message(context: RequestContext, saved: SavedConfig, good: str = "Saved") -> Outcome:
    """The outcome of a change that was saved."""
    change = saved.change(context.gateway.started_config)
    merged = "Other settings changed in the meantime; both changes were saved. " if change.merged else ""
    hint = f"Takes effect after a restart: {', '.join(change.restart)}." if change.restart else ""
    before = saved.before
    url = f"{context.runtime.config.server.root_path}/undo"
    undo = Undo(before.etag, saved.result.etag, url) if saved.is_changed and before.text else None
    return Outcome("good", f"{good}.", f"{merged}{hint}", undo=undo)


#: Names of settings in forms.
_LABELS: Final = {
    "url": "Address",
    "base_url": "URL",
    "api_key": "Key",
    "models": "Models",
    "name": "Name",
    "type": "Type",
}
#: The file, line and path before an error of a config: they mean nothing to a person who filled a form.
_CONFIG_ERROR: Final = re.compile(r"^\S+:\d+: (?:backends\.\d+|web_search)\.(\w+): ", re.MULTILINE)


def with_scheme(typed: str, scheme: str = "http") -> str:
    """A typed address with its scheme, which people leave out: `localhost:11434`."""
    if not typed or "://" in typed or typed.startswith(("unix:", "$", "/")):
        return typed
    return f"{scheme}://{typed}"


def failure(context: RequestContext, problem: Problem) -> Outcome:
    """The outcome for a Problem."""
    scrub = context.runtime.scrubber.scrub
    text = _CONFIG_ERROR.sub(lambda match: f"{_LABELS.get(match[1], match[1])}: ", scrub(problem.message))
    first, _, rest = text.partition("\n")
    if problem.facts.get("field") == "accept_file":
        first += " Tick the box below to accept a file that only you can read."
    conflicts = problem.facts.get("conflicts")
    values = msgspec.json.decode(conflicts) if isinstance(conflicts, str) else []
    return Outcome("bad", first, lines=tuple(rest.splitlines()), conflicts=tuple(values))


def status_of(outcome: Outcome | None) -> int:
    """The HTTP status for an outcome."""
    if outcome is None or outcome.kind != "bad":
        return 200
    return 412 if outcome.conflicts else 422


async def config_text(context: RequestContext) -> ConfigText:
    """The text of the config file. When it cannot be read: an empty text with an etag that never matches, so the page is
    shown and saving reports the problem."""
    try:
        return await run(context.gateway.services.config_file.read)
    except Problem:
        return ConfigText("", "unreadable")


async def config_etag(context: RequestContext) -> str:
    """The etag of the config file, which a form sends back."""
    return (await config_text(context)).etag


async def base_config(context: RequestContext, base: str) -> Config:
    """The config that a form was rendered from. Only fields that differ from it are changes: others may have changed the
    rest since."""
    if not base or base == await config_etag(context):
        return context.runtime.config
    return await run(lambda: context.gateway.services.config_file.seen(base)) or context.runtime.config


async def static_file(context: RequestContext) -> None:
    """Send a file of `static/`. Its URL contains the version, so browsers may cache it."""
    files = _static_files()
    file = files.get(context.tail)
    if file is None:
        raise Problem("not_found", "Unknown file.")
    kind, body = file
    headers: list[Header] = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"max-age=86400"),
        *_SECURITY_HEADERS,
    ]
    await context.begin(200, headers)
    await context.send({"type": "http.response.body", "body": body})


@cache
def _static_files() -> dict[str, tuple[bytes, bytes]]:
    kinds = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    return {
        path.name: (
            f"{kinds.get(path.suffix) or mimetypes.guess_type(path)[0]}; charset=utf-8".encode(),
            path.read_bytes(),
        )
        for path in (HERE / "static").iterdir()
        if path.suffix in kinds
    }


async def favicon(context: RequestContext) -> None:
    """Send the icon, which browsers request on their own."""
    context.tail = "icon.svg"
    await static_file(context)


#: Open routes: the login page needs its style sheet.
ROUTES = (Route("GET", "/static/*", static_file, "open", "page"), Route("GET", "/favicon.ico", favicon, "open", "page"))
