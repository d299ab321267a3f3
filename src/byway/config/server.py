"""The settings of Byway's own listeners: the section `server`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note


class ServerTlsSettings(MaskedStruct, frozen=True, kw_only=True):
    """The certificate with which Byway serves https."""

    local_ca: Annotated[
        bool,
        Note(
            "`true`: a certificate authority that Byway makes once and keeps in the data folder. The same as `tls: local`."
        ),
    ] = False
    cert_file: Annotated[
        str,
        Note("File with your own certificate and its chain, in PEM format. A changed file is loaded again.", file=True),
    ] = ""
    key_file: Annotated[
        str | None,
        Note("File with the private key, in PEM format. Not needed when `cert_file` contains both.", file=True),
    ] = None
    key_passphrase: Annotated[
        str | None, Note("The passphrase of the key: `${BYWAY_TLS_PASSPHRASE}`.", format="secret", variables=True)
    ] = None


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The addresses and the HTTP server of Byway."""

    bind_address: Annotated[
        tuple[str, ...],
        Note(
            "The address to listen on: `host:port`, `[v6]:port` or `unix:/path`, or a list of them. An "
            "address that other machines can reach requires keys, or `--insecure`.",
            format="address",
            restart=True,
        ),
    ] = ("127.0.0.1:38080",)
    socket_mode: Annotated[
        int | None, Note("Permissions of unix sockets, in octal: `0660`.", format="octal", maximum=0o777, restart=True)
    ] = None
    tcp: Annotated[
        bool,
        Note("`false`: TCP serves only the settings page, and clients use the unix socket in the data folder."),
    ] = True
    workers: Annotated[
        int, Note("Number of processes that serve requests. `0` and `1` mean one.", maximum=256, restart=True)
    ] = 1
    connection_pool_size: Annotated[
        int, Note("Idle connections that are kept open to each backend.", minimum=1, maximum=10_000)
    ] = 100
    allowed_hosts: Annotated[
        tuple[str, ...], Note("Host names that clients may send in `Host`, besides addresses and `localhost`.")
    ] = ()
    allowed_origins: Annotated[
        tuple[str, ...], Note("Origins of web pages that may call Byway: `https://chat.example.org`.")
    ] = ()
    root_path: Annotated[
        str, Note("The path under which a reverse proxy serves Byway: `/byway`.", format="prefix", restart=True)
    ] = ""
    tls: Annotated[
        Literal["local"] | ServerTlsSettings | None,
        Note(
            "Serve https at all TCP addresses. `local`: with a certificate authority of Byway's own, for this machine and its "
            "network. Or the files of your own certificate. See *https*.",
            restart=True,
        ),
    ] = None
    public_url: Annotated[
        str,
        Note(
            "The URL at which a reverse proxy serves Byway, without a path: `https://byway.example.org`. Links and sign-in "
            "use it, and its host is allowed in `Host`.",
            format="origin",
        ),
    ] = ""
    trusted_proxies: Annotated[
        tuple[str, ...],
        Note("Addresses or networks of proxies whose `X-Forwarded-*` headers are trusted.", format="cidr"),
    ] = ()

    @property
    def local_ca(self) -> bool:
        """Whether it serves https with the local authority."""
        return self.tls == "local" or (isinstance(self.tls, ServerTlsSettings) and self.tls.local_ca)
