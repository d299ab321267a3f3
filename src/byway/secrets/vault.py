"""Stores secrets in the system's keychain, or in a private file where the user accepts that, and reads them.

`names` has the names of the entries. The docstrings name the calls that block.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from byway import platform
from byway.decoding import DECODE_ERRORS
from byway.secrets.names import ENDPOINT_PREFIX, ENTRIES, ENTRY_OF_VARIABLE, SecretEntry, mask, variables_in

#: The name under which the keychain lists the secrets of Byway.
SERVICE: Final = "byway"
#: Seconds that a keychain gets to answer. A locked one may wait for its password, and requests must not wait for that.
KEYCHAIN_TIMEOUT: Final = 3.0
_SHORTEST, _LONGEST = 8, 1024
StorageKind = Literal["environment", "keychain", "file", ""]
_ENVIRONMENT: Final[StorageKind] = "environment"
_KEYCHAIN: Final[StorageKind] = "keychain"
_FILE: Final[StorageKind] = "file"
_NOWHERE: Final[StorageKind] = ""
Answer = TypeVar("Answer")

INSTALL_HINT: Final = "pip install --no-deps --require-hashes -r requirements/keychain.txt"


class VaultError(Exception):
    """A secret cannot be stored, read or removed: the reason and the next action. Never contains the secret."""


class InvalidSecret(VaultError):
    """The text cannot be a vendor API key."""


class SecretsFileError(VaultError):
    """The file of secrets cannot be used."""


class KeychainUnavailable(VaultError):
    """This system has no keychain, or the keychain does not answer."""

    def __init__(self, message: str, *, waiting: bool = False) -> None:
        super().__init__(message)
        self.waiting = waiting
        """There is a keychain, and it may contain the secret."""


class SecretStatus(msgspec.Struct, frozen=True):
    """The state of one entry."""

    entry: str
    title: str
    where: StorageKind
    """The source of the value in use; empty: there is none."""
    hint: str
    """The value, masked."""
    variable: str
    """The environment variable that the value comes from; without one, the variable to use in the config."""


class _StoredSecret(NamedTuple):
    entry: SecretEntry
    value: str
    where: StorageKind
    known: bool
    """False: it is unknown whether there is a value."""
    trouble: str


class Vault(Mapping[str, str]):
    """The environment variables and the stored secrets, as one mapping. Reading the mapping never blocks: see `fetch`."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, patience: float = KEYCHAIN_TIMEOUT) -> None:
        """`folder`: Byway's data folder. It is created on the first write."""
        self.mark = folder / "secrets.stamp"
        """A file that changes with every change of a secret, so that a running Byway notices it. It contains no secret."""
        self.problems: tuple[str, ...] = ()
        """The problems of the last read."""
        self._folder = folder
        self._path = folder / "secrets.json"
        self._environ = environ
        self._keychain = _Keychain(patience)
        self._lock = threading.RLock()
        self._values: dict[str, str] = {}
        self._fresh: set[str] = set()
        """Entries that were read since the last change."""
        self._seen = (b"", 0)

    # ---- as a mapping

    def __getitem__(self, name: str) -> str:
        """The variable `name` of the environment; without it, the stored secret for that variable."""
        entry = ENTRY_OF_VARIABLE.get(name)
        if entry is None or self._environ.get(name):
            return self._environ[name]
        given = self._given(entry)
        return self._environ[given] if given else self._values[entry.name]

    def __iter__(self) -> Iterator[str]:
        return iter(
            {*self._environ, *(name for name, entry in ENTRY_OF_VARIABLE.items() if entry.name in self._values)}
        )

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _given(self, entry: SecretEntry) -> str:
        """The name of the environment variable that contains this secret; empty when there is none."""
        return next((name for name in entry.variables if self._environ.get(name)), "")

    # ---- reading

    @property
    def late(self) -> int:
        """How many answers of the keychain came after the timeout: `fetch` may find more then."""
        return self._keychain.late

    def fetch(self, text: str) -> None:
        """Read the secrets that `text` names and the environment lacks. Blocks: do not call it in an event loop.

        Without such a name, neither keychain nor file is opened. `problems` contains what could not be read; a secret
        that was read before stays valid.
        """
        with self._lock:
            now = (self._marked(), self.late)
            if now != self._seen:
                self._fresh.clear()
                self._seen = now
            entries = {
                ENTRY_OF_VARIABLE[name].name: ENTRY_OF_VARIABLE[name]
                for name in sorted(variables_in(text) & ENTRY_OF_VARIABLE.keys())
            }
            wanted = [entry for entry in entries.values() if entry.name not in self._fresh and not self._given(entry)]
            self.problems = tuple(dict.fromkeys(self._read(wanted))) if wanted else ()

    def _read(self, wanted: Iterable[SecretEntry]) -> Iterator[str]:
        """Read these entries into `_values`; yields the problems."""
        for stored in self._stored(wanted):
            name = stored.entry.name
            if stored.known:
                self._fresh.add(name)
            # One assignment: other threads read meanwhile.
            if stored.value:
                self._values[name] = stored.value
            elif stored.known:
                self._values.pop(name, None)
            if stored.trouble:
                yield stored.trouble

    def _stored(self, wanted: Iterable[SecretEntry]) -> Iterator[_StoredSecret]:
        """The stored value of each entry. The file wins: a secret is in it only when no keychain accepted it, so it is newer."""
        kept: dict[str, str] = {}
        broken = ""
        silent: KeychainUnavailable | None = None
        try:
            kept = self._file()
        except SecretsFileError as error:
            broken = str(error)
        for entry in wanted:
            value, where = kept.get(entry.name, ""), _FILE
            if not value and silent is None:
                where = _KEYCHAIN
                try:
                    value = self._keychain.get(entry.name)
                except KeychainUnavailable as error:
                    silent = error
            known = not broken and (bool(value) or silent is None or not silent.waiting)
            trouble = broken or ("" if value or silent is None else str(silent))
            if flaw := value and _flaw(value):
                value, trouble = (
                    "",
                    f"The stored value of {entry.name} is not a key: {flaw}. Set it again: byway secret set {entry.name}",
                )
            yield _StoredSecret(entry, value, where if value else _NOWHERE, known, trouble)

    def status(self) -> list[SecretStatus]:
        """The state of every entry, in order. Blocks; `problems` contains what could not be read."""
        with self._lock:
            given = {name: variable for name, entry in ENTRIES.items() if (variable := self._given(entry))}
            kept = {
                secret.entry.name: secret for secret in self._stored(e for e in ENTRIES.values() if e.name not in given)
            }
            self.problems = tuple(dict.fromkeys(secret.trouble for secret in kept.values() if secret.trouble))
        stored = []
        for name, entry in ENTRIES.items():
            if name in given:
                value, where, variable = self._environ[given[name]], _ENVIRONMENT, given[name]
            else:
                value, where, variable = kept[name].value, kept[name].where, entry.variable
            stored.append(SecretStatus(name, entry.title, where, mask(value) if value else "", variable))
        return stored

    def read(self, entry: str) -> str:
        """The stored secret of one entry; empty when there is none. Blocks. Raises VaultError when it cannot be read."""
        with self._lock:
            stored = next(iter(self._stored([_entry(entry)])))
        if stored.trouble and not stored.known:
            raise VaultError(stored.trouble)
        return stored.value

    # ---- writing

    def set(self, entry: str, value: str, file_accepted: bool = False) -> StorageKind:
        """Store a secret and return where. `file_accepted`: use a file where there is no keychain. Blocks.

        Raises KeychainUnavailable when there is no keychain and the file is not accepted; InvalidSecret, SecretsFileError or
        VaultError.
        """
        known = _entry(entry)
        if flaw := _flaw(value):
            raise InvalidSecret(f"That is not a key: {flaw}. Nothing was changed.")
        with self._lock:
            # Report a damaged file before anything is changed.
            self._file()
            where = _KEYCHAIN
            try:
                self._keychain.set(known.name, value)
            except KeychainUnavailable:
                if not file_accepted:
                    raise
                where = _FILE
                self._write(known.name, value)
            else:
                self._write(known.name, None)
            self._changed()
            return where

    def clear(self, entry: str) -> bool:
        """Remove a secret from keychain and file. Returns False when there was none. Blocks. Raises VaultError."""
        known = _entry(entry)
        with self._lock:
            there = self._write(known.name, None)
            if there:
                self._changed()
            try:
                cleared = self._keychain.clear(known.name)
            except KeychainUnavailable as error:
                if error.waiting:
                    raise KeychainUnavailable(
                        f"The keychain may still contain {known.name}. {error}", waiting=True
                    ) from None
                return there
            if cleared:
                self._changed()
            return there or cleared

    def _changed(self) -> None:
        self._fresh.clear()
        with _explained(self.mark):
            platform.write_private(
                platform.private_folder(self._folder) / self.mark.name, secrets.token_hex(16).encode()
            )

    def _marked(self) -> bytes:
        with contextlib.suppress(OSError):
            return self.mark.read_bytes()
        return b""

    # ---- the file

    def _file(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(platform.read_private(self._path), type=dict[str, str])
        except FileNotFoundError:
            return {}
        except platform.UnsafeFile as error:
            raise SecretsFileError(f"{error}. Its secrets are not used until then.") from None
        except OSError as error:
            raise SecretsFileError(f"{self._path} cannot be read: {error.strerror}.") from None
        except DECODE_ERRORS:
            raise SecretsFileError(
                f"{self._path} is damaged. Move it away, then set its secrets again: byway secret set ENTRY"
            ) from None

    def _write(self, name: str, value: str | None) -> bool:
        """Write one secret to the file, or remove it for None. Returns whether the file had it. Other processes may write at the
        same time."""
        if value is None and name not in self._file():
            return False
        with _explained(self._path), platform.exclusive(platform.private_folder(self._folder) / "secrets.lock"):
            kept = self._file()
            there = kept.pop(name, None) is not None
            if value is not None:
                kept[name] = value
            if kept:
                platform.write_private(self._path, msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
            else:
                self._path.unlink(missing_ok=True)
        return there


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise VaultError(f"{path} cannot be written: {error.strerror or error}.") from None


def _entry(name: str) -> SecretEntry:
    if name.startswith(ENDPOINT_PREFIX):
        return SecretEntry(name, f"Endpoint {name.removeprefix(ENDPOINT_PREFIX)}", "endpoint", ())
    if name not in ENTRIES:
        # The name is not repeated: it may be a secret in the wrong place.
        raise VaultError(f"There is no such entry. Use one of: {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def _flaw(value: str) -> str:
    """Why a text cannot be a secret; empty when it can."""
    if not value:
        return "it is empty"
    if "\n" in value or "\r" in value:
        return "it has more than one line"
    if value != value.strip():
        return "it starts or ends with white space"
    if not re.fullmatch("[!-~]*", value):
        return "it contains white space, a control character or a non-ASCII character"
    if "${" in value:
        return "it is the name of a variable; enter the value itself"
    if not _SHORTEST <= len(value) <= _LONGEST:
        return f"it has {len(value):,} characters, and keys have {_SHORTEST} to {_LONGEST:,}"
    return ""


class _Keychain:
    """The system's keychain, through `keyring`. Each call runs in its own thread, because it may wait for a password."""

    def __init__(self, patience: float) -> None:
        self.late = 0
        self._patience = patience
        self._guard = threading.Lock()
        self._waiting: threading.Thread | None = None

    def get(self, name: str) -> str:
        """Return a secret; empty when there is none. Raises KeychainUnavailable."""
        return self._run(lambda chain: chain.get_password(SERVICE, name) or "")

    def set(self, name: str, value: str) -> None:
        """Store a secret, and check that it can be read. Raises KeychainUnavailable."""

        def keep(chain: Any) -> bool:
            chain.set_password(SERVICE, name, value)
            return bool(chain.get_password(SERVICE, name) == value)

        if not self._run(keep):
            raise KeychainUnavailable("The keychain returned another value than the one that was stored.")

    def clear(self, name: str) -> bool:
        """Remove a secret. Returns False when there was none. Raises KeychainUnavailable."""

        def forget(chain: Any) -> bool:
            if chain.get_password(SERVICE, name) is None:
                return False
            chain.delete_password(SERVICE, name)
            return True

        return self._run(forget)

    def _run(self, work: Callable[[Any], Answer]) -> Answer:
        """Run `work` with the keychain in a thread. Raises KeychainUnavailable when it fails or takes too long."""
        answers: list[Answer] = []
        problems: list[Exception] = []

        def run() -> None:
            try:
                answers.append(work(_keychain()))
            except Exception as error:
                problems.append(error)
            with self._guard:
                if self._waiting is thread:
                    self._waiting = None
                    self.late += 1

        thread = threading.Thread(target=run, name="keychain", daemon=True)
        with self._guard:
            if self._waiting is not None:
                raise _timed_out()
        thread.start()
        thread.join(self._patience)
        with self._guard:
            if not answers and not problems:
                self._waiting = thread
                raise _timed_out()
        if problems:
            raise _problem(problems[0]) from None
        return answers[0]


def _keychain() -> Any:
    """Return the keychain of this system. Raises KeychainUnavailable, and any error of `keyring`."""
    try:
        import keyring.core
    except ImportError:
        raise KeychainUnavailable(
            f"The system's keychain is not connected here. To install the library: {INSTALL_HINT}."
        ) from None
    if not _is_keychain(keyring.get_keyring()):
        # A keychain may have started since the last search.
        keyring.core.init_backend()
        if not _is_keychain(keyring.get_keyring()):
            raise KeychainUnavailable(
                "This system has no keychain that is running (on Linux: GNOME Keyring, KWallet or KeePassXC)."
            )
    return keyring.get_keyring()


def _is_keychain(chain: Any) -> bool:
    """Return whether it is a real keychain. A priority below 1 means none, or plain files (`keyring.core.recommended`)."""
    # A chain of several keychains uses the first one.
    first = next(iter(getattr(chain, "backends", ())), chain)
    return bool(first.priority >= 1)


def _timed_out() -> KeychainUnavailable:
    return KeychainUnavailable(
        "The keychain has not answered in time. It may wait for its password: unlock it.", waiting=True
    )


def _problem(error: Exception) -> KeychainUnavailable:
    """The error of a keychain. Its own message is not repeated, because it may contain a secret."""
    if isinstance(error, KeychainUnavailable):
        return error
    kind = type(error).__name__
    if kind in ("KeyringLocked", "InitError"):
        return KeychainUnavailable(
            "The keychain is locked and did not prompt for its password. Unlock it first.", waiting=True
        )
    return KeychainUnavailable(f"The keychain cannot be used ({kind}).", waiting=kind != "NoKeyringError")
