"""Live checks of everything that commonly fails, for `byway doctor` and the page Troubleshooting: state, finding, next action.

Each row of the troubleshooting tables has a check; `symptoms` has the words that a user sees.
"""

from __future__ import annotations

import asyncio
import datetime
import re
import statistics
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from byway.access.keys import has_keys
from byway.admin.aliases import SLOTS, target_state
from byway.admin.limits import list_limits, unpriced_targets, unpriced_warning
from byway.admin.verify import verify
from byway.config import static_changes
from byway.display import BACKEND_STATES, count, latency, listing, moment
from byway.gateway import Gateway
from byway.messages import request as messages
from byway.problems import Problem
from byway.routing import route as routing
from byway.runtime import Runtime

#: Milliseconds to the first token of a self-hosted model from which on it counts as slow.
_SLOW: Final = 15_000
#: Answers that the check of the speed looks at.
_SAMPLE: Final = 20
#: Names of a certificate that a row lists.
_NAMES: Final = 6
#: A certificate of the operator that ends within this time is a warning. Byway renews its own.
_ENDS_SOON: Final = datetime.timedelta(days=14)


class LiveCheck(Struct, frozen=True, omit_defaults=True):
    """The result of a check."""

    id: str
    state: str
    """`good`, `warn`, `bad`, or `none` when it does not apply."""
    word: str
    """The state in a word or two."""
    title: str
    finding: str
    fix: str = ""
    """The next action."""
    where: str = ""
    """The page of that action."""
    symptoms: tuple[str, ...] = ()
    """What a user sees when this fails."""
    repair: str = ""
    """A fix that Byway makes itself: one of `clients.fixes`."""
    plural: str = ""
    """What several such checks are called together: `backends do not answer`."""

    @property
    def headline(self) -> str:
        """The title with the state: `Config file: 2 warnings`."""
        return f"{self.title}: {self.word}"


_CONFIG_LINE: Final = re.compile(r"[^\n]*?:(\d{1,6}): ")
#: A server tool has no `input_schema`; some gateways answer 422 to it.
_TOOLS: Final = {
    "model": "m",
    "max_tokens": 1,
    "messages": [{"role": "user", "content": "x"}],
    "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
}


async def checks(gateway: Gateway) -> list[LiveCheck]:
    """Run all checks; those that send requests run at the same time."""
    reachable, answered = asyncio.create_task(_address(gateway)), asyncio.create_task(_answers(gateway))
    return [
        _config(gateway),
        await reachable,
        _reached(gateway),
        await answered,
        *_names(gateway),
        *_backends(gateway.runtime),
        _speed(gateway),
        _search(gateway.runtime),
        _tools(),
        _keys(gateway.runtime),
        *_certificate(gateway, datetime.datetime.now(datetime.UTC)),
        _usage(gateway),
        _files(gateway),
        _batches(gateway),
        _limits(gateway.runtime),
    ]


def _config(gateway: Gateway) -> LiveCheck:
    title = "Config file"
    problem = gateway.config_problem
    if problem:
        return LiveCheck(
            "config",
            "bad",
            "error",
            title,
            problem,
            "Correct these lines. The last valid config stays in force.",
            f"/config{_line(problem)}",
        )
    restart = static_changes(gateway.started_config, gateway.runtime.config)
    if restart:
        return LiveCheck(
            "config",
            "warn",
            "restart needed",
            title,
            f"Changed settings that need a restart: {', '.join(restart)}.",
            "Restart Byway.",
            "/api#server",
            repair="restart",
        )
    warnings = gateway.runtime.config.warnings
    if warnings:
        return LiveCheck(
            "config",
            "warn",
            count(len(warnings), "warning"),
            title,
            " ".join(f"{warning.path or 'The file'}: {warning.message}." for warning in warnings[:4]),
            "The editor shows them with their lines, and so does `byway config check`.",
            f"/config#line-{warnings[0].line}" if warnings[0].line else "/config",
        )
    path = gateway.services.config_file.path
    if not path.exists():
        return LiveCheck("config", "good", "not present", title, f"{path} does not exist: the defaults apply.")
    return LiveCheck("config", "good", "valid", title, str(path))


def _line(problem: str) -> str:
    """The fragment that opens the editor at the line of the first error: `/a/byway.yaml:12: ...`."""
    match = _CONFIG_LINE.match(problem)
    return f"#line-{match[1]}" if match else ""


def _usage(gateway: Gateway) -> LiveCheck:
    title = "Usage records"
    recorder = gateway.usage
    if recorder is None:
        return LiveCheck("usage", "none", "disabled", title, "No usage is recorded.")
    problem, waiting, lost = recorder.status
    symptoms = ("Byway cannot read what was spent", "`byway usage` lacks requests")
    dropped = f" {count(lost, 'record')} did not fit and are lost." if lost else ""
    if problem:
        memory = f" {count(waiting, 'record')} are in memory only." if waiting else ""
        return LiveCheck(
            "usage",
            "bad",
            "not stored",
            title,
            f"New records wait: {problem}.{memory}{dropped}",
            "Free disk space, or move the damaged file away. Requests are not affected.",
            symptoms=symptoms,
        )
    if lost:
        return LiveCheck("usage", "warn", "incomplete", title, f"Records are stored.{dropped}", symptoms=symptoms)
    return LiveCheck("usage", "good", "stored", title, "Records are stored.", symptoms=symptoms)


def _files(gateway: Gateway) -> LiveCheck:
    title = "Uploaded files"
    symptoms = ("The file storage of this Byway cannot be used", "The file storage of this Byway is full")
    if gateway.files is None:
        return LiveCheck("files", "none", "disabled", title, "Clients cannot upload files (`files.enabled`).")
    if problem := gateway.files.problem:
        action = "Free disk space, or check the bucket in `files.s3`. Requests without files are not affected."
        return LiveCheck("files", "bad", "not usable", title, problem, action, symptoms=symptoms)
    where = gateway.files.settings.storage
    place = "this disk" if where == "disk" else f"the bucket {gateway.files.settings.s3.bucket}"
    return LiveCheck("files", "good", "ready", title, f"Files are stored on {place}.", symptoms=symptoms)


def _batches(gateway: Gateway) -> LiveCheck:
    title, symptoms = "Batches", ("Batches are not available", "A batch does not end")
    worker = gateway.batches
    if problem := gateway.batches_problem or (worker.problem if worker else ""):
        action = "Free disk space, or move the damaged file away. Other requests are not affected."
        return LiveCheck("batches", "bad", "not usable", title, problem, action, symptoms=symptoms)
    if worker is None or not gateway.runtime.config.batches.enabled:
        return LiveCheck("batches", "none", "disabled", title, "Clients cannot create batches (`batches.enabled`).")
    text = f"{worker.in_progress:,} in progress, {count(worker.busy, 'request')} running."
    return LiveCheck("batches", "good", "ready", title, text, symptoms=symptoms)


def _limits(runtime: Runtime) -> LiveCheck:
    title, symptoms = "Limits", ("Request rejected (429)", "The budget is used up", "Limit reached for")
    if runtime.limiter is None:
        return LiveCheck("limits", "none", "none", title, "No limits are configured.")
    where = "/api#limits"
    if not runtime.limiter.is_loaded:
        finding = "What was spent cannot be read, so requests with a budget are refused. Byway retries every second."
        return LiveCheck(
            "limits", "bad", "closed", title, finding, "See the check of the usage records.", where, symptoms
        )
    limits = list_limits(runtime.limiter)
    reached = list(dict.fromkeys(info.subject_text for info in limits if info.used >= info.limit))
    if reached:
        return LiveCheck(
            "limits",
            "warn",
            "reached",
            title,
            f"Reached for {listing(reached)}.",
            "`byway limits` shows them. Wait, or raise them.",
            where,
            symptoms,
        )
    if warning := unpriced_warning(unpriced_targets(runtime)):
        return LiveCheck("limits", "warn", "unknown prices", title, warning, where=where, symptoms=symptoms)
    return LiveCheck(
        "limits", "good", "open", title, f"{count(len(limits), 'limit')}, none reached.", symptoms=symptoms
    )


async def _address(gateway: Gateway) -> LiveCheck:
    """Connect to the address that clients are given."""
    title, symptoms = "Address", ("Connection refused", "Claude Code fails to connect")
    base = gateway.services.base
    if base is None:
        return LiveCheck(
            "address",
            "warn",
            "no TCP address",
            title,
            "Byway listens at a unix socket only, which Claude Code cannot use.",
            "Turn on the API over TCP.",
            "/api#server",
            symptoms,
            repair="" if gateway.runtime.config.server.tcp else "enable-tcp",
        )
    url = urlsplit(base)
    try:
        async with asyncio.timeout(3):
            _, writer = await asyncio.open_connection(url.hostname, url.port or 80)
        writer.close()
    except (OSError, TimeoutError):
        return LiveCheck(
            "address",
            "bad",
            "refused",
            title,
            f"No connection to {base}.",
            "Restart Byway, and compare the port with that under Keys, Server.",
            "/api#server",
            symptoms,
        )
    return LiveCheck(
        "address", "good", "reachable", title, f"Clients use ANTHROPIC_BASE_URL={base}/anthropic.", symptoms=symptoms
    )


def _reached(gateway: Gateway) -> LiveCheck:
    title, symptoms = "Clients", ("the gateway receives zero requests",)
    requests = gateway.requests.by_clients()
    if not requests:
        return LiveCheck(
            "clients",
            "none",
            "no requests",
            title,
            "No client has sent a request since Byway started.",
            "Start Claude Code in a new shell with the variables of the Endpoint card.",
            "/claude#endpoint",
            symptoms,
        )
    last, number = requests[0], count(len(requests), "request")
    if last.error:
        return LiveCheck(
            "clients",
            "warn",
            "error",
            title,
            f"{number} of clients; the last one failed: {last.error}",
            "Open the request.",
            f"/requests/{last.number}",
            symptoms,
        )
    return LiveCheck(
        "clients", "good", "ok", title, f"{number} of clients; the last one succeeded.", "", "/requests", symptoms
    )


async def _answers(gateway: Gateway) -> LiveCheck:
    title = "Test request"
    symptoms = ("Request timed out", "Model not found", "could not parse the request", "no models loaded")
    services = gateway.services
    base = f"unix:{services.socket}" if services.socket else f"{services.base}/anthropic"
    verdict = await verify(base, "", extra_cas=services.extra_cas)
    if verdict.good:
        return LiveCheck(
            "test",
            "good",
            "connected",
            title,
            f"{verdict.model} at {verdict.backend}, in {latency(verdict.ms)}.",
            symptoms=symptoms,
        )
    if verdict.layer == "credential":
        return LiveCheck(
            "test",
            "none",
            "key required",
            title,
            "Byway requires a key, and this check has none.",
            "Verify with your key on the page Claude Code.",
            "/claude#endpoint",
            symptoms,
        )
    return LiveCheck(
        "test",
        "bad",
        verdict.summary,
        title,
        verdict.message,
        verdict.hint,
        "/claude#endpoint" if verdict.layer != "model" else "/claude#quick",
        symptoms,
        repair=_alias_repair(gateway.runtime) if verdict.layer == "model" else "",
    )


def _names(gateway: Gateway) -> list[LiveCheck]:
    """The names that Claude Code requests, small calls first: their failures are silent."""
    rows, runtime, answered = [], gateway.runtime, gateway.requests.answered()
    for id, name, title in (
        ("small-model", "claude-haiku-4-5-20251001", "Model for small calls (titles, page summaries, searches)"),
        ("main-model", "claude-opus-5-5", "Model for main turns"),
    ):
        symptoms = (f"Model {name} not found",)
        try:
            route = runtime.resolve(name)
        except Problem as problem:
            slot = routing.family(name)
            rows.append(
                LiveCheck(
                    id,
                    "bad",
                    "404",
                    title,
                    problem.message,
                    f"Set the {slot} alias or the default alias under Model Aliases.",
                    "/claude#aliases",
                    symptoms,
                    repair=_alias_repair(runtime),
                )
            )
            continue
        target = route.targets[0]
        state, word = BACKEND_STATES[target_state(runtime, target.backend, target.model, answered)]
        fix = "" if state == "good" else "Start the server, load the model, or choose another target."
        rows.append(
            LiveCheck(
                id,
                state,
                word,
                title,
                f"{name} uses {target.backend}/{target.model}.",
                fix,
                "" if state == "good" else "/models",
                symptoms,
            )
        )
    if not any(slot in runtime.aliases for slot in SLOTS):
        rows.append(
            LiveCheck(
                "aliases",
                "warn",
                "not set",
                "Model aliases",
                "No alias is set.",
                "Quick Setup sets them all.",
                "/claude#quick",
                repair=_alias_repair(runtime),
            )
        )
    return rows


def _alias_repair(runtime: Runtime) -> str:
    """The fix that uses one model for every name; empty while no backend serves one, or `default` is set already."""
    return "set-aliases" if "default" not in runtime.config.model_aliases and first_served(runtime) else ""


def first_served(runtime: Runtime) -> str:
    """The `backend/model` that `set-aliases` uses: one of a self-hosted backend before others; empty when none serves one."""
    ready = [
        backend for backend in runtime.backends.values() if backend.state in ("ready", "asleep") and backend.models
    ]
    ready.sort(key=lambda backend: not backend.self_hosted)
    return next((f"{backend.name}/{model}" for backend in ready for model in backend.models or ()), "")


def _backend_state(runtime: Runtime, name: str) -> tuple[str, str]:
    state = runtime.backends[name].state
    return BACKEND_STATES.get(state, ("warn", state))


#: What several backends with one state are called together.
_BACKENDS: Final = {
    "failed": "backends do not answer",
    "no model": "backends have no model",
    "off": "backends are disabled",
    "loading": "backends are loading",
    "no answer yet": "backends have not answered yet",
    "ready": "backends are ready",
    "asleep": "backends are asleep",
}


def _backends(runtime: Runtime) -> list[LiveCheck]:
    rows = []
    for backend in runtime.backends.values():
        state, word = _backend_state(runtime, backend.name)
        models = backend.models or ()
        outcome = runtime.scrubber.scrub(backend.message) or (
            f"Serves {', '.join(models[:4])}{' and more' if len(models) > 4 else ''}." if models else "Serves no model."
        )
        fix = {
            "failed": "Start the server, or correct its URL and API key.",
            "off": "Complete its settings, or remove it from the config.",
        }.get(backend.state, "")
        if backend.state == "ready" and not models:
            state, word, fix = "warn", "no model", "Load a model on that server."
        is_down = backend.state in ("failed", "unknown")
        rows.append(
            LiveCheck(
                f"backend:{backend.name}",
                state,
                word,
                f"Backend {backend.name} ({backend.vendor.title})",
                outcome,
                fix,
                "/models" if fix else "",
                ("no models loaded",),
                repair="check-backends" if is_down or word == "no model" else "",
                plural=_BACKENDS.get(word, f"backends: {word}"),
            )
        )
    return rows


def _speed(gateway: Gateway) -> LiveCheck:
    """How long self-hosted models took to the first token, by the last answers."""
    title, symptoms = "Speed of local models", ("Slow responses with local models",)
    local = {name for name, backend in gateway.runtime.backends.items() if backend.self_hosted}
    times = [
        request.line.first_ms
        for request in gateway.requests.newest()
        if request.line.first_ms is not None and request.line.backend in local and not request.line.probe
    ][:_SAMPLE]
    if not times:
        return LiveCheck("speed", "none", "no answers", title, "No answer yet to measure.", symptoms=symptoms)
    middle = statistics.median(times)
    finding = f"First token after {latency(middle)} (median of {count(len(times), 'answer')})."
    if middle < _SLOW:
        return LiveCheck("speed", "good", "ok", title, finding, symptoms=symptoms)
    return LiveCheck(
        "speed",
        "warn",
        "slow",
        title,
        finding,
        "Use a smaller model, or check that the server uses the GPU.",
        "/models",
        symptoms,
    )


def _search(runtime: Runtime) -> LiveCheck:
    title, symptoms = "Web search", ("WebSearch returns zero results",)
    settings = runtime.config.web_search
    if not settings.enabled and not settings.missing:
        return LiveCheck(
            "search",
            "none",
            "off",
            title,
            "Claude Code's WebSearch fails until web search is enabled.",
            "Choose a provider and enable it.",
            "/claude#search",
            symptoms,
        )
    if not runtime.searcher.ready:
        lacking = ", ".join(settings.missing) or "a provider"
        return LiveCheck(
            "search",
            "bad",
            "not ready",
            title,
            f"Missing: {lacking}.",
            "Store its API key under Secrets, or choose a provider.",
            "/secrets",
            symptoms,
        )
    names = ", then ".join(provider.provider for provider in settings.providers)
    return LiveCheck(
        "search",
        "good",
        "on",
        title,
        f"Providers: {names}.",
        "No results? Run the test: the usual cause is HTTP 429 of a free plan. Log line: `web_search loop round complete`.",
        "/claude#search",
        symptoms,
    )


def _tools() -> LiveCheck:
    title, symptoms = "Anthropic's server tools", ("HTTP 422: missing field input_schema",)
    try:
        messages.parse(msgspec.json.encode(_TOOLS), {}, "msg_check")
    except Problem as problem:
        return LiveCheck(
            "tools", "bad", "refused", title, problem.message, "This is a bug: please report it.", symptoms=symptoms
        )
    return LiveCheck(
        "tools",
        "good",
        "accepted",
        title,
        "`web_search_20250305` without `input_schema` is accepted; other gateways answer 422.",
        symptoms=symptoms,
    )


def _keys(runtime: Runtime) -> LiveCheck:
    title, symptoms = "Keys", ("Authentication failed",)
    keys = runtime.config.api_keys
    if keys.mode == "permissive" and (keys.api_keys or has_keys(runtime.stored)):
        return LiveCheck(
            "keys",
            "warn",
            "not required",
            title,
            "Keys exist, but api_keys.mode is permissive.",
            "Remove `mode` from the config.",
            "/api#keys",
            symptoms,
            repair="require-keys",
        )
    if runtime.keyring.blocking:
        return LiveCheck(
            "keys",
            "good",
            "required",
            title,
            "Clients without a valid key get a 401.",
            "On `Authentication failed`, create a key and set it in the client.",
            "/api#keys",
            symptoms,
        )
    return LiveCheck(
        "keys",
        "good",
        "not required",
        title,
        "Programs on this machine need no key. Claude Code needs any non-empty text.",
        symptoms=symptoms,
    )


def _certificate(gateway: Gateway, now: datetime.datetime) -> list[LiveCheck]:
    """The certificate of https; no row while Byway serves http."""
    certificate = gateway.certificate
    if certificate is None:
        return []
    title, symptoms = "Certificate", ("unable to verify the first certificate", "certificate has expired")
    ends = certificate.info.ends
    contents = (
        f"Valid until {moment(ends)}, for {listing((*certificate.info.names, *certificate.info.addresses), _NAMES)}."
    )
    if certificate.problem:
        word, state, fix = "not renewed", "bad", f"{certificate.problem}."
    elif now >= ends:
        word, state, fix = "expired", "bad", "Renew the files of `server.tls`."
    elif ends - now < _ENDS_SOON and not certificate.is_local:
        word, state, fix = "ends soon", "warn", "Renew the files of `server.tls`."
    else:
        word, state, fix = "valid", "good", ""
    return [LiveCheck("certificate", state, word, title, contents, fix, "/api#server" if fix else "", symptoms)]
