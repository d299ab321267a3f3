"""The local authority of a data folder and the certificate that it has issued: files that are made once and then kept."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from byway import platform
from byway.logs import log
from byway.tls import certificates
from byway.tls.certificates import Authority, CertificateError, CertificateInfo
from byway.tls.names import ServedNames, machine_names
from byway.tls.trust import FOLDER, trust_file

#: Key and certificate are one file, so that they change together.
AUTHORITY_FILE: Final = "authority.pem"
CERTIFICATE_FILE: Final = "server.pem"
#: A certificate is renewed this long before it ends.
RENEW_BEFORE: Final = datetime.timedelta(days=30)
#: Addresses of a certificate. Earlier ones stay in it up to this number, because each new certificate requires new sign-ins.
_MOST_ADDRESSES: Final = 32


class AuthorityError(Exception):
    """The authority or its files cannot be used: what failed, and what to do."""


class LocalCertificate(NamedTuple):
    """The certificate that the authority has issued."""

    info: CertificateInfo
    is_new: bool
    """It was issued by this call."""
    outside: tuple[str, ...]
    """Names and addresses that the authority may not certify."""


def load_authority(folder: Path) -> Authority | None:
    """The authority of the data folder; None when there is none. Raises AuthorityError."""
    path = folder / FOLDER / AUTHORITY_FILE
    try:
        return certificates.read_authority(platform.read_private(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise AuthorityError(f"{path} cannot be read: {error.strerror}. Correct its permissions") from None
    except (platform.UnsafeFile, CertificateError) as error:
        raise AuthorityError(
            f"{path} cannot be used: {error}. Restore it from a backup, or make a new authority, which every client then has "
            "to trust: byway tls replace-ca"
        ) from None


def ensure_authority(folder: Path, names: Sequence[str], now: datetime.datetime) -> Authority:
    """The authority of the data folder, which is made when there is none. Raises AuthorityError."""
    authority = load_authority(folder)
    return authority if authority is not None else make_authority(folder, names, now)


def make_authority(folder: Path, names: Sequence[str], now: datetime.datetime) -> Authority:
    """Make an authority in place of the one that there is. `names` are those that it may certify. Raises AuthorityError."""
    mine = machine_names()
    every = tuple(dict.fromkeys(("localhost", *mine, *names)))
    pem = certificates.new_authority(mine[0] if mine else "this machine", every, now)
    path = folder / FOLDER / AUTHORITY_FILE
    _write(path, pem)
    authority = certificates.read_authority(pem)
    write_trust(folder, authority)
    log("Made a local certificate authority; clients have to trust it", file=str(trust_file(folder)))
    return authority


def write_trust(folder: Path, authority: Authority) -> None:
    """Write the file that clients trust, unless it is right already. Raises AuthorityError."""
    path = trust_file(folder)
    try:
        if path.read_bytes() == authority.pem:
            return
    except OSError:
        pass
    _write(path, authority.pem)


def ensure_certificate(
    folder: Path, authority: Authority, wanted: ServedNames, now: datetime.datetime
) -> LocalCertificate:
    """The certificate of the data folder. A new one is issued when it ends soon, or a name or address is missing.

    Raises AuthorityError.
    """
    path = folder / FOLDER / CERTIFICATE_FILE
    names = [name for name in wanted.names if authority.permits(name)]
    addresses = [address for address in wanted.addresses if authority.permits(address)]
    outside = tuple(name for name in (*wanted.names, *wanted.addresses) if name not in (*names, *addresses))
    current = _current(path, authority)
    if (
        current is not None
        and set(names) <= set(current.names)
        and set(addresses) <= set(current.addresses)
        and current.starts <= now < current.ends - RENEW_BEFORE
    ):
        return LocalCertificate(current, False, outside)
    earlier = [] if current is None else [address for address in current.addresses if authority.permits(address)]
    every = list(dict.fromkeys((*addresses, *earlier)))[:_MOST_ADDRESSES]
    pem = certificates.issue(authority, names, every, now)
    _write(path, pem)
    return LocalCertificate(certificates.describe(certificates.read_chain(pem)[0]), True, outside)


def _current(path: Path, authority: Authority) -> CertificateInfo | None:
    """The certificate in the file; None when it is missing, damaged, open to others, or of another authority."""
    try:
        pem = platform.read_private(path)
        chain, _ = certificates.read_pair(pem, pem, "")
        return certificates.describe(chain[0]) if certificates.is_issued_by(chain[0], authority) else None
    except FileNotFoundError:
        return None
    except (OSError, platform.UnsafeFile, CertificateError) as error:
        log("The certificate is replaced, because its file cannot be used", logging.WARNING, problem=str(error))
        return None


def _write(path: Path, data: bytes) -> None:
    try:
        platform.private_folder(path.parent)
        platform.write_private(path, data)
    except OSError as error:
        raise AuthorityError(
            f"{path} cannot be written: {error.strerror or error}. Free space or correct the permissions of its folder"
        ) from None
