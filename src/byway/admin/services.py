"""What the settings page and its API work with, beside the runtime: the config file, the store, logins, a way to begin anew."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from byway import platform
from byway.access.login import KEY_FILE, SECRET_SIZE, Logins
from byway.config.file import ConfigFile
from byway.local.downloads import Downloads
from byway.secrets.vault import Vault
from byway.store import Store


class AdminServices:
    """Everything that is not the line's."""

    def __init__(
        self,
        folder: Path,
        filing: ConfigFile,
        store: Store,
        *,
        reload: Callable[[], Awaitable[None]],
        restart: Callable[[], None],
    ) -> None:
        """`folder`: the data folder. `reload` takes the config file as it is now; `restart` begins the whole process anew."""
        self.folder = folder
        self.config_file = filing
        self.store = store
        self.reload = reload
        self.restart = restart
        self.login = Logins(_secret(folder), time.time())
        self.downloads = Downloads(folder)
        self.vault = Vault(folder, os.environ)
        """The secrets, to be looked at. Its calls block, but for a locked keychain not long: each wait holds one of the few
        threads by which reloads and the keys of clients are read too."""
        self.gpus: asyncio.Task[tuple[str, ...]] | None = None
        """The GPUs of this machine, once somebody has wanted to know."""
        self.base: str | None = None
        """The URL by which a program on this machine reaches it; None without a TCP address."""
        self.addresses: tuple[str, ...] = ()
        """Where this Byway listens, as `host:port` and `unix:path`."""
        self.socket = ""
        """The path of the unix socket in the data folder, whose owner needs no login; empty where there is none."""

    def patient(self) -> Vault:
        """The secrets, for somebody who changes one and may be asked for a password. Its calls block."""
        return Vault(self.folder, os.environ, patience=60)

    def link(self) -> str:
        """A token that opens the page once."""
        return self.login.link(time.time(), secrets.token_bytes(16))

    def enter(self, token: str) -> str | None:
        """The cookie for a link's token; None when it opens nothing."""
        return self.login.enter(token, time.time(), secrets.token_bytes(16))


def _secret(folder: Path) -> bytes:
    """What logins are signed with: made once, and gone with the data folder."""
    path = folder / KEY_FILE
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        found = b""
    if len(found) != SECRET_SIZE:
        found = os.urandom(SECRET_SIZE)
        platform.write(path, found)
    return found
