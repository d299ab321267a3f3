"""The state of one running Byway: its runtime, store, last requests, exchanges in progress and admin services."""

from __future__ import annotations

from byway import runtime as runtimes
from byway.admin.requests import RecentRequests
from byway.admin.services import AdminServices
from byway.config import Config
from byway.largebodies import LargeBodies
from byway.pipeline.watch import Exchanges
from byway.problems import Problem
from byway.runtime import Runtime
from byway.store import Store


class Gateway:
    """State of the process that outlives a request. `runtime` is swapped whole on a reload; a request keeps its own."""

    def __init__(self, runtime: Runtime, store: Store | None = None) -> None:
        self.runtime = runtime
        self.store = store
        self.admin: AdminServices | None = None
        """Services of the settings page and the admin API; None without a data folder."""
        self.started_config = runtime.config
        """The config at process start. Settings that differ from it may need a restart."""
        self.requests = RecentRequests()
        self.exchanges = Exchanges()
        self.large_bodies = LargeBodies()
        self.config_problem: str | None = None
        """Why the config file was rejected; None while it is valid."""
        self.draining = False
        """Byway is stopping: new requests are refused with 503 and `/readyz` reports it."""

    @property
    def services(self) -> AdminServices:
        """The admin services. Raises Problem `not_found` when this process has no data folder."""
        if self.admin is None:
            raise Problem("not_found", "This Byway has no settings page: it runs without a data folder.")
        return self.admin

    async def reload(self, config: Config) -> None:
        """Replace the runtime by one for `config`. Requests in progress keep the runtime they started with."""
        after = await runtimes.swap(self.runtime, config)
        if after.stored is not self.runtime.stored:
            # The keys changed while the new runtime was made.
            after.take_keys(self.runtime.stored)
        self.runtime = after
        self.config_problem = None
