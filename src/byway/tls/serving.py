"""The certificate with which the listeners serve: loaded at start, and replaced for new connections when it changes."""

from __future__ import annotations

import datetime
import logging
import os
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from byway.config import ServerSettings, ServerTlsSettings
from byway.logs import log
from byway.tls import authority as local
from byway.tls import certificates
from byway.tls.certificates import CertificateError, CertificateInfo
from byway.tls.names import served_names
from byway.tls.trust import FOLDER, trust_file

#: Seconds between two looks at the names and addresses of this machine.
_NAMES_EVERY: Final = 60.0
#: Bytes of a file with certificates or a key.
_FILE_LIMIT: Final = 1 << 20

Clock = Callable[[], datetime.datetime]


class TlsError(Exception):
    """No certificate can be served: what failed, and what to do."""


class _Stamp(NamedTuple):
    """What changes when a file changes."""

    inode: int
    size: int
    changed: int


def utc_now() -> datetime.datetime:
    """The time now."""
    return datetime.datetime.now(datetime.UTC)


class ServedCertificate:
    """The certificate of this process. `context` and `info` are replaced whole; established connections are not affected."""

    def __init__(self, folder: Path, server: ServerSettings, hosts: Sequence[str], now: Clock = utc_now) -> None:
        """`folder` is the data folder, `hosts` are the addresses of the listeners. Raises TlsError."""
        self._folder = folder
        self._hosts = tuple(hosts)
        self._now = now
        self.is_local = server.local_ca
        """It is issued by the local authority."""
        self.problem = ""
        """Why a changed certificate is not used; empty when it is."""
        self._settings = server.tls if isinstance(server.tls, ServerTlsSettings) else ServerTlsSettings()
        self._seen_server = server
        self._names_at = time.monotonic()
        self._outside: tuple[str, ...] = ()
        self._stamps: tuple[_Stamp | None, ...] = ()
        self.info: CertificateInfo
        self.context: ssl.SSLContext
        self._load(server)

    @property
    def trust_file(self) -> Path | None:
        """The file that clients have to trust; None when the certificate is not of the local authority."""
        return trust_file(self._folder) if self.is_local else None

    def refresh(self, server: ServerSettings) -> None:
        """Load the certificate again when its files or the names have changed, or it ends soon. Blocks; raises nothing.

        A certificate that cannot be used is logged, and the one before stays.
        """
        if not self._is_due(server):
            return
        before = self.info.fingerprint
        try:
            self._load(server)
        except TlsError as error:
            if str(error) != self.problem:
                log("The changed certificate is not used; the one before stays", logging.ERROR, problem=str(error))
            self.problem = str(error)
            return
        self.problem = ""
        if self.info.fingerprint != before:
            log(
                "The certificate was replaced; people who are signed in have to run /login again",
                logging.WARNING,
                fingerprint=self.info.fingerprint,
                ends=self.info.ends.isoformat(),
            )

    def _is_due(self, server: ServerSettings) -> bool:
        stamps = tuple(map(_stamp, self._files()))
        if stamps != self._stamps:
            # A file that cannot be used is looked at again when it changes.
            self._stamps = stamps
            return True
        if not self.is_local:
            return False
        if server is not self._seen_server or time.monotonic() - self._names_at >= _NAMES_EVERY:
            self._seen_server, self._names_at = server, time.monotonic()
            return True
        return False

    def _files(self) -> tuple[Path, ...]:
        if self.is_local:
            inside = self._folder / FOLDER
            return inside / local.AUTHORITY_FILE, inside / local.CERTIFICATE_FILE
        return Path(self._settings.cert_file), Path(self._settings.key_file or self._settings.cert_file)

    def _load(self, server: ServerSettings) -> None:
        if self.is_local:
            self._load_local(server)
        else:
            self._load_files()
        self._stamps = tuple(map(_stamp, self._files()))

    def _load_local(self, server: ServerSettings) -> None:
        wanted = served_names(server, self._hosts)
        try:
            authority = local.ensure_authority(self._folder, wanted.names, self._now())
            local.write_trust(self._folder, authority)
            made = local.ensure_certificate(self._folder, authority, wanted, self._now())
        except local.AuthorityError as error:
            raise TlsError(str(error)) from None
        if made.outside and made.outside != self._outside:
            log(
                "The local certificate authority may not certify these names, so clients cannot use them. To allow a name, make "
                "a new one, which every client then has to trust: byway tls replace-ca. It certifies no public addresses",
                logging.WARNING,
                names=", ".join(made.outside),
            )
        self._outside = made.outside
        path = str(self._folder / FOLDER / local.CERTIFICATE_FILE)
        if made.is_new or not hasattr(self, "context") or made.info.fingerprint != self.info.fingerprint:
            self.context, self.info = _context(path, None, ""), made.info

    def _load_files(self) -> None:
        settings = self._settings
        cert, key = settings.cert_file, settings.key_file or settings.cert_file
        chain_pem, key_pem = _read("cert_file", cert), _read("key_file", key)
        passphrase = settings.key_passphrase or ""
        try:
            chain, _ = certificates.read_pair(chain_pem, key_pem, passphrase)
            info = certificates.describe(chain[0])
        except CertificateError as error:
            raise TlsError(f"`server.tls`: {cert} and {key} cannot be used: {error}") from None
        now = self._now()
        if now >= info.ends:
            raise TlsError(f"`server.tls.cert_file`: {cert} has expired at {info.ends:%Y-%m-%d %H:%M} UTC. Renew it")
        if now < info.starts:
            raise TlsError(
                f"`server.tls.cert_file`: {cert} is valid only from {info.starts:%Y-%m-%d %H:%M} UTC. Check this machine's clock"
            )
        context = _context(cert, key, passphrase)
        self.context, self.info = context, info


def _context(cert: str, key: str | None, passphrase: str) -> ssl.SSLContext:
    """A context that serves with these files. Raises TlsError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A function: without one, OpenSSL would prompt for the passphrase at the terminal.
        context.load_cert_chain(cert, key, lambda: passphrase)
    except (OSError, ValueError) as error:
        raise TlsError(f"`server.tls`: {cert} cannot be loaded: {getattr(error, 'reason', '') or error}") from None
    return context


def _read(setting: str, path: str) -> bytes:
    try:
        if os.stat(path).st_size > _FILE_LIMIT:
            raise TlsError(f"`server.tls.{setting}`: {path} is larger than {_FILE_LIMIT >> 20} MiB")
        return Path(path).read_bytes()
    except OSError as error:
        raise TlsError(f"`server.tls.{setting}`: {path} cannot be read: {error.strerror or error}") from None


def _stamp(path: Path) -> _Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
