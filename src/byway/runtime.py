"""Config -> live objects: backends with their pools, keys, health. A reload makes a new Runtime and swaps one reference.

A request takes the runtime once, at the door, and keeps it. What did not change in the config is shared between
generations, so a reload drops no stream and forgets no cache of connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Final, Literal

from byway import credentials, routing
from byway.backends import Backend, Call, Facts, Target, anthropic, openai
from byway.config import Backend as Settings
from byway.config import Config, Timeouts
from byway.health import Health
from byway.keys import Keyring
from byway.logs import say
from byway.problems import Problem
from byway.secrets import Scrubber
from byway.upstream import Upstream
from byway.vendors import VENDORS, ProtocolName

#: The built-in model's name, before its process says it.
MODEL: Final = "smollm2-135m-instruct"
PROTOCOLS: Final[Mapping[ProtocolName, Backend]] = {"openai": openai, "anthropic": anthropic}
State = Literal["unknown", "loading", "ready", "failed", "off"]

#: How often backends that list their own models are asked again, and how soon at most when a client asks for an unknown one.
_ASK_EVERY: Final = 30.0
_ASK_SOONEST: Final = 2.0
_REMEMBERED: Final = 256
_NOTHING: Final = Facts()
_LIST_LIMIT: Final = 8 << 20


class Live:
    """One configured backend: how to speak to it, its pool, and what it is known to serve."""

    def __init__(self, settings: Settings, timeouts: Timeouts, pool: int) -> None:
        self.settings = settings
        self.timeouts = timeouts
        self.name = settings.name
        self.vendor = VENDORS[settings.type]
        self.protocol = PROTOCOLS[self.vendor.protocol]
        self.models: tuple[str, ...] | None = settings.models or None
        self.facts: dict[str, Facts] = {model: Facts(window) for model, window in settings.windows.items()}
        self.state: State = "off" if settings.off else "unknown"
        self.message = settings.off
        self.asked = 0.0
        self.credential = credentials.static(self.vendor, settings.api_key, settings.headers)
        self.upstream: Upstream | None = None
        self.tokens_per_byte: float | None = None
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
            raise Problem("unreachable", f"Backend {self.name!r} is off: {self.message or 'it has no address'}")
        return self.upstream

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
        if self.upstream is None or self.state in ("off", "loading"):
            return
        self.asked = now
        try:
            if not self.settings.models:
                self.models = tuple(self.protocol.read_models(await self.fetch(self.protocol.models())))
            for model in (self.models or ())[:1]:
                await self._describe(model)
            self.state, self.message = "ready", ""
        except Problem as problem:
            self.state, self.message = "failed", problem.message

    async def _describe(self, model: str) -> None:
        target = Target(self.name, model, self.vendor)
        call = self.protocol.describe(target)
        if call is not None and model not in self.facts:
            try:
                self.facts[model] = self.protocol.read_description(await self.fetch(call), target)
            except Problem:
                # Not every build has the page; nothing depends on it.
                self.facts[model] = Facts()

    def target(self, model: str) -> Target:
        facts = self.facts.get(model, _NOTHING)
        return Target(self.name, model, self.vendor, facts.window, facts.tools, facts.vision)


class Runtime:
    """Everything that one generation of the config gives: the value that requests hold."""

    def __init__(self, config: Config, before: Runtime | None = None) -> None:
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
        self.keyring = Keyring(config.api_keys.api_keys, config.api_keys.closed)
        self.scrubber = Scrubber(
            [*(one.api_key for one in config.backends if one.api_key), *(key.key for key in config.api_keys.api_keys)]
        )
        self.aliases: dict[str, tuple[str, ...]] = dict(config.model_aliases)
        builtin = [one.name for one in config.backends if one.type == "builtin"]
        if not self.aliases and len(builtin) == len(config.backends):
            # Nobody chose anything, so every name leads to the built-in model.
            self.aliases = {"default": tuple(f"{name}/{MODEL}" for name in builtin)}
        self._turn = 0
        self._routes: dict[str, routing.Route] = {}
        self._watch: asyncio.Task[None] | None = None

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

    async def _keep_asking(self) -> None:
        while True:
            await self.ask()
            await asyncio.sleep(_ASK_EVERY)

    async def ask(self, soonest: float = 0.0) -> None:
        """Ask every backend, at once, what it serves; those asked less than `soonest` seconds ago are left alone."""
        now = time.monotonic()
        await asyncio.gather(*(live.ask(now) for live in self.backends.values() if now - live.asked >= soonest))
        self._routes.clear()

    def attach(self, name: str, url: str, secret: str, models: list[str], window: int) -> None:
        """Say where the process of a built-in backend listens; requests go there from now on."""
        live = self.backends.get(name)
        if live is not None:
            live.credential = credentials.static(live.vendor, secret, {})
            live.upstream = Upstream(url, name=name, timeouts=live.timeouts, proxy="none")
            live.models = tuple(models)
            live.facts = {model: Facts(window) for model in models}
            live.state, live.message = "ready", ""
            self._routes.clear()

    def state(self, name: str, state: State, message: str = "") -> None:
        """Say how a built-in backend's process is doing."""
        live = self.backends.get(name)
        if live is not None:
            live.state, live.message = state, message
            self._routes.clear()

    def served(self) -> list[routing.Served]:
        return [
            routing.Served(live.name, live.models, live.settings.weight)
            for live in self.backends.values()
            if live.state != "off"
        ]

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
