"""Where the certificate of the local authority is, and what programs on this machine trust beside the system's authorities."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from byway.clientfiles.variables import EXTRA_CAS

#: The folder in the data folder.
FOLDER: Final = "tls"
#: The certificate of the authority alone: the file that clients trust.
TRUST_FILE: Final = "ca.pem"
NO_CRYPTOGRAPHY: Final = (
    "`server.tls` needs the Python package cryptography, which is not installed. Install it: "
    "pip install --no-deps --require-hashes -r requirements/tls.txt. Or remove `server.tls`."
)


def trust_file(folder: Path) -> Path:
    """The file that clients trust. `folder` is the data folder."""
    return folder / FOLDER / TRUST_FILE


def extra_cas(folder: Path | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The files that requests to endpoints trust: that of the data folder, and the one of the user's environment."""
    own = trust_file(folder) if folder is not None else None
    files = (str(own) if own is not None and own.exists() else "", environ.get(EXTRA_CAS, ""))
    return tuple(dict.fromkeys(file for file in files if file))
