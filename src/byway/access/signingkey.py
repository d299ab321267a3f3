"""The key that signs links and cookies of the settings page: a private file in the data folder."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from byway import platform
from byway.access.login import KEY_FILE, SECRET_SIZE
from byway.logs import log


def load_signing_key(folder: Path) -> bytes:
    """Return the signing key of the data folder, which is made when there is none.

    A key that other users of the machine could read or replace may be known to them: it is replaced, which ends every
    login, and the log says so. Raises OSError.
    """
    path = folder / KEY_FILE
    reason = ""
    try:
        key = platform.read_private(path)
        if len(key) == SECRET_SIZE:
            return key
        reason = f"{path} does not have {SECRET_SIZE} bytes"
    except FileNotFoundError:
        pass
    except platform.UnsafeFile as error:
        reason = str(error)
    if reason:
        log("Replaced the key that signs logins; every login has ended", logging.WARNING, reason=reason)
        path.unlink(missing_ok=True)
    key = os.urandom(SECRET_SIZE)
    platform.write_private(path, key)
    return key
