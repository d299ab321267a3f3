"""The endpoints of a user: a private file in the data folder, which of them is active, and the secrets of their credentials.

Calls read and write files, and a keychain may wait for its user: they block.
"""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway import platform
from byway.decoding import DECODE_ERRORS
from byway.endpoints.address import AddressCheck, check_address
from byway.endpoints.folder import NAME, FolderFile, find_folder_file
from byway.secrets.names import ENDPOINT_PREFIX
from byway.secrets.vault import Vault, VaultError

#: The endpoint that is this Byway. It cannot be removed or changed.
BYWAY: Final = "byway"
#: Names with a meaning of their own.
_RESERVED: Final = frozenset((BYWAY, "anthropic", "off", "none"))
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,100}")
#: Headers that carry a credential or frame a request.
_REFUSED_HEADERS: Final = frozenset(
    "authorization x-api-key proxy-authorization cookie host content-length content-type connection anthropic-version "
    "anthropic-beta transfer-encoding".split()
)
#: Limits of the file.
MAX_ENDPOINTS: Final = 100
_MAX_FOLDERS: Final = 200
_MAX_HEADERS: Final = 20
_MAX_MODELS: Final = 100

Credential = Literal["none", "api_key", "auth_token"]


class EndpointError(Exception):
    """An endpoint cannot be used, saved or found: why, and the next step."""


class Endpoint(Struct, frozen=True, omit_defaults=True):
    """A base URL for clients, and how they use it."""

    name: str
    base_url: str = ""
    """Empty for `byway`: the URL of the running Byway."""
    credential: Credential = "none"
    """The header of the secret: `api_key` is sent as x-api-key, `auth_token` as Authorization. `none`: a placeholder."""
    headers: dict[str, str] = {}
    """More headers of each request. They contain no credential."""
    model_map: dict[str, str] = {}
    """Model ids of this endpoint by `default`, `haiku`, `sonnet`, `opus`, `fable`, or by an Anthropic model id."""
    created: str = ""
    verified: str = ""
    """When the last preflight succeeded, in UTC; empty when none did."""

    @property
    def is_byway(self) -> bool:
        """The built-in endpoint."""
        return self.name == BYWAY

    def check(self) -> AddressCheck:
        """Check the base URL again: the file may have been edited."""
        return check_address(self.base_url)


class EndpointBook(Struct, frozen=True, omit_defaults=True):
    """The content of the file."""

    endpoints: tuple[Endpoint, ...] = ()
    active: str = BYWAY
    """The name of the active endpoint; empty when endpoints are off and clients use Anthropic."""
    fallback: bool = False
    """Use Anthropic, with a notice, when the endpoint is invalid or unreachable. Otherwise a client does not start."""
    folders: dict[str, str] = {}
    """The name that each trusted `.byway` file contained when it was confirmed."""


class Selection(NamedTuple):
    """Which endpoint applies, and why."""

    name: str
    """Empty when endpoints are off."""
    reason: Literal["option", "folder", "active"]
    file: Path | None = None
    """The `.byway` file that names it."""
    trusted: bool = True
    """False: the user has to confirm the file first."""


class Endpoints:
    """The endpoints in one data folder."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, patience: float = 3.0) -> None:
        """`patience`: seconds that a keychain may take."""
        self._folder = folder
        self._path = folder / "endpoints.json"
        self._vault = Vault(folder, environ, patience=patience)

    def book(self) -> EndpointBook:
        """Read the file. Raises EndpointError when it cannot be used; a missing one is empty."""
        try:
            return msgspec.json.decode(platform.read_private(self._path), type=EndpointBook)
        except FileNotFoundError:
            return EndpointBook()
        except platform.UnsafeFile as error:
            raise EndpointError(str(error)) from None
        except OSError as error:
            raise EndpointError(f"Cannot read {self._path}: {error.strerror}.") from None
        except DECODE_ERRORS as error:
            raise EndpointError(
                f"{self._path} is damaged ({error}). Correct it, or move it away and add the endpoints again."
            ) from None

    def stamp(self) -> tuple[int, int]:
        """A value that changes when the file changes."""
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0)
        return (status.st_mtime_ns, status.st_ino)

    def all(self) -> tuple[Endpoint, ...]:
        """Every endpoint, `byway` first. Raises EndpointError."""
        return (Endpoint(BYWAY), *self.book().endpoints)

    def get(self, name: str) -> Endpoint:
        """One endpoint. Raises EndpointError with the names that exist."""
        return _find(self.book(), name)

    def add(
        self, endpoint: Endpoint, secret: str = "", *, replace: bool = False, accept_file: bool = False
    ) -> Endpoint:
        """Save an endpoint, and its secret in the vault. Returns it as saved.

        `accept_file`: store the secret in a private file where there is no keychain. The base URL must be valid as it is:
        the caller shows a correction first. Raises EndpointError; VaultError when the secret cannot be stored.
        """
        if problem := _refusal(endpoint):
            raise EndpointError(problem)
        endpoint = msgspec.structs.replace(
            endpoint, base_url=endpoint.check().url, created=endpoint.created or _now(), verified=""
        )
        with self._change() as (book, save):
            others = tuple(other for other in book.endpoints if other.name != endpoint.name)
            if len(others) != len(book.endpoints) and not replace:
                raise EndpointError(f"There is an endpoint {endpoint.name} already. To replace it: --replace")
            if len(others) >= MAX_ENDPOINTS:
                raise EndpointError(f"There are {MAX_ENDPOINTS} endpoints already. Remove one first.")
            if endpoint.credential == "none":
                self._vault.clear(_entry(endpoint.name))
            elif secret:
                self._vault.set(_entry(endpoint.name), secret, accept_file)
            else:
                raise EndpointError(f"The endpoint {endpoint.name} needs a secret, and none was given.")
            save(msgspec.structs.replace(book, endpoints=(*others, endpoint)))
        return endpoint

    def remove(self, name: str) -> bool:
        """Remove an endpoint and its secret; returns whether it was the active one, which `byway` replaces then."""
        if name == BYWAY:
            raise EndpointError(
                "The endpoint byway is built in and cannot be removed. To use Anthropic: byway endpoint off"
            )
        with self._change() as (book, save):
            _find(book, name)
            self._vault.clear(_entry(name))
            was_active = book.active == name
            save(
                msgspec.structs.replace(
                    book,
                    endpoints=tuple(other for other in book.endpoints if other.name != name),
                    active=BYWAY if was_active else book.active,
                    folders={path: named for path, named in book.folders.items() if named != name},
                )
            )
        return was_active

    def use(self, name: str) -> Endpoint:
        """Make an endpoint the active one. Raises EndpointError for an unknown or invalid one."""
        with self._change() as (book, save):
            endpoint = _find(book, name)
            if not endpoint.is_byway and (problem := endpoint.check().problem):
                raise EndpointError(f"The base URL of {name} cannot be used: {problem}")
            save(msgspec.structs.replace(book, active=name))
        return endpoint

    def off(self) -> None:
        """Use no endpoint: clients that Byway starts use Anthropic, with a notice."""
        with self._change() as (book, save):
            save(msgspec.structs.replace(book, active=""))

    def set_fallback(self, enabled: bool) -> None:
        """Set whether Anthropic is used when the endpoint is invalid or unreachable."""
        with self._change() as (book, save):
            save(msgspec.structs.replace(book, fallback=enabled))

    def set_verified(self, name: str) -> None:
        """Record that a preflight succeeded just now. `byway` and removed endpoints are not recorded."""
        with self._change() as (book, save):
            endpoints = tuple(
                msgspec.structs.replace(other, verified=_now()) if other.name == name else other
                for other in book.endpoints
            )
            if endpoints != book.endpoints:
                save(msgspec.structs.replace(book, endpoints=endpoints))

    def trust(self, file: Path, name: str) -> None:
        """Record that the user has confirmed a `.byway` file that contains this name."""
        with self._change() as (book, save):
            folders = {path: named for path, named in book.folders.items() if path != str(file)}
            kept = dict(list(folders.items())[-(_MAX_FOLDERS - 1) :])
            save(msgspec.structs.replace(book, folders={**kept, str(file): name}))

    def select(self, folder: Path, name: str | None = None) -> Selection:
        """Which endpoint applies in `folder`: `name` if given, else the nearest `.byway` file, else the active one.

        Raises EndpointError for an unknown name, and for a `.byway` file that cannot be used.
        """
        book = self.book()
        if name is not None:
            return Selection("" if name == "off" else _find(book, name).name, "option")
        if (file := find_folder_file(folder)) is not None:
            if file.problem:
                raise EndpointError(file.problem)
            _find_named(book, file)
            return Selection(file.name, "folder", file.path, book.folders.get(str(file.path)) == file.name)
        if book.active:
            _find(book, book.active)
        return Selection(book.active, "active")

    def secret(self, endpoint: Endpoint) -> str:
        """The secret of an endpoint; empty when it needs none. Raises EndpointError when it is missing."""
        if endpoint.credential == "none":
            return ""
        try:
            value = self._vault.read(_entry(endpoint.name))
        except VaultError as error:
            raise EndpointError(f"Cannot read the secret of the endpoint {endpoint.name}: {error}") from None
        if not value:
            raise EndpointError(
                f"The secret of the endpoint {endpoint.name} is missing. Add it again: "
                f"byway endpoint add {endpoint.name} {endpoint.base_url} --replace --key"
            )
        return value

    @contextlib.contextmanager
    def _change(self) -> Iterator[tuple[EndpointBook, Callable[[EndpointBook], None]]]:
        """The file's content, and a function that replaces it. Other processes wait meanwhile."""
        try:
            with platform.exclusive(platform.private_folder(self._folder) / "endpoints.lock"):
                yield self.book(), self._save
        except OSError as error:
            raise EndpointError(f"Cannot write {self._path}: {error.strerror or error}.") from None

    def _save(self, book: EndpointBook) -> None:
        data = msgspec.json.format(msgspec.json.encode(book)) + b"\n"
        if len(data) > platform.PRIVATE_LIMIT:
            # It could not be read any more.
            raise EndpointError(
                f"{self._path} would be larger than {platform.PRIVATE_LIMIT >> 20} MiB. Remove endpoints first."
            )
        platform.write_private(self._path, data)


def _find(book: EndpointBook, name: str) -> Endpoint:
    if name == BYWAY:
        return Endpoint(BYWAY)
    for endpoint in book.endpoints:
        if endpoint.name == name:
            return endpoint
    names = ", ".join((BYWAY, *(endpoint.name for endpoint in book.endpoints)))
    raise EndpointError(f"There is no endpoint {name[:60]!r}. Use one of: {names}. Add it: byway endpoint add NAME URL")


def _find_named(book: EndpointBook, file: FolderFile) -> None:
    try:
        _find(book, file.name)
    except EndpointError as error:
        raise EndpointError(f"{file.path} names an unknown endpoint. {error}") from None


def _refusal(endpoint: Endpoint) -> str:
    """Why an endpoint cannot be saved; empty when it can."""
    if endpoint.name in _RESERVED:
        return f"The name {endpoint.name} has a meaning of its own. Choose another name."
    if not NAME.fullmatch(endpoint.name):
        return "A name has 1 to 40 characters: a-z, 0-9, dot, dash and underscore, a letter or digit first."
    check = endpoint.check()
    if check.problem:
        return f"The base URL cannot be used: {check.problem}"
    if check.repairs:
        return f"The base URL needs a correction ({'; '.join(check.repairs)}). Use {check.url}"
    if len(endpoint.headers) > _MAX_HEADERS or len(endpoint.model_map) > _MAX_MODELS:
        return f"An endpoint has at most {_MAX_HEADERS} headers and {_MAX_MODELS} models."
    for name, value in endpoint.headers.items():
        if not _HEADER.fullmatch(name) or not value.isprintable() or not value.isascii() or len(value) > 1_000:
            return (
                f"The header {name[:40]!r} is invalid: names have letters, digits and dashes, values one line of ASCII."
            )
        if name.lower() in _REFUSED_HEADERS:
            return f"The header {name} is set by clients. For a key use --key or --token; it is stored as a secret."
    for name in (*endpoint.model_map, *endpoint.model_map.values()):
        if not name or not name.isprintable() or len(name) > 200:
            return "A model name has 1 to 200 printable characters."
    return ""


def _entry(name: str) -> str:
    """The vault's entry of an endpoint's secret."""
    return f"{ENDPOINT_PREFIX}{name}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
