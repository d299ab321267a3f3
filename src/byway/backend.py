"""A configured upstream while Byway runs: its connections, credential and state, and what is known of its models.

`Backend` sends calls and keeps the state. `ModelRegistry` keeps the facts of each model. Neither knows routing or config files.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Final, Literal, NamedTuple

import msgspec

from byway.backends.itemrepairs import BY_CHAT, BY_RESPONSES
from byway.backends.limits import SMALLEST_WINDOW
from byway.backends.protocol import Attempt, BackendProtocol, ModelFacts, ModelUse, Target
from byway.backends.vendors import VENDORS, ProtocolName, Vendor, api_root, known_model
from byway.bounded import BoundedDict
from byway.call import Call
from byway.config import BackendSettings, TimeoutSettings
from byway.largebodies import off_loop
from byway.logs import log
from byway.messages.request import Request
from byway.messages.tokens import Counter, may_exceed, refuses
from byway.problems import Kind, Problem
from byway.routing.route import ServedModels
from byway.upstream import credentials
from byway.upstream.address import is_self_hosted
from byway.upstream.client import Answer, Upstream
from byway.upstream.concurrency import ConcurrencyLimit, QueueFull
from byway.upstream.keypool import KeyPool


@cache
def _openai() -> BackendProtocol:
    from byway.backends.openai import completions

    return completions


@cache
def _responses() -> BackendProtocol:
    from byway.backends.responses import responses

    return responses


@cache
def _anthropic() -> BackendProtocol:
    from byway.backends import anthropic

    return anthropic


#: The modules of the protocols. Each is loaded by the first backend that needs it.
PROTOCOLS: Final[Mapping[ProtocolName, Callable[[], BackendProtocol]]] = {
    "openai": _openai,
    "responses": _responses,
    "anthropic": _anthropic,
}
BackendState = Literal["unknown", "loading", "ready", "asleep", "failed", "off"]

#: Seconds that a backend has to list its models, and to answer one page that describes a model.
_LIST_TIMEOUT: Final = 10.0
_PAGE_TIMEOUT: Final = 2.0
_BODY_LIMIT: Final = 8 << 20
#: Pages of a list of models that are fetched, and models after which no other page is.
_MAX_PAGES: Final = 20
_MAX_MODELS: Final = 20_000
#: Models of one backend that each refresh describes.
_DESCRIBED: Final = 20
#: Models of one backend that are remembered. A client can invent names: `backend/NAME` leads to any of them.
_REMEMBERED: Final = 1000
#: Seconds that a backend has to count tokens.
_COUNT_TIMEOUT: Final = 5.0
#: Statuses of a server without a page that counts, and the seconds until the next try: then, and after any other failure.
_NO_SUCH_PAGE: Final = frozenset((404, 405, 501))
_NO_PAGE_PAUSE: Final = 600.0
_FAILURE_PAUSE: Final = 5.0
#: Kinds of problem that mean that nothing listens at the address.
_UNREACHABLE: Final = frozenset(("unreachable", "timeout"))
_NO_FACTS: Final = ModelFacts()


#: The endpoints that pass through which llama.cpp has for a model, by its use.
_PATHS_OF_USES: Final[Mapping[ModelUse, tuple[str, ...]]] = {
    "answers": ("/v1/completions",),
    "embeddings": ("/v1/embeddings",),
    "reranking": ("/v1/rerank",),
}


def protocol_of(target: Target) -> BackendProtocol:
    """Return the protocol by which `target` is called."""
    return PROTOCOLS[target.vendor.protocol]()


class UnloadedModel(NamedTuple):
    """A local model that was unloaded because it was idle."""

    load: Callable[[], None]
    """Start to load it again."""
    settled: asyncio.Event
    """Set when the model has loaded, or has failed to."""


class _Lists(NamedTuple):
    """Where the list of models is, when the protocol of the calls has none."""

    upstream: Upstream
    credentials: tuple[credentials.StaticCredential, ...]
    """One for each API key."""
    protocol: BackendProtocol


class ModelRegistry:
    """What is known of each model of one backend: window, tools, vision, longest answer. Bounded."""

    def __init__(
        self, backend: str, vendor: Vendor, windows: Mapping[str, int], likes: Mapping[str, str] | None = None
    ) -> None:
        """`windows` are the context windows that the config sets. They win over what the backend reports. `likes` are the
        models that its names stand for."""
        self._likes = likes or {}
        self._backend = backend
        self._vendor = vendor
        self._responses_models = re.compile(vendor.responses_models) if vendor.responses_models else None
        self._by_responses = vendor.by("responses")
        self.signing_key = b""
        """Signs the thinking blocks of this backend."""
        self._facts: BoundedDict[str, ModelFacts] = BoundedDict(_REMEMBERED + len(windows))
        self._answer_limits: BoundedDict[str, int] = BoundedDict(_REMEMBERED)
        """The longest answer in tokens, where a refusal has named it."""
        self._described: BoundedDict[str, None] = BoundedDict(_REMEMBERED)
        self._targets: BoundedDict[str, Target] = BoundedDict(_REMEMBERED)
        """Targets as they were last made; emptied when something becomes known."""
        self._configured = {model: ModelFacts(window, source="config") for model, window in windows.items()}

    def get(self, model: str) -> ModelFacts:
        """The facts of `model`, all None when nothing is known."""
        known = self._facts.get(model)
        return self._initial(model) if known is None else known

    def _initial(self, model: str) -> ModelFacts:
        """What the config and the vendor's row have of `model`."""
        configured = self._configured.get(model, _NO_FACTS)
        row = (
            known_model(self._vendor.known_models, self._likes.get(model, model)) if self._vendor.known_models else None
        )
        if row is None:
            return configured
        source: Literal["", "vendor"] = "vendor" if row.window is not None else ""
        return configured.over(ModelFacts(row.window, None, row.vision, row.max_output, source))

    def target(self, model: str) -> Target:
        """The target for `model`, with everything that is known of it."""
        known = self._targets.get(model)
        if known is not None and known.key is self.signing_key:
            return known
        facts = self.get(model)
        limit = self._answer_limits.get(model, facts.max_output)
        vendor = self._vendor
        like = self._likes.get(model, "")
        if self._responses_models is not None and self._responses_models.search(like or model):
            vendor = self._by_responses
        target = self._targets[model] = Target(
            self._backend,
            model,
            vendor,
            facts.window,
            facts.tools,
            facts.vision,
            limit,
            key=self.signing_key,
            like=like,
        )
        return target

    def is_described(self, model: str) -> bool:
        """True when the backend has described `model`, or its list of models has."""
        return model in self._described or model in self._facts or model in self._configured

    def mark_described(self, model: str) -> None:
        """Record that the backend was queried about `model`."""
        self._described[model] = None

    def undescribed(self, models: Iterable[str]) -> list[str]:
        """Those of `models` that the backend was not yet queried about."""
        return [model for model in models if model not in self._described]

    def report(self, model: str, reported: ModelFacts) -> None:
        """Store what the backend reports. A window of the config wins over it, and so does a smaller one that a refusal named."""
        known = self.get(model)
        smaller = known.window is not None and reported.window is not None and known.window < reported.window
        facts = reported.over(known)
        if known.source == "config" or (known.source == "learned" and smaller):
            facts = ModelFacts(known.window, source=known.source).over(facts)
        if facts != _NO_FACTS:
            self._store(model, facts)

    def set_window(self, model: str, window: int) -> None:
        """Store the window with which a local process has loaded `model`."""
        if model not in self._configured:
            self._store(model, ModelFacts(window, source="backend").over(self.get(model)))

    def learn_window(self, model: str, window: int) -> None:
        """Store a window that a refusal named, unless the config sets one or a smaller one is known."""
        facts = self.get(model)
        if facts.source != "config" and (facts.window is None or window < facts.window or facts.source == "vendor"):
            self._store(model, ModelFacts(window, source="learned").over(facts))

    def learn_answer_limit(self, model: str, tokens: int) -> bool:
        """Store the longest answer that a refusal named. Returns False when that is no news."""
        if tokens >= self._answer_limits.get(model, tokens + 1):
            return False
        self._answer_limits[model] = tokens
        self._targets.clear()
        return True

    def _store(self, model: str, facts: ModelFacts) -> None:
        self._facts[model] = facts
        self._targets.clear()


class Backend:
    """One configured backend: how to call it, its connections and state, and the facts of its models."""

    def __init__(self, settings: BackendSettings, timeouts: TimeoutSettings, pool: int) -> None:
        """`pool` is the number of idle connections to keep."""
        self.settings = settings
        self.timeouts = timeouts
        self.name = settings.name
        row = VENDORS[settings.type]
        self.vendor = row.by(settings.protocol)
        self.protocol = PROTOCOLS[self.vendor.protocol]()
        """The protocol of its lists, and of a call to no particular model. That of a call is `protocol_of(target)`."""
        self._other_apis = {BY_CHAT: self.vendor.by("chat"), BY_RESPONSES: self.vendor.by("responses")}
        """The row for each repair that calls another API."""
        url = settings.url or self.vendor.url
        self.self_hosted = self.vendor.managed or (url is not None and is_self_hosted(url))
        """Whether the server is on this machine or a private network: by its address, unless the config sets `local`."""
        if settings.local is not None:
            self.self_hosted = settings.local
        self.models: tuple[str, ...] | None = settings.names or None
        """The models that it serves. None: its list is not known yet."""
        self.registry = ModelRegistry(self.name, self.vendor, settings.windows, settings.likes)
        self.counter = Counter()
        self.state: BackendState = "off" if settings.off else "unknown"
        self.message = settings.off
        """Why it is in that state; empty when it is ready."""
        self.problem_kind: Kind | None = None
        """The kind of the Problem that `message` comes from, if any."""
        self.refreshed_at = 0.0
        """When its list of models was requested last, in seconds of the monotonic clock."""
        self.tools_warning_due = 0.0
        """When the next warning of too many tools may be logged, in seconds of the monotonic clock."""
        self.latency: float | None = None
        """Seconds that the last list of models took."""
        self.credential = credentials.static_credential(self.vendor, settings.api_key, settings.headers)
        self.forwards_credential: bool = settings.credential == "client"
        """It gets the caller's own credential: no failover, no retry, no list of models."""
        self.keys: KeyPool | None = None
        """The API keys, when there are several."""
        if settings.api_keys:
            self.keys = KeyPool(self._credentials(self.vendor))
        self.upstream: Upstream | None = None
        self._lists: _Lists | None = None
        self.unloaded: UnloadedModel | None = None
        """Set while Byway has unloaded its local model."""
        self.pid: int | None = None
        """The process that Byway runs for it."""
        self.use: ModelUse | Literal[""] = ""
        """What the local model is for; empty: not known yet, or no local model."""
        self._limit = ConcurrencyLimit(settings.max_concurrent, settings.max_queued)
        self._in_use: BoundedDict[str, None] = BoundedDict(_DESCRIBED)
        """Models that clients call. Each refresh describes them again."""
        self._count_pauses: BoundedDict[str, float] = BoundedDict(_REMEMBERED)
        """Until when the backend does not count tokens, by model."""
        if url and not settings.off:
            self.upstream = self._new_upstream(url, self.vendor, pool)
            if self.vendor.adapts:
                # The Messages APIs of vendors have no list of models. Their own APIs do.
                self._lists = _Lists(
                    self._new_upstream(url, row, 1),
                    self._credentials(row),
                    PROTOCOLS[row.protocol](),
                )

    def _credentials(self, vendor: Vendor) -> tuple[credentials.StaticCredential, ...]:
        """The credential of each API key."""
        settings = self.settings
        keys = settings.api_keys or (settings.api_key,)
        return tuple(credentials.static_credential(vendor, key, settings.headers) for key in keys)

    def _new_upstream(self, url: str, vendor: Vendor, pool: int) -> Upstream:
        base, path = api_root(vendor, url)
        settings = self.settings
        return Upstream(
            base,
            name=self.name,
            timeouts=self.timeouts,
            tls=settings.tls,
            proxy=settings.proxy,
            pool=pool,
            api_path=path,
        )

    @property
    def address(self) -> str:
        """The URL of the server, as configured or as its vendor has it; empty for a local model."""
        return self.settings.url or self.vendor.url or ""

    @property
    def queued(self) -> int:
        """Requests that wait for one of the `max_concurrent` slots."""
        return self._limit.waiting

    # ------------------------------------------------------------------------------------------------------------ calls

    async def send(self, call: Call) -> Answer:
        """Send `call` with our credential and return the answer once its head has arrived. Raises Problem.

        A local model that is unloaded is loaded first. The call holds one of the `max_concurrent` slots until the answer
        is closed, and waits for one in a queue when none is free.
        """
        if self.unloaded is not None:
            await self._wait_until_loaded(self.unloaded)
        limit = self._limit
        if not limit.try_acquire():
            await self._wait_for_slot()
        try:
            upstream = self.upstream if self.state == "ready" else None
            if self.keys is None:
                answer = await (upstream or self._available()).open(credentials.authorize(call, self.credential))
            else:
                key = self.keys.pick(time.monotonic())
                call = credentials.authorize(call, self.keys.credential(key))
                answer = await (upstream or self._available()).open(call)
                answer.key = key
        except BaseException:
            limit.release()
            raise
        answer.on_close = limit.release
        return answer

    async def fetch(self, call: Call, lists: _Lists | None = None) -> bytes:
        """Return the body of a small answer, from `lists` if it is given. Raises Problem for any status but 200."""
        upstream = lists.upstream if lists else self._available()
        if self.keys is None:
            return await self._fetch(upstream, call, lists.credentials[0] if lists else self.credential)
        tries = 0
        while True:
            key = self.keys.pick(time.monotonic())
            tries += 1
            try:
                return await self._fetch(upstream, call, lists.credentials[key] if lists else self.keys.credential(key))
            except Problem as problem:
                if not self.rest_key(key, problem) or tries == len(self.keys):
                    raise

    async def _fetch(self, upstream: Upstream, call: Call, credential: credentials.StaticCredential) -> bytes:
        answer = await upstream.open(credentials.authorize(call, credential))
        try:
            body = await answer.body(_BODY_LIMIT)
            if answer.status != 200:
                target = Target(self.name, "", self.vendor)
                raise self.protocol.problem(answer.status, answer.headers, body, target)
            return body
        finally:
            answer.close()

    def rest_key(self, key: int, problem: Problem) -> bool:
        """Let an API key rest that the backend has refused. Returns whether another one can be used now."""
        keys, now = self.keys, time.monotonic()
        if keys is None:
            return False
        before = len(keys.resting(now))
        others = keys.rest(key, problem, now)
        if len(resting := keys.resting(now)) > before:
            rest = next(rest for rest in resting if rest.position == key + 1)
            log(
                "API key rests",
                logging.WARNING,
                backend=self.name,
                key=f"{rest.position} of {len(keys)}",
                reason=rest.reason,
                seconds=round(rest.seconds),
            )
        return others

    def key_states(self, now: float) -> tuple[str, ...]:
        """The API keys that rest, by their places: `key 2 of 3: rate limited until 12:04`. `now`: seconds since the epoch."""
        if self.keys is None:
            return ()
        return tuple(
            f"key {rest.position} of {len(self.keys)}: {rest.reason} until "
            f"{time.strftime('%H:%M', time.localtime(now + rest.seconds))}"
            for rest in self.keys.resting(time.monotonic())
        )

    def _available(self) -> Upstream:
        """The upstream. Raises Problem while there is none."""
        if self.state == "loading":
            raise Problem("loading", f"{self.message or 'The model is loading.'} Try again in a moment.", retry_after=2)
        if self.upstream is None or self.state == "off":
            if self.state == "failed":
                why = f"has no running model: {self.message}"
            else:
                why = f"is disabled: {self.message or 'it has no address'}"
            raise Problem("unreachable", f"Backend {self.name!r} {why}")
        return self.upstream

    async def _wait_for_slot(self) -> None:
        """Wait in the queue for a slot. Raises Problem `busy` when the queue is full or the wait takes too long."""
        settings = self.settings
        try:
            async with asyncio.timeout(self.timeouts.first_byte):
                await self._limit.acquire()
        except QueueFull:
            waiting = f"and {settings.max_queued} wait" if settings.max_queued else "and none may wait"
            reason = f"{settings.max_concurrent} requests run {waiting} (`backends[].max_concurrent`, `max_queued`)"
        except TimeoutError:
            reason = f"no request ended within {self.timeouts.first_byte:g} s (`timeouts.first_byte`)"
        else:
            return
        message = f"Backend {self.name!r} is busy: {reason}. Try again later, or add a second target to the alias."
        raise Problem("busy", message, retry_after=5)

    async def _wait_until_loaded(self, unloaded: UnloadedModel) -> None:
        """Load the model and wait until that succeeds or fails. Raises Problem when it takes too long."""
        unloaded.load()
        try:
            async with asyncio.timeout(self.timeouts.first_byte):
                await unloaded.settled.wait()
        except TimeoutError:
            message = f"{self.message} It takes longer than {self.timeouts.first_byte:g} s (`timeouts.first_byte`)."
            raise Problem("loading", message, retry_after=10) from None

    # ------------------------------------------------------------------------------------------- state and local process

    def set_state(
        self,
        state: BackendState,
        message: str = "",
        *,
        window: int | None = None,
        unloaded: UnloadedModel | None = None,
    ) -> None:
        """Store the state of the process that Byway runs for this backend, and its window when that is known."""
        self.state, self.message, self.unloaded = state, message, unloaded
        if state != "ready":
            self.upstream = self.pid = None
        if window:
            for model in self.settings.names:
                self.registry.set_window(model, window)

    def attach(self, url: str, secret: str, window: int, pid: int | None, use: ModelUse) -> Upstream:
        """Send calls to the local process that listens at `url` from now on. Returns the new connections."""
        self.credential = credentials.static_credential(self.vendor, secret, {})
        self.upstream = Upstream(url, name=self.name, timeouts=self.timeouts, proxy="none")
        self.use = use
        self.set_state("ready", window=window)
        self.pid = pid
        return self.upstream

    def serves(self, path: str) -> bool:
        """False when the local model cannot do what an endpoint is for."""
        return not self.use or path in _PATHS_OF_USES[self.use]

    async def close(self) -> None:
        """Close the idle connections. Running answers keep theirs until they end."""
        if self.upstream is not None:
            await self.upstream.close()
        if self._lists is not None:
            await self._lists.upstream.close()

    # ----------------------------------------------------------------------------------------------------------- models

    async def refresh(self, now: float) -> None:
        """Fetch the list of models and describe them. A failure becomes the state of the backend."""
        if self.upstream is None or self.vendor.managed:
            # The supervisor of a local process reports its state and its model.
            return
        self.refreshed_at = now
        if self.forwards_credential:
            # Byway has no credential of its own for it.
            self.state, self.message, self.problem_kind = "ready", "", None
            return
        try:
            listed = await self._listed()
            self.latency = time.monotonic() - now
            if not self.settings.models and not self.vendor.needs_models:
                self.models = tuple(listed)
            for model in self.models or ():
                if model in listed:
                    self.registry.report(model, listed[model])
            models = dict.fromkeys((*self._in_use, *self.registry.undescribed(self.models or ())))
            await self.describe(tuple(models)[:_DESCRIBED])
            self.state, self.message, self.problem_kind = "ready", "", None
        except Problem as problem:
            self.state, self.message, self.problem_kind = "failed", problem.message, problem.kind

    async def _listed(self) -> dict[str, ModelFacts]:
        """The list of models, and what it reports of each. Raises Problem."""
        try:
            async with asyncio.timeout(_LIST_TIMEOUT):
                return await self._pages()
        except TimeoutError:
            message = f"{self._available().shown} did not list its models in {_LIST_TIMEOUT:g} s."
            raise Problem("timeout", message) from None
        except Problem as problem:
            # Models that the config names need no list, but the server must be there.
            if not self.settings.models or problem.kind in _UNREACHABLE:
                raise
            return {}

    async def _pages(self) -> dict[str, ModelFacts]:
        """All pages of the list of models. A page without a new model is the last one, whatever it says of others."""
        models: dict[str, ModelFacts] = {}
        protocol = self._lists.protocol if self._lists else self.protocol
        call = protocol.models()
        for _ in range(_MAX_PAGES):
            body = await self.fetch(call, self._lists)
            # Decoding takes about as long as for a request of four times the size.
            page = await off_loop(4 * len(body), protocol.read_models, body)
            known = len(models)
            for name, facts in page.items():
                models.setdefault(name, facts)
            following = protocol.next_models(body)
            if following is None or not known < len(models) < _MAX_MODELS:
                break
            call = following
        return models

    async def describe(self, models: Iterable[str]) -> None:
        """Query what each of `models` can do, every page once. Some builds have no such pages, and nothing depends on them."""
        pages: dict[Call, bytes] = {}
        for model in models:
            self.registry.mark_described(model)
            target = Target(self.name, model, self.vendor)
            facts = _NO_FACTS
            for call in self.protocol.describe(target):
                if call not in pages:
                    pages[call] = b""
                    try:
                        async with asyncio.timeout(_PAGE_TIMEOUT):
                            pages[call] = await self.fetch(call)
                    except TimeoutError:
                        return
                    except Problem:
                        continue
                if pages[call]:
                    facts = facts.over(self.protocol.read_description(pages[call], target))
            self.registry.report(model, facts)

    def note_use(self, model: str) -> bool:
        """Record that a client calls `model`. Returns True when the backend was never queried about it."""
        self._in_use[model] = None
        return self.upstream is not None and not self.registry.is_described(model)

    def served_models(self) -> ServedModels:
        """What it serves, for routing."""
        return ServedModels(
            self.name,
            self.models,
            self.settings.weight,
            self.self_hosted,
            self.vendor.cloud_suffixes,
            self.state == "failed",
        )

    def lists(self, model: str) -> bool:
        """True unless the list of its models is known and does not contain `model`. Ollama's tag `latest` may be left out."""
        return self.models is None or model in self.models or f"{model}:latest" in self.models

    def runs_here(self, model: str) -> bool:
        """True when requests for `model` stay with a self-hosted server."""
        return self.self_hosted and not model.endswith(self.vendor.cloud_suffixes)

    # ----------------------------------------------------------------------------------------------------------- tokens

    async def count_tokens(self, request: Request, target: Target) -> tuple[int, bool]:
        """Return the tokens of the prompt, and True when the backend counted them; False: they are an estimate.

        Raises Problem when the backend would reject the request.
        """
        now = time.monotonic()
        call = None
        if now >= self._count_pauses.get(target.model, 0):
            call = await off_loop(request.weight, protocol_of(target).count, request, target)
        if call is not None and self.forwards_credential:
            call = credentials.with_client_credential(call, request.headers, self.name)
        if call is not None:
            try:
                async with asyncio.timeout(_COUNT_TIMEOUT):
                    return protocol_of(target).read_count(await self.fetch(call)), True
            except TimeoutError:
                self._count_pauses[target.model] = now + _FAILURE_PAUSE
            except Problem as problem:
                tokens = problem.facts.get("tokens")
                if isinstance(tokens, int):
                    return tokens, True
                missing = problem.facts.get("status") in _NO_SUCH_PAGE
                if problem.row.blame == "client" and not missing:
                    raise
                self._count_pauses[target.model] = now + (_NO_PAGE_PAUSE if missing else _FAILURE_PAUSE)
        body = (await off_loop(request.weight, protocol_of(target).request, request, target)).body
        tokens = await off_loop(request.weight, self.counter.tokens, target.model, body, target.tools is not False)
        return tokens, False

    def too_long(self, target: Target, body: bytes) -> Problem | None:
        """Return the Problem for a prompt that certainly exceeds the window, or None when the backend should decide.

        Anthropic's own backends always decide. So does one whose window is known from a refusal alone: it may have been
        restarted with another window. The row of a vendor may be older than the model.
        """
        if target.window is None or not may_exceed(len(body), target.window):
            return None
        if not self.vendor.clamps_max_tokens or self.registry.get(target.model).source in ("learned", "vendor"):
            return None
        return refuses(self.counter.tokens(target.model, body, target.tools is not False), None, target.window)

    def repaired(self, target: Target, repairs: tuple[str, ...]) -> Target:
        """Return the target as its refusals have named it: called by another API."""
        if repairs:
            for repair, vendor in self._other_apis.items():
                if repair in repairs:
                    return msgspec.structs.replace(target, vendor=vendor)
        return target

    @property
    def by_responses(self) -> Vendor:
        """The row of the vendor for calls by the Responses API."""
        return self._other_apis[BY_RESPONSES]

    def learn_from(self, problem: Problem, model: str, attempt: Attempt) -> Attempt | None:
        """Store the limits that a refusal names. Returns the attempt that may pass now, None when nothing was learned."""
        if not self.vendor.clamps_max_tokens:
            return None
        limit, tokens, window = (problem.facts.get(name) for name in ("max_output", "tokens", "window"))
        if isinstance(window, int) and window >= SMALLEST_WINDOW:
            self.registry.learn_window(model, window)
        if isinstance(limit, int) and limit > 0 and self.registry.learn_answer_limit(model, limit):
            return attempt
        if isinstance(tokens, int) and isinstance(window, int) and tokens < window and attempt.room is None:
            # The prompt fits, but the requested length of the answer does not fit behind it.
            return msgspec.structs.replace(attempt, room=window - tokens)
        return None
