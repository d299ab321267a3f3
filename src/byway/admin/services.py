"""AdminServices: what the settings page and the admin API work with beside the runtime."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from byway.access.login import Logins
from byway.admin.addresses import busy_address
from byway.admin.logins import PageLogins
from byway.config import Config
from byway.secrets.vault import Vault
from byway.store import StoreProtocol
from byway.tls.trust import extra_cas

if TYPE_CHECKING:
    # Their code is loaded with their first use.
    from byway.admin.signins import SignIns
    from byway.config.file import ConfigFile
    from byway.local.downloads import Downloads

#: Seconds that a person has to unlock the keychain.
_UNLOCK_SECONDS = 60


class AdminServices:
    """The config file, store, logins, downloads, secrets and addresses of one running Byway, and its restart."""

    def __init__(
        self,
        folder: Path,
        make_config_file: Callable[[], ConfigFile],
        store: StoreProtocol,
        *,
        reload: Callable[[], Awaitable[None]],
        restart: Callable[[], None],
    ) -> None:
        """`folder` is the data folder. `reload` loads the config file as it is now; `restart` restarts the process."""
        self.folder = folder
        self._make_config_file = make_config_file
        self.store = store
        self.reload = reload
        self.restart = restart
        self.logins = PageLogins(folder, store)
        self.vault = Vault(folder, os.environ)
        """For reading. Its calls block, with a locked keychain for a few seconds: reloads use the same few threads."""
        self.gpus: asyncio.Task[tuple[str, ...]] | None = None
        """The GPUs of this machine, once a page has requested them."""
        self.base: str | None = None
        """The URL by which a program on this machine reaches this Byway; None without a TCP address."""
        self.addresses: tuple[str, ...] = ()
        """Where this Byway listens, as `host:port` and `unix:path`."""
        self.pinned = False
        """The command line sets the address (`--host`, `--port`), whatever the config contains."""
        self.listen_problem = ""
        """Why Byway listens at its previous addresses and not at those of the config; empty when it does not."""
        self.trust = ""
        """The file with the authority of Byway's certificate, which clients on this machine trust; empty when none is needed."""
        self.socket = ""
        """The path of the owner's unix socket in the data folder; empty when there is none."""

    @cached_property
    def config_file(self) -> ConfigFile:
        """Edits of the config file, and its history."""
        return self._make_config_file()

    @cached_property
    def sign_ins(self) -> SignIns:
        """The sign-ins of clients."""
        from byway.admin.signins import SignIns

        return SignIns(self.store)

    @cached_property
    def downloads(self) -> Downloads:
        """The downloads of models."""
        from byway.local.downloads import Downloads

        return Downloads(self.folder)

    async def stop(self) -> None:
        """Stop the downloads. The next start lists them, and they can be resumed."""
        if "downloads" in vars(self):
            await self.downloads.stop()

    @property
    def extra_cas(self) -> tuple[str, ...]:
        """Files of certificates that requests of this machine to its own Byway trust."""
        return extra_cas(self.folder, os.environ)

    @property
    def login(self) -> Logins:
        """The logins in memory, for `access.sync`."""
        return self.logins.registry

    def restart_problem(self, config: Config) -> str:
        """Why Byway could not listen after a restart with `config`, as a sentence; empty when it could. It blocks."""
        return "" if self.pinned else busy_address(config.server.bind_address, self.addresses)

    def patient(self) -> Vault:
        """The secrets for a change: it waits for a person who has to unlock the keychain. Its calls block."""
        return Vault(self.folder, os.environ, patience=_UNLOCK_SECONDS)
