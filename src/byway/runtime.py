"""Config -> live objects: backends, keys, aliases, search. A reload makes a new Runtime and swaps one reference.

A request takes the runtime once, at its start, and keeps it. Generations share what did not change in the config, so a
reload ends no stream and closes no connection that is still needed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from byway.access.keys import Keyring, key_required
from byway.backend import Backend, BackendState, UnloadedModel
from byway.backends.protocol import ModelUse
from byway.bounded import BoundedDict
from byway.config import Config
from byway.guardrails.rules import Guardrails, make_guardrails
from byway.learned import LearnedRepairs
from byway.limits.limiter import Limiter, make_limiter
from byway.limits.meter import Meter
from byway.logs import log
from byway.parsing.cache import PdfCache
from byway.prices.source import PriceSource
from byway.prices.table import PricedBackend, PriceTable
from byway.problems import Problem
from byway.prompts import GlobalPrompts, make_prompts
from byway.routing.cooldown import CoolDown
from byway.routing.route import RoutingTable, ServedModels, TargetName, TargetRoute, implied_aliases
from byway.scrub import Scrubber
from byway.search.chain import Searcher
from byway.search.tools import ToolSearcher
from byway.store import KeyRecord
from byway.upstream.client import Upstream
from byway.web.fetch import Fetcher

#: Seconds between two refreshes, and the least between two that requests for unknown models start.
_REFRESH_EVERY: Final = 30.0
_REFRESH_PAUSE: Final = 2.0
#: Seconds that a request for an unknown model waits for the refresh.
_CLIENT_WAITS: Final = 2.0
_REMEMBERED_ROUTES: Final = 256
#: Queries that describe models for requests, at once.
_TASKS: Final = 16


class BackendStatus(NamedTuple):
    """How a backend is doing, for `/readyz` and for people."""

    name: str
    state: BackendState
    message: str


class Runtime:
    """Everything that one generation of the config makes: the value that requests hold."""

    def __init__(
        self,
        config: Config,
        before: Runtime | None = None,
        stored: Sequence[KeyRecord] = (),
        secret: bytes = b"",
        price_source: PriceSource | None = None,
    ) -> None:
        """`stored` are the keys of the store, `secret` signs reasoning, `price_source` has the prices of vendors; with
        `before` all come from that generation."""
        self.config = config
        self.secret: bytes = before.secret if before else secret or os.urandom(32)
        names = {settings.name for settings in config.backends}
        self.cooldown: CoolDown = before.cooldown if before else CoolDown()
        self.cooldown.keep(names)
        self.backends: dict[str, Backend] = {}
        for settings in config.backends:
            old = before.backends.get(settings.name) if before else None
            if old is None or old.settings != settings or old.timeouts != config.timeouts:
                old = Backend(settings, config.timeouts, config.server.connection_pool_size)
            scope = f"{settings.type} {old.address}".encode()
            old.registry.signing_key = blake2b(scope, key=self.secret, digest_size=32).digest()
            self.backends[settings.name] = old
        self.price_source: PriceSource | None = before.price_source if before else price_source
        self.prices = PriceTable(config.prices, map(_priced, self.backends.values()), self.price_source)
        """What the models cost."""
        self.used: dict[str, float] = before.used if before else {}
        """The last uses of keys that the store does not have yet, by the id of the key: seconds since the epoch."""
        self.learned: LearnedRepairs = before.learned if before else LearnedRepairs()
        """Repairs of calls that the refusals of backends have named."""
        self.forwards_credentials: bool = any(backend.forwards_credential for backend in self.backends.values())
        """A backend gets the credentials of callers: `credential: client`."""
        self.clock_behind: float = before.clock_behind if before else 0.0
        """Seconds by which the system's clock was set back since Byway started. Keys expire as if it was not."""
        self.limiter: Limiter | None = make_limiter(
            config, time.monotonic(), time.time(), before.limiter if before else None
        )
        """The limits of the config; None when it has none."""
        self.prompts: GlobalPrompts | None = make_prompts(config.global_prompts)
        """The system prompts of the operator; None without any."""
        alike = before is not None and before.config.guardrails == config.guardrails
        self.guardrails: Guardrails | None = (
            before.guardrails
            if before is not None and alike
            else make_guardrails(config.guardrails.enabled, config.guardrails.rules)
        )
        """The rules on requests and answers; None when nothing is checked."""
        self.take_keys(before.stored if before else stored)
        self.scrubber = Scrubber(config.secrets)
        self.pdfs: PdfCache = before.pdfs if before else PdfCache()
        self.searcher: Searcher = (
            before.searcher
            if before is not None and before.config.web_search == config.web_search
            else Searcher(config.web_search)
        )
        self.tool_searcher: ToolSearcher = before.tool_searcher if before else ToolSearcher()
        alike = before is not None and (before.config.web_fetch, before.config.local_only) == (
            config.web_fetch,
            config.local_only,
        )
        self.fetcher: Fetcher = (
            before.fetcher if alike and before is not None else Fetcher(config.web_fetch, local_only=config.local_only)
        )
        self._turn = 0
        self._aliases: Mapping[str, Sequence[str]] = {}
        self._table: RoutingTable | None = None
        self._routes: BoundedDict[str, TargetRoute] = BoundedDict(_REMEMBERED_ROUTES)
        """Routes with one target: they hold until a backend serves other models."""
        self.meters: BoundedDict[str, Meter] = BoundedDict(_REMEMBERED_ROUTES)
        """By what the tokens and the cost of requests are estimated, by the model name."""
        self._logged: BoundedDict[str, None] = BoundedDict(_REMEMBERED_ROUTES)
        """Names with several targets whose alias was logged since the routes were remembered."""
        self._refreshing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def take_keys(self, stored: Sequence[KeyRecord]) -> None:
        """Use these keys of the store from the next request on."""
        keys = self.config.api_keys
        self.stored = stored
        self.keyring = Keyring(
            keys.api_keys,
            key_required(keys, stored),
            stored,
            self.used,
            own_header=self.forwards_credentials,
            behind=self.clock_behind,
        )

    async def start(self) -> None:
        """Read the prices that the backends need, and start to refresh the backends every 30 seconds. Does not wait for the
        first time."""
        await self.prices.load()
        self._refreshing = asyncio.get_running_loop().create_task(self._refresh_often())

    async def close(self, after: Runtime | None = None) -> None:
        """Stop refreshing and close the connections that `after`, the next generation, does not share.

        Running answers keep theirs until they end.
        """
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._refreshing = None
        for name, backend in self.backends.items():
            if after is None or after.backends.get(name) is not backend:
                await backend.close()
        if after is None or after.searcher is not self.searcher:
            await self.searcher.close()

    # --------------------------------------------------------------------------------------------------------- backends

    async def _refresh_often(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(_REFRESH_EVERY)

    async def refresh(self, pause: float = 0.0) -> None:
        """Refresh all backends at once, except those that were refreshed less than `pause` seconds ago.

        With a `pause` a client waits: then a slow backend is waited for 2 seconds at most.
        """
        now = time.monotonic()
        tasks = {
            self._start(backend.refresh(now))
            for backend in self.backends.values()
            if now - backend.refreshed_at >= pause
        }
        if tasks:
            await asyncio.wait(tasks, timeout=_CLIENT_WAITS if pause else None)
        self._forget_routes()

    async def probe(self, name: str) -> None:
        """Check now whether a backend answers; its state is the result. Raises Problem for a local process that does not."""
        backend = self.backends[name]
        now = time.monotonic()
        if backend.vendor.managed:
            await backend.fetch(backend.protocol.models())
            backend.latency = time.monotonic() - now
        else:
            await backend.refresh(now)
        self._forget_routes()

    def attach_process(
        self, name: str, url: str, secret: str, window: int, pid: int | None = None, use: ModelUse = "answers"
    ) -> Upstream | None:
        """Send the requests of a backend to the local process that listens at `url`. Returns the connections to it.

        None: this config has no such backend.
        """
        backend = self.backends.get(name)
        if backend is None:
            return None
        upstream = backend.attach(url, secret, window, pid, use)
        self._forget_routes()
        self._start(backend.describe(backend.settings.names))
        return upstream

    def set_process_state(
        self,
        name: str,
        state: BackendState,
        message: str = "",
        *,
        window: int | None = None,
        unloaded: UnloadedModel | None = None,
    ) -> None:
        """Store the state of a local process. `window` is in tokens; `unloaded` says how the model is loaded again."""
        backend = self.backends.get(name)
        if backend is not None:
            backend.set_state(state, message, window=window, unloaded=unloaded)
            self._forget_routes()

    def statuses(self) -> list[BackendStatus]:
        """The state of every backend."""
        return [BackendStatus(backend.name, backend.state, backend.message) for backend in self.backends.values()]

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside the requests."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---------------------------------------------------------------------------------------------------------- routing

    def resolve(self, model: str, turn: int = 0) -> TargetRoute:
        """The route of `model` by what is known now. Queries nothing and logs nothing. Raises Problem `not_found`."""
        return (self._table or self._make_table()).route(model, turn)

    def serves(self, entry: str) -> bool:
        """Can an entry of an alias answer by what is known now? A backend that lists no such model cannot."""
        table = self._table or self._make_table()
        return any(self.backends[target.backend].lists(target.model) for target in table.targets_of(entry))

    @property
    def aliases(self) -> Mapping[str, Sequence[str]]:
        """The aliases of the config, else those that apply without any."""
        if self._table is None:
            self._make_table()
        return self._aliases

    def _make_table(self) -> RoutingTable:
        served = [backend.served_models() for backend in self.backends.values() if backend.state != "off"]
        self._aliases = self.config.model_aliases or self._implied_aliases(served)
        self._table = RoutingTable(served, self._aliases)
        return self._table

    def _implied_aliases(self, served: Sequence[ServedModels]) -> Mapping[str, Sequence[str]]:
        """Without an alias every name leads to the models that Byway runs, or to the only model of other servers."""
        if all(backend.vendor.managed for backend in self.backends.values()):
            backends = self.backends.values()
            answering = [backend for backend in backends if backend.use in ("", "answers")] or backends
            return {"default": tuple(f"{backend.name}/{backend.settings.names[0]}" for backend in answering)}
        return implied_aliases(served)

    def remembered_route(self, model: str) -> TargetRoute | None:
        """The route of `model` when it is remembered: it needs no other lookup and is the same for every session."""
        return self._routes.get(model)

    async def route(self, model: str, session: str = "", *, probe: bool = False) -> TargetRoute:
        """The route of a request for `model`. For an unknown name the backends are refreshed before it is rejected.

        A `probe` of Byway itself is not logged, and the next request of a client is logged as the first one.
        """
        remembered = self._routes.get(model)
        if remembered is not None:
            return remembered
        self._turn += 1
        turn = hash(session) if session else self._turn
        try:
            route = self.resolve(model, turn)
        except Problem:
            await self.refresh(_REFRESH_PAUSE)
            route = self.resolve(model, turn)
        self._describe_new(route)
        if probe:
            return route
        if route.alias and model not in self._logged:
            first = route.targets[0]
            log(
                "Rewrote request.model via model_aliases",
                requested=model,
                alias=route.alias,
                target=f"{first.backend}/{first.model}",
            )
        if len(route.targets) == 1:
            self._routes[model] = route
        elif route.alias:
            self._logged[model] = None
        return route

    def targets(self, route: TargetRoute) -> tuple[TargetName, ...]:
        """The targets of `route`, those of cooling backends last."""
        if len(route.targets) == 1:
            return route.targets
        return self.cooldown.order(route.targets, time.monotonic())

    def _describe_new(self, route: TargetRoute) -> None:
        """Query what the models of `route` can do where that is not known yet. Does not wait."""
        for target in route.targets:
            backend = self.backends[target.backend]
            # Clients can invent names: queries beyond a few at once are left for the next request.
            if backend.note_use(target.model) and len(self._tasks) < _TASKS:
                self._start(backend.describe((target.model,)))

    def _forget_routes(self) -> None:
        """The backends may serve other models now."""
        self._table = None
        self._routes.clear()
        self.meters.clear()
        self._logged.clear()


def _priced(backend: Backend) -> PricedBackend:
    """What the prices of a backend's models depend on."""
    settings = backend.settings
    return PricedBackend(
        backend.name, backend.vendor, backend.address, backend.self_hosted, settings.local, settings.likes
    )


async def swap(before: Runtime, config: Config, prepare: Callable[[Runtime], Awaitable[None]] | None = None) -> Runtime:
    """Return the runtime of a new config. It shares with `before` what did not change.

    `prepare` runs while requests still use `before`.
    """
    after = Runtime(config, before)
    await after.start()
    if prepare is not None:
        await prepare(after)
    await before.close(after)
    log("Config loaded", backends=len(after.backends), aliases=len(after.aliases))
    return after
