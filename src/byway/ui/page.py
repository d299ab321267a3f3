"""The settings page: what all its pages share. A page is rendered on the server; htmx replaces the card that a form belongs to.

A page is one module with its `ROUTES` and one template of the same name. What a page shows and changes is the API's too.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec

from byway import __version__
from byway.admin.config import CurrentConfig, SavedConfig
from byway.config import Config, static_changes
from byway.config.editing import Edit
from byway.config.file import ConfigText
from byway.display import duration, size
from byway.problems import Problem
from byway.routes.admin import apply, change_config, run
from byway.routes.context import Header, RequestContext, Route

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

T = TypeVar("T")
HERE: Final = Path(__file__).parent
#: The pages in the order in which they are shown.
PAGES: Final = (
    ("/", "Claude Code"),
    ("/models", "Models"),
    ("/api", "API"),
    ("/secrets", "Secrets"),
    ("/requests", "Requests"),
    ("/trouble", "Troubleshooting"),
)
_FORM_LIMIT: Final = 64 << 10
#: Nothing from elsewhere, nothing inline. https://developer.mozilla.org/docs/Web/HTTP/Headers/Content-Security-Policy (seen
#: 2026-11-21).
_GUARDED: Final[tuple[Header, ...]] = (
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


class Said(NamedTuple):
    """What came of an action: `kind` is good, warn or bad."""

    kind: str
    text: str
    hint: str = ""
    lines: tuple[str, ...] = ()
    conflicts: tuple[Any, ...] = ()


class Notice(NamedTuple):
    """What stands above a page whatever it is about."""

    kind: str
    text: str
    restart: bool = False


class Standing(NamedTuple):
    """How this Byway is doing, in the corner of every page."""

    state: str
    word: str
    says: str


@cache
def _templates() -> Environment:
    # Here, since the first page pays for it and `byway up` does not.
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
    environment.filters["span"] = duration
    environment.filters["words"] = words
    return environment


def words(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped here


_CODE: Final = re.compile(r"`([^`\n]{1,200})`")


class Form(dict[str, str]):
    """The fields of a form; what is not there is empty."""

    def __missing__(self, name: str) -> str:
        return ""


async def form(context: RequestContext) -> Form:
    """What was sent by a form. Raises Problem for what is none."""
    if int(context.headers.get(b"content-length") or 0) > _FORM_LIMIT:
        raise _too_large()
    body = await context.body()
    if len(body) > _FORM_LIMIT:
        raise _too_large()
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=500)
    except ValueError:
        raise Problem("invalid_request", "This is no form of the settings page.") from None
    return Form((name, value.strip()) for name, value in fields)


def _too_large() -> Problem:
    return Problem("too_large", f"A form of this page has at most {_FORM_LIMIT >> 10} KiB.")


def number(text: str) -> int:
    """A number that stands in a form or in an address; 0 for what is none of ours."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def variable(typed: str) -> str:
    """`${NAME}` of what was typed as a variable's name. Raises ValueError."""
    name = typed.removeprefix("${").removesuffix("}").strip()
    if not _VARIABLE.fullmatch(name):
        # It may be a key: nothing of it is said again.
        raise ValueError(
            "That is no name of a variable: letters, digits and _, for example ${MY_SERVER_KEY}. The key itself does not "
            "belong into the config."
        )
    return f"${{{name}}}"


def query(context: RequestContext) -> Form:
    """The fields behind the `?` of the address."""
    try:
        return Form(
            parse_qsl(context.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=50)
        )
    except ValueError:
        return Form()


def wants_part(context: RequestContext) -> bool:
    """Does htmx ask, which replaces a part of the page?"""
    return context.header(b"hx-request") == "true"


async def show(
    context: RequestContext, template: str, title: str, *, here: str, lead: str = "", status: int = 200, **data: Any
) -> None:
    """Send a whole page."""
    common = {
        "title": title,
        "lead": lead,
        "here": here,
        "pages": PAGES,
        "root": context.runtime.config.server.root_path,
        "version": __version__,
        "standing": standing(context),
        "notices": notices(context),
        "parts": _templates().get_template("parts.html").module,
        "said": None,
    }
    await send(context, _templates().get_template(f"{template}.html").render(common | data), status)


async def refused(context: RequestContext, problem: Problem) -> None:
    """A Problem for a person: above what the page shows already, or as a page of its own."""
    context.problem = problem
    status, said = problem.row.status, failed(context, problem)
    if wants_part(context):
        told = _templates().get_template("parts.html").module.message(said)  # type: ignore[attr-defined]
        await send(context, told, status, [(b"hx-retarget", b"#told"), (b"hx-reswap", b"innerHTML")])
    else:
        await show(context, "refused", "That did not work", here="", status=status, said=said, pages=(), notices=())


def for_person(context: RequestContext) -> bool:
    """Does a browser ask that shows what comes, and not a program?"""
    return wants_part(context) or b"text/html" in context.headers.get(b"accept", b"")


async def part(
    context: RequestContext, template: str, block: str, status: int = 200, news: str = "", **data: Any
) -> None:
    """Send one card of a page: the block of its template. `news`: other cards, separated by commas, that ask for themselves
    again after a change, since it shows in them too."""
    common = {"root": context.runtime.config.server.root_path, "version": __version__, "said": None}
    loaded = _templates().get_template(f"{template}.html")
    variables = loaded.new_context({"parts": _templates().get_template("parts.html").module, **common, **data})
    told = [(b"hx-trigger", news.encode())] if news and status < 400 and context.scope["method"] == "POST" else []
    await send(context, "".join(loaded.blocks[block](variables)), status, told)


async def send(context: RequestContext, html: str, status: int = 200, headers: list[Header] | None = None) -> None:
    """Send HTML behind the policy that lets nothing else in."""
    body = html.encode()
    fields: list[Header] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        *_GUARDED,
        *(headers or ()),
    ]
    await context.begin(status, fields)
    await context.send({"type": "http.response.body", "body": b"" if context.scope["method"] == "HEAD" else body})


async def go(context: RequestContext, path: str, headers: list[Header] | None = None, status: int = 200) -> None:
    """Send the browser to another page of this site; `status` is what htmx is told with it."""
    where = f"{context.runtime.config.server.root_path}{path}".encode()
    if wants_part(context):
        await context.begin(status, [(b"hx-redirect", where), (b"content-length", b"0"), *(headers or ())])
    else:
        await context.begin(303, [(b"location", where), (b"content-length", b"0"), *_GUARDED, *(headers or ())])
    await context.send({"type": "http.response.body", "body": b""})


def standing(context: RequestContext) -> Standing:
    """Can a request be answered now?"""
    states = [state for _, state, _ in context.runtime.statuses() if state != "off"]
    ready = states.count("ready")
    says = f"{ready} of {len(states)} backend{'s' if len(states) != 1 else ''} ready"
    if context.gateway.draining:
        return Standing("warn", "Stopping", says)
    if ready == len(states) and ready:
        return Standing("good", "Ready", says)
    if ready:
        return Standing("warn", "Ready in part", says)
    return Standing("warn", "Waiting", says) if "loading" in states else Standing("bad", "No backend", says)


def notices(context: RequestContext) -> list[Notice]:
    """What everybody who looks at any page should know."""
    found = []
    if context.gateway.config_problem:
        found.append(
            Notice(
                "bad",
                f"The config file is not good, so the last good one stays in force. {context.gateway.config_problem}",
            )
        )
    restart = static_changes(context.gateway.started_config, context.runtime.config)
    if restart:
        found.append(Notice("warn", f"Changed, and in force after a restart: {', '.join(restart)}.", restart=True))
    if context.runtime.config.api_keys.mode == "permissive" and (
        context.runtime.config.api_keys.api_keys or context.runtime.stored
    ):
        found.append(Notice("warn", "There are keys, but api_keys.mode is permissive: anyone may use this Byway."))
    return found


async def tried(context: RequestContext, do: Callable[[], T], good: Callable[[T], Said]) -> Said:
    """Call a service that changes the config file or a secret, reload the config, and return the outcome."""
    try:
        result = await apply(context, do)
    except Problem as problem:
        return failed(context, problem)
    return good(result)


Edits = Sequence[Edit] | Callable[[CurrentConfig], Sequence[Edit]]


async def changed(context: RequestContext, edits: Edits, why: str, base: str, good: str = "Saved") -> Said:
    """Change the config. `edits` may be computed from the config as it is now; `base` is the etag of the form's config."""
    if isinstance(edits, Sequence) and not edits:
        return Said("good", "Nothing to change.")
    try:
        saved = await change_config(context, edits if callable(edits) else lambda current: edits, why, base or None)
    except Problem as problem:
        return failed(context, problem)
    return saved_message(context, saved, good)


def saved_message(context: RequestContext, saved: SavedConfig, good: str = "Saved") -> Said:
    """The outcome of a change that was saved."""
    change = saved.change(context.gateway.started_config)
    merged = "Other settings had changed since this was loaded: both changes are in. " if change.merged else ""
    hint = f"In force after a restart: {', '.join(change.restart)}." if change.restart else ""
    return Said("good", f"{good}.", f"{merged}{hint}")


def failed(context: RequestContext, problem: Problem) -> Said:
    """A Problem in the words of the page."""
    scrub = context.runtime.scrubber.scrub
    first, _, rest = scrub(problem.message).partition("\n")
    if problem.facts.get("field") == "accept_file":
        first += " Tick the box below to accept a file that only you can read."
    conflicts = problem.facts.get("conflicts")
    found = msgspec.json.decode(conflicts) if isinstance(conflicts, str) else []
    return Said("bad", first, lines=tuple(rest.splitlines()), conflicts=tuple(found))


def status(said: Said | None) -> int:
    """The HTTP status of a page that says so."""
    if said is None or said.kind != "bad":
        return 200
    return 412 if said.conflicts else 422


async def paper(context: RequestContext) -> ConfigText:
    """The config as it lies on the disk. Where it cannot be read, an empty one with an etag that nothing has: the page is shown
    all the same, and whoever saves is told what is wrong."""
    try:
        return await run(context.gateway.services.config_file.read)
    except Problem:
        return ConfigText("", "unreadable")


async def etag(context: RequestContext) -> str:
    """What names the config that a form is made for."""
    return (await paper(context)).etag


async def seen(context: RequestContext, base: str) -> Config:
    """The config that a form was made for. What the form says is a change only where it differs from that one: others may
    have changed the rest since."""
    if not base or base == await etag(context):
        return context.runtime.config
    return await run(lambda: context.gateway.services.config_file.seen(base)) or context.runtime.config


async def static(context: RequestContext) -> None:
    """A file of `static/`. Its address names the version, so that a browser may keep it."""
    files = _static()
    found = files.get(context.tail)
    if found is None:
        raise Problem("not_found", "There is no such file.")
    kind, body = found
    headers: list[Header] = [
        (b"content-type", kind),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"max-age=86400"),
        *_GUARDED,
    ]
    await context.begin(200, headers)
    await context.send({"type": "http.response.body", "body": body})


@cache
def _static() -> dict[str, tuple[bytes, bytes]]:
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
    """What browsers ask for whatever a page says."""
    context.tail = "icon.svg"
    await static(context)


#: What everybody may load: the page that says how to log in wants its style.
ROUTES = (Route("GET", "/static/*", static, "open", "page"), Route("GET", "/favicon.ico", favicon, "open", "page"))
