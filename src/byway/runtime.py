"""Config -> live objects: backends with their pools, keys, health. A reload makes a new Runtime and swaps one reference.

A request takes the runtime once, at the door, and keeps it. What did not change in the config is shared between
generations, so a reload drops no stream and forgets no cache of connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypeVar

from byway.access.keys import KeyRecord, Keyring, key_required
from byway.backends import anthropic
from byway.backends.openai import completions
from byway.backends.protocol import BackendProtocol, Call, ModelFacts, Target
from byway.backends.vendors import VENDORS, ProtocolName
from byway.config import BackendSettings as Settings
from byway.config import Config, TimeoutSettings
from byway.logs import say
from byway.messages import pdf
from byway.messages.request import Request
from byway.messages.tokens import Counter, may_exceed, refuses
from byway.problems import Kind, Problem
from byway.routing import route as routing
from byway.routing.cooldown import Health
from byway.search.chain import Searcher
from byway.secrets.names import Scrubber
from byway.upstream import credentials
from byway.upstream.client import Upstream
from byway.web.fetch import Fetcher

PROTOCOLS: Final[Mapping[ProtocolName, BackendProtocol]] = {"openai": completions, "anthropic": anthropic}
State = Literal["unknown", "loading", "ready", "asleep", "failed", "off"]

#: How often backends that list their own models are asked again, and how soon at most when a client asks for an unknown one.
_ASK_EVERY: Final = 30.0
_ASK_SOONEST: Final = 2.0
#: The list of models takes no longer, and a client that has named an unknown one does not wait for all of that.
_ASK_LIMIT: Final = 10.0
_CLIENT_WAITS: Final = 2.0
#: Problems that say that nobody is there.
_NOBODY: Final = frozenset(("unreachable", "timeout"))
_REMEMBERED: Final = 256
_NOTHING: Final = ModelFacts()
#: So many models of one backend are asked about.
_DESCRIBED: Final = 20
_PAGE_LIMIT: Final = 2.0
#: A count takes no longer, and a backend that has no page for it, or is down, is left alone for a while.
_COUNT_LIMIT: Final = 5.0
_NO_SUCH_PAGE: Final = frozenset((404, 405, 501))
_LEFT_ALONE: Final = 600.0
_LEFT_A_MOMENT: Final = 5.0
_LIST_LIMIT: Final = 8 << 20


T = TypeVar("T")


async def after_reading(
    unread: pdf.Unread, make: Callable[[Request, Target], T], request: Request, target: Target
) -> T:
    """What `make` makes of `request`, once the PDFs are read that it has stumbled upon; raises Problem."""
    seen: set[bytes] = set()
    while unread.digest not in seen:
        seen.add(unread.digest)
        pdf.remember(unread, await asyncio.to_thread(unread.read))
        try:
            return make(request, target)
        except pdf.Unread as another:
            unread = another
    raise Problem(
        "invalid_request", "The PDFs of this request hold more text than any model takes. Send fewer of them."
    )


class Rest(NamedTuple):
    """A model that was unloaded because nobody asked for it."""

    wake: Callable[[], None]
    over: asyncio.Event


class Live:
    """One configured backend: how to speak to it, its pool, and what it is known to serve."""

    def __init__(self, settings: Settings, timeouts: TimeoutSettings, pool: int) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self.name = settings.name
        self.vendor = VENDORS[settings.type]
        self.protocol = PROTOCOLS[self.vendor.protocol]
        self.models: tuple[str, ...] | None = settings.names or None
        self.facts: dict[str, ModelFacts] = {
            model: ModelFacts(size, source="config") for model, size in settings.windows.items()
        }
        self.counter = Counter()
        self._uncounted: dict[str, float] = {}
        """Until when the backend is not asked to count, by model."""
        self._used: dict[str, None] = {}
        """Models that were asked for: what is known of them is kept fresh."""
        self._described: set[str] = set()
        self.state: State = "off" if settings.off else "unknown"
        self.message = settings.off
        self.asked = 0.0
        self.latency: float | None = None
        """Seconds that its last list of models took."""
        self.trouble: Kind | None = None
        """What kind of Problem its message is, where it is one."""
        self.credential = credentials.static(self.vendor, settings.api_key, settings.headers)
        self.upstream: Upstream | None = None
        self.rest: Rest | None = None
        """Set while Byway has its model unloaded: whoever wants it waits for `woken`."""
        self.pid: int | None = None
        """The process that Byway runs for it."""
        self.max_output: dict[str, int] = {}
        """The longest answer in tokens, by model, where a refusal has said so."""
        url = settings.url or self.vendor.url
        if url and not settings.off:
            self.upstream = Upstream(
                url, name=self.name, timeouts=timeouts, tls=settings.tls, proxy=settings.proxy, pool=pool
            )

    @property
    def open(self) -> Upstream:
        """The way to it; raises Problem while there is none."""
        if self.state == "loading":
            raise Problem("loading", f"{self.message or 'The model is loading.'} Ask again in a moment.", retry_after=2)
        if self.upstream is None or self.state == "off":
            words = f"has no model running: {self.message}" if self.state == "failed" else f"is off: {self.message}"
            raise Problem(
                "unreachable", f"Backend {self.name!r} {words if self.message else 'is off: it has no address'}"
            )
        return self.upstream

    async def woken(self) -> None:
        """Have the model loaded again, and wait until it is or has failed to be. Raises Problem when that takes too long."""
        if self.rest is not None:
            self.rest.wake()
            try:
                async with asyncio.timeout(self.timeouts.first_byte):
                    await self.rest.over.wait()
            except TimeoutError:
                words = f"{self.message} It takes longer than {self.timeouts.first_byte:g} s (`timeouts.first_byte`)."
                raise Problem("loading", words, retry_after=10) from None

    async def fetch(self, call: Call) -> bytes:
        """The body of a small call's answer; raises Problem for anything but success."""
        answer = await self.open.open(await credentials.authorize(call, self.credential))
        try:
            body = await answer.body(_LIST_LIMIT)
            if answer.status != 200:
                target = Target(self.name, "", self.vendor)
                raise self.protocol.problem(answer.status, answer.headers, body, target)
            return body
        finally:
            answer.close()

    async def ask(self, now: float) -> None:
        """Ask the backend what it serves and what it says of its models. A failure is kept as its state."""
        if self.upstream is None or self.vendor.managed:
            # What a process of ours serves, and how it is doing, is told by whoever runs it.
            return
        self.asked = now
        began = time.monotonic()
        try:
            try:
                async with asyncio.timeout(_ASK_LIMIT):
                    found = self.protocol.read_models(await self.fetch(self.protocol.models()))
            except TimeoutError:
                raise Problem("timeout", f"{self.open.shown} did not list its models in {_ASK_LIMIT:g} s.") from None
            except Problem as problem:
                # Models that the config names need no list, but somebody has to be there.
                if not self.settings.models or problem.kind in _NOBODY:
                    raise
                found = {}
            self.latency = time.monotonic() - began
            if not self.settings.models:
                self.models = tuple(found)
            self._know({model: found[model] for model in self.models or () if model in found})
            models = dict.fromkeys((*self._used, *(one for one in self.models or () if one not in self._described)))
            await self.describe(tuple(models)[:_DESCRIBED])
            self.state, self.message, self.trouble = "ready", "", None
        except Problem as problem:
            self.state, self.message, self.trouble = "failed", problem.message, problem.kind

    def _know(self, found: Mapping[str, ModelFacts]) -> None:
        """Keep what the backend says of its models. Above its word on a window stand the config's, and a refusal that has
        named a smaller one."""
        for model, said in found.items():
            known = self.facts.get(model, _NOTHING)
            smaller = known.window is not None and said.window is not None and known.window < said.window
            facts = said.over(known)
            if known.source == "config" or (known.source == "learned" and smaller):
                facts = ModelFacts(known.window, source=known.source).over(facts)
            if facts != _NOTHING:
                self.facts[model] = facts

    async def describe(self, models: Iterable[str]) -> None:
        """Ask what these models can do, each page once. Not every build has the pages; nothing depends on them."""
        pages: dict[Call, bytes] = {}
        for model in models:
            self._described.add(model)
            target = Target(self.name, model, self.vendor)
            found = _NOTHING
            for call in self.protocol.describe(target):
                if call not in pages:
                    pages[call] = b""
                    try:
                        async with asyncio.timeout(_PAGE_LIMIT):
                            pages[call] = await self.fetch(call)
                    except TimeoutError:
                        return
                    except Problem:
                        continue
                if pages[call]:
                    found = found.over(self.protocol.read_description(pages[call], target))
            self._know({model: found})

    def use(self, model: str) -> bool:
        """Remember that `model` is asked for; True when nobody has asked about it yet."""
        if len(self._used) < _DESCRIBED:
            self._used[model] = None
        return model not in self._described and model not in self.facts and self.upstream is not None

    async def count(self, request: Request, target: Target) -> tuple[int, bool]:
        """The tokens of the prompt that `request` sends, and whether the backend itself has counted them.

        Raises Problem where the request would be refused. A backend that cannot count now gets an estimate instead.
        """
        now = time.monotonic()
        call = None
        if now >= self._uncounted.get(target.model, 0):
            try:
                call = self.protocol.count(request, target)
            except pdf.Unread as unread:
                call = await after_reading(unread, self.protocol.count, request, target)
        if call is not None:
            try:
                async with asyncio.timeout(_COUNT_LIMIT):
                    return self.protocol.read_count(await self.fetch(call)), True
            except TimeoutError:
                self._uncounted[target.model] = now + _LEFT_A_MOMENT
            except Problem as problem:
                tokens = problem.facts.get("tokens")
                if isinstance(tokens, int):
                    return tokens, True
                missing = problem.facts.get("status") in _NO_SUCH_PAGE
                if problem.row.blame == "client" and not missing:
                    raise
                self._uncounted[target.model] = now + (_LEFT_ALONE if missing else _LEFT_A_MOMENT)
        try:
            body = self.protocol.request(request, target).body
        except pdf.Unread as unread:
            body = (await after_reading(unread, self.protocol.request, request, target)).body
        return self.counter.tokens(target.model, body, target.tools is not False), False

    def refusal(self, target: Target, body: bytes) -> Problem | None:
        """The Problem of a prompt that surely does not fit into the window; None when it is worth a try.

        Anthropic's own backends are left to say so themselves, and so is one whose window is known from a refusal alone: it
        may have been started anew with another.
        """
        if target.window is None or not may_exceed(len(body), target.window):
            return None
        if not self.vendor.clamps_max_tokens or self.facts.get(target.model, _NOTHING).source == "learned":
            return None
        return refuses(self.counter.tokens(target.model, body, target.tools is not False), None, target.window)

    def target(self, model: str) -> Target:
        facts = self.facts.get(model, _NOTHING)
        max_output = self.max_output.get(model, facts.max_output)
        return Target(self.name, model, self.vendor, facts.window, facts.tools, facts.vision, max_output)

    def learn(self, model: str, request: Request, problem: Problem) -> bool:
        """Take what a refusal says of the longest answer; True when the same request may now pass."""
        if not self.vendor.clamps_max_tokens:
            return False
        max_output, tokens, window = (problem.facts.get(name) for name in ("max_output", "tokens", "window"))
        if isinstance(window, int) and window > 0:
            self._learn_window(model, window)
        if isinstance(max_output, int) and 0 < max_output < self.max_output.get(model, max_output + 1):
            self.max_output[model] = max_output
            return True
        if isinstance(tokens, int) and isinstance(window, int) and tokens < window and request.room is None:
            # The prompt fits; the answer that was asked for does not fit behind it.
            request.room = window - tokens
            return True
        return False

    def _learn_window(self, model: str, window: int) -> None:
        """A refusal has named the window: the truth, unless the config says otherwise."""
        facts = self.facts.get(model, _NOTHING)
        if facts.source != "config" and (facts.window is None or window < facts.window):
            self.facts[model] = ModelFacts(window, source="learned").over(facts)


class Runtime:
    """Everything that one generation of the config gives: the value that requests hold."""

    def __init__(self, config: Config, before: Runtime | None = None, stored: Sequence[KeyRecord] = ()) -> None:
        """`stored`: the keys that the store has; with `before` they are that one's."""
        self.config = config
        self.health: Health = before.health if before else Health()
        shared = {live.name: live for live in before.backends.values()} if before else {}
        self.backends: dict[str, Live] = {}
        for settings in config.backends:
            old = shared.get(settings.name)
            same = old is not None and old.settings == settings and old.timeouts == config.timeouts
            self.backends[settings.name] = (
                old if same and old is not None else Live(settings, config.timeouts, config.server.connection_pool_size)
            )
        self.used: dict[str, float] = before.used if before else {}
        """When each key last opened the door, by its id, since the store was last told: seconds since the epoch."""
        self.take_keys(before.stored if before else stored)
        self.scrubber = Scrubber(config.secrets)
        self.aliases: dict[str, tuple[str, ...]] = dict(config.model_aliases)
        builtin = [one for one in config.backends if one.managed]
        if not self.aliases and len(builtin) == len(config.backends):
            # Nobody chose anything, so every name leads to the models that Byway itself runs.
            self.aliases = {"default": tuple(f"{one.name}/{one.names[0]}" for one in builtin)}
        same = before is not None and before.config.web_search == config.web_search
        self.searcher: Searcher = before.searcher if same and before is not None else Searcher(config.web_search)
        alike = before is not None and (before.config.web_fetch, before.config.local_only) == (
            config.web_fetch,
            config.local_only,
        )
        self.fetcher: Fetcher = (
            before.fetcher if alike and before is not None else Fetcher(config.web_fetch, local_only=config.local_only)
        )
        self._turn = 0
        self._routes: dict[str, routing.Route] = {}
        self._watch: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    def take_keys(self, stored: Sequence[KeyRecord]) -> None:
        """Let the keys of the store be these from the next request on."""
        keys = self.config.api_keys
        self.stored = stored
        self.keyring = Keyring(keys.api_keys, key_required(keys, stored), stored, self.used)

    async def start(self) -> None:
        """Begin to ask the backends what they serve; does not wait for them."""
        self._watch = asyncio.get_running_loop().create_task(self._keep_asking())

    async def close(self, after: Runtime | None = None) -> None:
        """Stop asking and close the pools that `after` does not share. Streams that run keep their connections."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        kept = {id(live) for live in after.backends.values()} if after else set()
        for live in self.backends.values():
            if id(live) not in kept and live.upstream is not None:
                await live.upstream.close()
        if after is None or after.searcher is not self.searcher:
            await self.searcher.close()

    async def _keep_asking(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(_ASK_EVERY)

    async def ask(self, soonest: float = 0.0) -> None:
        """Ask every backend, at once, what it serves; those asked less than `soonest` seconds ago are left alone.

        One that is slow is waited for only where no client waits.
        """
        now = time.monotonic()
        asking = {
            asyncio.get_running_loop().create_task(live.ask(now))
            for live in self.backends.values()
            if now - live.asked >= soonest
        }
        self._asking |= asking
        for task in asking:
            task.add_done_callback(self._asking.discard)
        if asking:
            await asyncio.wait(asking, timeout=_CLIENT_WAITS if soonest else None)
        self._routes.clear()

    async def check(self, name: str) -> None:
        """Ask one backend now. Raises Problem when the process of a local model does not answer; the others' states say it."""
        live = self.backends[name]
        began = time.monotonic()
        if live.vendor.managed:
            await live.fetch(live.protocol.models())
            live.latency = time.monotonic() - began
        else:
            await live.ask(began)
        self._routes.clear()

    def attach(self, name: str, url: str, secret: str, window: int, pid: int | None = None) -> Upstream | None:
        """Say where the process of a built-in backend listens; requests go there from now on, by what is given back."""
        live = self.backends.get(name)
        if live is None:
            return None
        live.credential = credentials.static(live.vendor, secret, {})
        live.upstream = Upstream(url, name=name, timeouts=live.timeouts, proxy="none")
        live.pid = pid
        self.state(name, "ready", window=window)
        self._ask_about(live, live.settings.names)
        return live.upstream

    def state(
        self, name: str, state: State, message: str = "", *, window: int | None = None, rest: Rest | None = None
    ) -> None:
        """Say how a built-in backend's process is doing, its window when that is known, and how it is woken."""
        live = self.backends.get(name)
        if live is None:
            return
        live.state, live.message, live.rest = state, message, rest
        if state != "ready":
            live.upstream = live.pid = None
        for model in live.settings.names if window else ():
            if model not in live.settings.windows:
                live.facts[model] = ModelFacts(window, source="backend").over(live.facts.get(model, _NOTHING))
        self._routes.clear()

    def served(self) -> list[routing.Served]:
        return [
            routing.Served(live.name, live.models, live.settings.weight)
            for live in self.backends.values()
            if live.state != "off"
        ]

    def known(self, model: str) -> routing.Route | None:
        """Where `model` leads, when that was worked out before and holds for everybody."""
        return self._routes.get(model)

    async def route(self, model: str, session: str = "") -> routing.Route:
        """Where `model` leads now. An unknown name makes Byway ask the backends again before it says no."""
        known = self._routes.get(model)
        if known is not None:
            return known
        self._turn += 1
        turn = hash(session) if session else self._turn
        try:
            route = routing.route(model, self.served(), self.aliases, turn)
        except Problem:
            await self.ask(_ASK_SOONEST)
            route = routing.route(model, self.served(), self.aliases, turn)
        self._get_to_know(route)
        if route.alias:
            first = route.places[0]
            say(
                "Rewrote request.model via model_aliases",
                asked=model,
                alias=route.alias,
                target=f"{first.backend}/{first.model}",
            )
        if len(route.places) == 1 and len(self._routes) < _REMEMBERED:
            # Nothing to take turns with: the answer holds until a backend serves something else.
            self._routes[model] = route
        return route

    def _get_to_know(self, route: routing.Route) -> None:
        """Ask, without waiting, about models that are led to for the first time."""
        for place in route.places:
            live = self.backends[place.backend]
            if live.use(place.model):
                self._ask_about(live, (place.model,))

    def _ask_about(self, live: Live, models: Iterable[str]) -> None:
        task = asyncio.get_running_loop().create_task(live.describe(models))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    def places(self, route: routing.Route) -> tuple[routing.Place, ...]:
        """The places of `route` with resting backends last."""
        if len(route.places) == 1:
            return route.places
        return self.health.order(route.places, tuple(place.backend for place in route.places), time.monotonic())

    def report(self) -> list[tuple[str, State, str]]:
        """Name, state and message of every backend, for `/readyz` and people."""
        return [(live.name, live.state, live.message) for live in self.backends.values()]


async def swap(before: Runtime, config: Config) -> Runtime:
    """The runtime of a new config, which shares with `before` what did not change."""
    after = Runtime(config, before)
    await after.start()
    await before.close(after)
    say("Config loaded", backends=len(after.backends), aliases=len(after.aliases))
    return after
