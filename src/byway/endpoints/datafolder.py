"""The files in the data folder by which commands reach the running Byway."""

from __future__ import annotations

from typing import Final

#: The file that contains the URL of the running Byway.
ADDRESS: Final = "address"
#: The unix socket. Only the owner of the folder can open it, so it requires no login.
SOCKET: Final = "byway.sock"
