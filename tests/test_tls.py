"""https: the local authority and its files, certificates of files, their renewal, and the listener that serves with them."""

from __future__ import annotations

import asyncio
import datetime
import errno
import json
import os
import socket
import ssl
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pages import Pages
from waiting import until

from byway import platform
from byway.cli.main import byway
from byway.clients import checks
from byway.config import ServerSettings, ServerTlsSettings
from byway.server import encrypted
from byway.server.connection import HttpServer
from byway.server.encrypted import TlsListener
from byway.tls import authority as local
from byway.tls import certificates, names, serving
from byway.tls.serving import ServedCertificate, TlsError
from byway.tls.trust import trust_file

NOW = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
LOCAL = ServerSettings(tls="local")


class Clock:
    """The time that a certificate is checked with."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses of a machine called `box`."""
    addresses = ["192.168.1.7"]
    monkeypatch.setattr(names, "_machine_addresses", lambda: list(addresses))
    monkeypatch.setattr(names, "machine_names", lambda: ("box", "box.local"))
    monkeypatch.setattr(local, "machine_names", lambda: ("box", "box.local"))
    return addresses


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is logged, one text each."""
    texts: list[str] = []

    def record(message: str, level: int = 20, **fields: object) -> None:
        texts.append(f"{message} {fields}")

    monkeypatch.setattr(serving, "log", record)
    monkeypatch.setattr(local, "log", record)
    return texts


def served(folder: Path, server: ServerSettings = LOCAL, hosts: tuple[str, ...] = ("127.0.0.1",)) -> ServedCertificate:
    return ServedCertificate(folder, server, hosts, Clock())


def handshake(context: ssl.SSLContext, trust: str | Path, name: str) -> dict[str, Any]:
    """The certificate that a client sees, which trusts the file `trust` and connects to `name`. Raises ssl.SSLError."""
    client = ssl.create_default_context(cafile=trust)
    ends = [(ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())]
    there = client.wrap_bio(*ends[0], server_hostname=name)
    here = context.wrap_bio(*ends[1], server_side=True)
    for _ in range(8):
        for side, (_, output), (target, _) in ((there, ends[0], ends[1]), (here, ends[1], ends[0])):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
            target.write(output.read())
    seen = there.getpeercert()
    assert seen
    return seen


def context_of(folder: Path, pem: bytes) -> ssl.SSLContext:
    file = folder / "leaf.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


# ------------------------------------------------------------------------------------------------------ local authority


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "::1", "192.168.1.7", "box", "box.local"])
def test_a_client_that_trusts_the_authority_connects_by_every_name_of_this_machine(tmp_path: Path, name: str) -> None:
    certificate = served(tmp_path, hosts=("0.0.0.0",))
    assert handshake(certificate.context, trust_file(tmp_path), name)["subjectAltName"]


def test_the_authority_and_the_certificate_stay_the_same_over_restarts(tmp_path: Path) -> None:
    first = served(tmp_path)
    files = {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()}
    assert set(files) == {"authority.pem", "ca.pem", "server.pem"}
    assert b"PRIVATE KEY" not in files["ca.pem"] and b"PRIVATE KEY" in files["authority.pem"]
    again = served(tmp_path)
    assert again.info.fingerprint == first.info.fingerprint
    assert {path.name: path.read_bytes() for path in (tmp_path / "tls").iterdir()} == files
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "tls").iterdir())


@pytest.mark.parametrize("name", ["example.com", "box.example.com", "notbox"])
def test_a_certificate_of_the_authority_for_another_site_is_refused(tmp_path: Path, name: str) -> None:
    served(tmp_path)
    authority = local.load_authority(tmp_path)
    assert authority is not None and not authority.permits(name)
    # The key was stolen: nothing of Byway limits what is signed with it.
    pem = certificates.issue(authority, [name], [], NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(context_of(tmp_path, pem), trust_file(tmp_path), name)


def test_the_constraints_are_critical_and_the_authority_makes_no_other_authority(tmp_path: Path) -> None:
    served(
        tmp_path,
        ServerSettings(tls="local", allowed_hosts=("gate.example.org", "192.168.1.9"), public_url="https://p.example"),
    )
    authority = local.load_authority(tmp_path)
    assert authority is not None
    extensions = authority.certificate.extensions
    assert extensions.get_extension_for_class(x509.NameConstraints).critical
    trees = extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
    assert trees and all(isinstance(tree, x509.DNSName) for tree in trees), (
        "Claude Code rejects constraints of addresses"
    )
    constraint = extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraint.critical and constraint.value.path_length == 0
    for name in ("gate.example.org", "p.example", "10.1.2.3", "100.64.0.1", "fd00::1", "box.local"):
        assert authority.permits(name)
    for name in ("example.org", "local", "1.1.1.1", "172.32.0.1", "com"):
        assert not authority.permits(name)


def test_a_certificate_is_renewed_before_it_ends_and_the_authority_stays(tmp_path: Path) -> None:
    clock = Clock()
    certificate = ServedCertificate(tmp_path, LOCAL, ("127.0.0.1",), clock)
    authority, first, context = trust_file(tmp_path).read_bytes(), certificate.info, certificate.context
    assert first.ends - first.starts <= 825 * DAY
    clock.now = first.ends - 31 * DAY
    certificate._names_at -= 3600
    certificate.refresh(LOCAL)
    assert certificate.info == first and certificate.context is context
    clock.now = first.ends - 29 * DAY
    certificate._names_at -= 3600
    certificate.refresh(LOCAL)
    assert certificate.info.fingerprint != first.fingerprint and certificate.context is not context
    assert certificate.info.ends > clock.now + 365 * DAY
    assert trust_file(tmp_path).read_bytes() == authority


def test_a_new_address_gets_a_new_certificate_that_keeps_the_earlier_ones(tmp_path: Path, machine: list[str]) -> None:
    certificate = served(tmp_path, hosts=("0.0.0.0",))
    first = certificate.info
    machine[:] = ["10.0.0.5", "8.8.8.8"]
    certificate._names_at -= 3600
    certificate.refresh(LOCAL)
    assert {"127.0.0.1", "192.168.1.7", "10.0.0.5"} <= set(certificate.info.addresses)
    assert "8.8.8.8" not in certificate.info.addresses
    second = certificate.info.fingerprint
    machine[:] = ["192.168.1.7"]
    certificate._names_at -= 3600
    certificate.refresh(LOCAL)
    assert certificate.info.fingerprint == second != first.fingerprint
    for number in range(100):
        machine[:] = [f"10.1.0.{number}"]
        certificate._names_at -= 3600
        certificate.refresh(LOCAL)
    assert f"10.1.0.{number}" in certificate.info.addresses and len(certificate.info.addresses) == 32


def test_a_name_that_the_authority_may_not_certify_is_named_and_left_out(tmp_path: Path, logged: list[str]) -> None:
    certificate = served(tmp_path)
    first, authority = certificate.info, trust_file(tmp_path).read_bytes()
    more = ServerSettings(tls="local", allowed_hosts=("new.example.org",))
    certificate.refresh(more)
    assert certificate.info == first and trust_file(tmp_path).read_bytes() == authority
    assert "new.example.org" in logged[-1] and "byway tls replace-ca" in logged[-1]


def test_a_replaced_authority_is_used_without_a_restart(tmp_path: Path) -> None:
    certificate = served(tmp_path)
    first = certificate.info
    local.make_authority(tmp_path, ["new.example.org"], NOW)
    more = ServerSettings(tls="local", allowed_hosts=("new.example.org",))
    certificate.refresh(more)
    assert certificate.info.fingerprint != first.fingerprint
    assert handshake(certificate.context, trust_file(tmp_path), "new.example.org")


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.98])
def test_a_damaged_authority_is_never_replaced_silently(tmp_path: Path, part: float) -> None:
    served(tmp_path)
    path = tmp_path / "tls" / "authority.pem"
    damaged = path.read_bytes()[: int(part * path.stat().st_size)]
    path.write_bytes(damaged)
    with pytest.raises(TlsError, match=r"authority\.pem cannot be used: .*byway tls replace-ca"):
        served(tmp_path)
    assert path.read_bytes() == damaged


@pytest.mark.parametrize("part", [0.0, 0.5, 0.98])
def test_a_damaged_certificate_is_issued_again_by_the_same_authority(tmp_path: Path, part: float) -> None:
    served(tmp_path)
    authority = trust_file(tmp_path).read_bytes()
    for name in ("server.pem", "ca.pem"):
        path = tmp_path / "tls" / name
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    certificate = served(tmp_path)
    assert trust_file(tmp_path).read_bytes() == authority
    assert handshake(certificate.context, trust_file(tmp_path), "127.0.0.1")


def test_a_key_that_others_could_read_is_refused_with_the_next_step(tmp_path: Path) -> None:
    first = served(tmp_path)
    path = tmp_path / "tls" / "authority.pem"
    path.chmod(0o644)
    with pytest.raises(TlsError, match=r"Other users can open .*chmod 600 .*byway tls replace-ca"):
        served(tmp_path)
    first.refresh(LOCAL)
    path.chmod(0o600)
    assert served(tmp_path).info == first.info


def test_a_link_in_place_of_the_authority_is_refused(tmp_path: Path) -> None:
    served(tmp_path)
    path = tmp_path / "tls" / "authority.pem"
    path.rename(tmp_path / "elsewhere.pem")
    path.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(TlsError, match="symbolic link"):
        served(tmp_path)


def test_a_full_disk_is_named_and_leaves_no_half_of_an_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(TlsError, match="No space left"):
            served(tmp_path)
    assert list((tmp_path / "tls").iterdir()) == []
    certificate = served(tmp_path)
    before = certificate.info
    # The same while it serves: the certificate before stays.
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        more = ServerSettings(tls="local", allowed_hosts=("192.168.1.77",))
        certificate.refresh(more)
    assert certificate.info == before and "No space left" in certificate.problem
    certificate._names_at -= 3600
    certificate.refresh(more)
    assert "192.168.1.77" in certificate.info.addresses and not certificate.problem


# ------------------------------------------------------------------------------------------------- certificates of files


class Files:
    """A certificate and a key in files, as an authority of the operator issues them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pem = certificates.new_authority("operator", ["localhost", "box"], NOW)
        self.authority = certificates.read_authority(pem)
        self.cert, self.key, self.trust = folder / "cert.pem", folder / "key.pem", folder / "trust.pem"
        self.trust.write_bytes(self.authority.pem)
        self.write(NOW)

    def write(self, starts: datetime.datetime, passphrase: str = "") -> None:
        pem = certificates.issue(self.authority, ["localhost"], ["127.0.0.1"], starts)
        key, marker, chain = pem.partition(b"-----BEGIN CERTIFICATE-----")
        self.cert.write_bytes(marker + chain + self.authority.pem)
        if passphrase:
            private = serialization.load_pem_private_key(key, None)
            coded = serialization.BestAvailableEncryption(passphrase.encode())
            key = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, coded)
        self.key.write_bytes(key)

    def settings(self, passphrase: str | None = None) -> ServerSettings:
        tls = ServerTlsSettings(cert_file=str(self.cert), key_file=str(self.key), key_passphrase=passphrase)
        return ServerSettings(tls=tls)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.mark.parametrize("passphrase", ["", "correct horse"])
def test_an_own_certificate_is_served(files: Files, passphrase: str) -> None:
    files.write(NOW, passphrase)
    certificate = served(files.folder, files.settings(passphrase or None))
    assert handshake(certificate.context, files.trust, "localhost") and certificate.trust_file is None
    assert not (files.folder / "tls").exists()


def break_nothing_there(files: Files) -> None:
    files.cert.unlink()


def break_not_pem(files: Files) -> None:
    files.cert.write_bytes(b"no certificate")


def break_key_not_pem(files: Files) -> None:
    files.key.write_bytes(b"")


def break_other_key(files: Files) -> None:
    key = files.key.read_bytes()
    files.write(NOW)
    files.key.write_bytes(key)


def break_chain_order(files: Files) -> None:
    files.cert.write_bytes(files.authority.pem + files.cert.read_bytes())


def break_expired(files: Files) -> None:
    files.write(NOW - 900 * DAY)


def break_not_yet(files: Files) -> None:
    files.write(NOW + 10 * DAY)


def break_encrypted(files: Files) -> None:
    files.write(NOW, "correct horse")


BROKEN = [
    (break_nothing_there, "cert.pem cannot be read: No such file"),
    (break_not_pem, "contains no certificate in PEM format"),
    (break_key_not_pem, "contains no private key in PEM format"),
    (break_other_key, "the key does not belong to the certificate"),
    (break_chain_order, "the certificate of the server comes first"),
    (break_expired, "has expired at 2026-08-"),
    (break_not_yet, "is valid only from 2026-12-09"),
    (break_encrypted, "the key is encrypted. Set `server.tls.key_passphrase`"),
]


@pytest.mark.parametrize(("damage", "text"), BROKEN)
def test_a_certificate_that_cannot_be_used_is_explained(
    files: Files, damage: Callable[[Files], None], text: str
) -> None:
    damage(files)
    with pytest.raises(TlsError) as caught:
        served(files.folder, files.settings())
    assert text in str(caught.value) and "server.tls" in str(caught.value)


def test_a_wrong_passphrase_is_explained_without_the_passphrase(files: Files) -> None:
    files.write(NOW, "correct horse")
    with pytest.raises(TlsError, match="the passphrase is wrong") as caught:
        served(files.folder, files.settings("battery staple"))
    assert "battery" not in str(caught.value)


@pytest.mark.parametrize(("damage", "text"), BROKEN)
def test_a_changed_certificate_that_cannot_be_used_leaves_the_one_before(
    files: Files, damage: Callable[[Files], None], text: str, logged: list[str]
) -> None:
    certificate = served(files.folder, files.settings())
    before, context = certificate.info, certificate.context
    damage(files)
    for _ in range(3):
        certificate.refresh(files.settings())
    assert (certificate.info, certificate.context) == (before, context) and text in certificate.problem
    assert len([text for text in logged if "The changed certificate is not used" in text]) == 1
    files.write(NOW)
    certificate.refresh(files.settings())
    assert certificate.info.fingerprint != before.fingerprint and not certificate.problem
    assert handshake(certificate.context, files.trust, "localhost")


# ------------------------------------------------------------------------------------------------------------- listener


class App:
    """An application that counts what it does."""

    def __init__(self) -> None:
        self.sent = self.cancelled = self.running = 0

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.running += 1
        try:
            await self._answer(scope["path"], receive, send)
        finally:
            self.running -= 1

    async def _answer(
        self, path: str, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if path == "/large":
            for _ in range(128):
                await send({"type": "http.response.body", "body": b"x" * (1 << 16), "more_body": True})
                self.sent += 1 << 16
        elif path == "/stream":
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            await receive()
            while (await receive())["type"] != "http.disconnect":
                pass
            self.cancelled += 1
        await send({"type": "http.response.body", "body": path.encode()})


class Listening:
    """A server with TLS on loopback."""

    def __init__(self, folder: Path, certificate: ServedCertificate) -> None:
        self.app = App()
        self.server = HttpServer(self.app)
        self.certificate = certificate
        self.socket = platform.listen_tcp(socket.AF_INET, "127.0.0.1", 0)
        self.port = int(self.socket.getsockname()[1])
        self.listener = TlsListener(self.server, self.socket, certificate)
        self.trust = trust_file(folder)
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self, limit: int = 1 << 16, receive: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection of a client that trusts the authority. `receive` is the size of its kernel buffer."""
        context = ssl.create_default_context(cafile=self.trust)
        client = socket.socket()
        if receive:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        client.setblocking(False)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", self.port))
        opened = await asyncio.open_connection(sock=client, ssl=context, server_hostname="127.0.0.1", limit=limit)
        return self._kept(opened)

    async def plain(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection without TLS."""
        return self._kept(await asyncio.open_connection("127.0.0.1", self.port))

    def _kept(
        self, opened: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.writers.append(opened[1])
        return opened

    async def close(self) -> None:
        """End everything, clients first, so that the loop closes without open transports."""
        for writer in self.writers:
            writer.transport.abort()
        self.listener.close()
        self.server.abort()
        await until(lambda: not (self.server.busy or self.listener._handshakes))
        self.socket.close()
        # The transports end in the next rounds of the loop.
        for _ in range(5):
            await asyncio.sleep(0)


Script = Callable[[Listening], Awaitable[None]]
Run = Callable[[Script], None]


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Listening]:
    open_one = Listening(folder, served_now(folder))
    try:
        async with asyncio.timeout(60):
            yield open_one
    finally:
        await open_one.close()


def served_now(folder: Path) -> ServedCertificate:
    return ServedCertificate(folder, LOCAL, ("127.0.0.1",))


@pytest.fixture(params=["own", "python"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    """Run a script of clients, with Byway's event loop and with Python's."""
    factory = platform.loop_factory() if request.param == "own" else None

    def start(script: Script) -> None:
        async def all() -> None:
            async with listening(tmp_path) as server:
                await script(server)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(all())

    yield start


GET = b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_a_connection_is_kept_and_later_ones_get_a_replaced_certificate(run: Run, tmp_path: Path) -> None:
    async def script(server: Listening) -> None:
        reader, writer = await server.open()
        seen = writer.get_extra_info("ssl_object").getpeercert(True)
        for path in (b"/one", b"/two"):
            writer.write(GET % path)
            assert (await reader.readuntil(b"0\r\n\r\n")).endswith(b"4\r\n%b\r\n0\r\n\r\n" % path)
        (tmp_path / "tls" / "server.pem").unlink()
        server.certificate.refresh(LOCAL)
        other, second = await server.open()
        assert second.get_extra_info("ssl_object").getpeercert(True) != seen
        second.write(GET % b"/four")
        assert b"/four" in await other.readuntil(b"0\r\n\r\n")
        writer.write(GET % b"/three")
        assert b"/three" in await reader.readuntil(b"0\r\n\r\n"), "the connection before goes on"
        for end in (writer, second):
            end.close()

    run(script)


def test_a_client_that_leaves_during_a_stream_cancels_it(run: Run) -> None:
    async def script(server: Listening) -> None:
        reader, writer = await server.open()
        writer.write(GET % b"/stream")
        await reader.readuntil(b"data: 1\n\n")
        writer.close()
        await until(lambda: server.app.cancelled == 1 and not server.server.connections)
        reader, writer = await server.open()
        writer.write(GET % b"/stream")
        await reader.readuntil(b"data: 1\n\n")
        # A killed client says nothing of TLS at its end.
        writer.transport.abort()
        await until(lambda: server.app.cancelled == 2 and not server.server.connections)

    run(script)


def test_a_client_that_does_not_read_stops_the_stream_within_a_bounded_buffer(run: Run) -> None:
    async def script(server: Listening) -> None:
        reader, writer = await server.open(limit=1024, receive=1 << 16)
        writer.write(GET % b"/large")
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while server.app.sent != before:
            before = server.app.sent
            await asyncio.sleep(0.1)
        assert server.app.running == 1 and before < 3 << 20
        rest = b""
        while not rest.endswith(b"/large\r\n0\r\n\r\n"):
            rest = (rest + await reader.read(1 << 16))[-64:]
        assert server.app.sent == 8 << 20
        writer.close()

    run(script)


def test_plain_http_gets_an_error_that_names_https(run: Run) -> None:
    async def script(server: Listening) -> None:
        reader, writer = await server.plain()
        writer.write(b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}")
        text = await reader.read()
        assert text.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"Use https:// instead of http://" in text
        assert b"invalid_request_error" in text and server.app.running == 0
        writer.close()

    run(script)


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_does_not_end_is_closed(run: Run, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(encrypted, "HANDSHAKE_SECONDS", 0.1)

    async def script(server: Listening) -> None:
        reader, writer = await server.plain()
        writer.write(sent)
        assert await reader.read() == b"" and not server.server.connections
        writer.close()
        await until(lambda: not server.listener._handshakes)

    run(script)


def test_handshakes_are_bounded_and_a_working_client_gets_through(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encrypted, "MOST_HANDSHAKES", 4)

    async def script(server: Listening) -> None:
        silent = [await server.plain() for _ in range(10)]
        reader, writer = await server.open()
        writer.write(GET % b"/through")
        assert b"/through" in await reader.readuntil(b"0\r\n\r\n")
        await until(lambda: len(server.listener._handshakes) <= 4)
        assert await silent[0][0].read() == b"", "the oldest was closed"
        for _, end in (*silent, (reader, writer)):
            end.close()

    run(script)


def test_garbage_and_old_versions_of_tls_are_refused(run: Run) -> None:
    async def script(server: Listening) -> None:
        reader, writer = await server.plain()
        writer.write(b"\x16\x03\x01\x00\x05hello")
        await reader.read()
        writer.close()
        context = ssl.create_default_context(cafile=server.trust)
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        _, writer = server._kept(await asyncio.open_connection("127.0.0.1", server.port, ssl=context))
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
        writer.close()
        assert server.certificate.context.minimum_version == ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", server.port, ssl=ssl.create_default_context())
        await until(lambda: not server.listener._handshakes)

    run(script)


# ------------------------------------------------------------------------------------------------------ page and command


def test_the_page_and_the_checks_show_the_certificate(tmp_path: Path) -> None:
    pages = Pages(
        tmp_path, "server: {public_url: 'https://p.example'}\nbackends: [{url: 'http://127.0.0.1:9', models: [m]}]\n"
    )
    try:
        assert (
            "Set server.tls to serve https" in pages.get("/api").text and "https://p.example" in pages.get("/api").text
        )
        assert checks._certificate(pages.gateway, NOW) == []
        certificate = pages.gateway.certificate = served(tmp_path)
        shown = pages.get("/api").text
        assert certificate.info.fingerprint in shown and str(trust_file(tmp_path)) in shown and "2029" in shown
        (row,) = checks._certificate(pages.gateway, NOW)
        assert (row.state, row.word) == ("good", "valid") and "localhost" in row.finding
        certificate.problem = "the key does not belong to the certificate"
        assert "not renewed" in pages.get("/api").text
        assert checks._certificate(pages.gateway, NOW)[0].state == "bad"
        certificate.problem = ""
        certificate.is_local = False
        assert checks._certificate(pages.gateway, certificate.info.ends - 13 * DAY)[0].word == "ends soon"
        assert checks._certificate(pages.gateway, certificate.info.ends)[0].word == "expired"
    finally:
        pages.close()


def test_sign_in_and_cookies_use_https_when_byway_serves_it(tmp_path: Path) -> None:
    pages = Pages(tmp_path, "server: {allowed_hosts: [box]}\nbackends: [{url: 'http://127.0.0.1:9', models: [m]}]\n")
    try:
        pages.gateway.certificate = served(tmp_path)
        for host in ("127.0.0.1:38080", "box:38080"):
            headers = {"host": host, "origin": f"https://{host}"}
            sent = pages.call("GET", "/anthropic/.well-known/oauth-authorization-server", "", headers)
            assert json.loads(sent.html)["token_endpoint"] == f"https://{host}/anthropic/oauth/token"
        opened = pages.get(f"/login?token={pages.services.logins.link()}", cookie=False)
        assert "; Secure" in opened.headers["set-cookie"]
    finally:
        pages.close()


def tls(folder: Path, *arguments: str) -> Any:
    environ = {"BYWAY_HOME": str(folder), "BYWAY_CONFIG": str(folder / "byway.yaml")}
    return CliRunner().invoke(byway, ["tls", *arguments], env=environ)


def test_the_command_shows_exports_and_replaces_the_authority(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text("server: {tls: local}\n")
    config = ("--config", str(file), "--data-dir", str(tmp_path))
    assert "no certificate authority yet" in tls(tmp_path, "show", *config).stderr
    certificate = ServedCertificate(tmp_path, LOCAL, ("127.0.0.1",))
    shown = tls(tmp_path, "show", *config).stdout
    assert certificate.info.fingerprint in shown and f'"NODE_EXTRA_CA_CERTS": "{trust_file(tmp_path)}"' in shown
    assert json.loads(tls(tmp_path, "show", *config, "--json").stdout)["names"] == ["localhost"]
    before = trust_file(tmp_path).read_text()
    assert tls(tmp_path, "export", "--data-dir", str(tmp_path)).stdout == before and "PRIVATE" not in before
    refused = tls(tmp_path, "replace-ca", *config)
    assert refused.exit_code != 0 and "add --yes" in refused.stderr and trust_file(tmp_path).read_text() == before
    replaced = json.loads(tls(tmp_path, "replace-ca", "--yes", "--json", *config).stdout)
    assert replaced == {"trust": str(trust_file(tmp_path))}
    assert trust_file(tmp_path).read_text() != before
    file.write_text("")
    assert "byway config set server.tls local" in tls(tmp_path, "show", *config).stderr
