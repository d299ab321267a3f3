"""Stores secrets in the system's keychain, or in a private file where the user accepts that, and reads them again.

`names` has the names of the entries. Calls that block say so.
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
from byway.secrets.names import ENTRIES, ENTRY_OF_VARIABLE, SecretEntry, mask, variables_in

#: Under this name the keychain lists what is ours.
SERVICE: Final = "byway"
#: Seconds that a keychain gets to answer. A locked one may wait for a person; nobody else should wait for that.
KEYCHAIN_TIMEOUT: Final = 3.0
_SHORTEST, _LONGEST = 8, 1024
StorageKind = Literal["environment", "keychain", "file", ""]
_ENVIRONMENT: Final[StorageKind] = "environment"
_KEYCHAIN: Final[StorageKind] = "keychain"
_FILE: Final[StorageKind] = "file"
_NOWHERE: Final[StorageKind] = ""
Answer = TypeVar("Answer")

INSTALL_HINT: Final = (
    "pip install --no-deps --require-hashes -r requirements/keychain.txt, or pip install 'byway[keychain]'"
)


class VaultError(Exception):
    """A secret cannot be kept, read or forgotten: why, and what to do. Never the secret itself."""


class InvalidSecret(VaultError):
    """This is no secret that a provider could have given."""


class SecretsFileError(VaultError):
    """The file of secrets is not fit to be used."""


class KeychainUnavailable(VaultError):
    """There is no keychain here, or it does not answer."""

    def __init__(self, message: str, *, waiting: bool = False) -> None:
        super().__init__(message)
        self.waiting = waiting
        """There is one, and it may hold what was asked for."""


class SecretStatus(msgspec.Struct, frozen=True):
    """What is known of one entry."""

    entry: str
    title: str
    where: StorageKind
    """Where the value comes from that is used; empty: there is none."""
    hint: str
    """The value, masked."""
    variable: str
    """The environment variable that it comes from; else the one that a config should name."""


class _StoredSecret(NamedTuple):
    entry: SecretEntry
    value: str
    where: StorageKind
    known: bool
    """False: nobody could say whether there is one."""
    trouble: str


class Vault(Mapping[str, str]):
    """The environment, and behind it the secrets that are kept. As a mapping it never waits: see `fetch`."""

    def __init__(self, folder: Path, environ: Mapping[str, str], *, patience: float = KEYCHAIN_TIMEOUT) -> None:
        """`folder`: Byway's data folder. It is made when something has to be written."""
        self.mark = folder / "secrets.stamp"
        """A file that changes with every change of a secret, so that a running Byway notices. It holds none."""
        self.problems: tuple[str, ...] = ()
        """What was wrong the last time that secrets were read."""
        self._folder = folder
        self._path = folder / "secrets.json"
        self._environ = environ
        self._keychain = _Keychain(patience)
        self._lock = threading.RLock()
        self._values: dict[str, str] = {}
        self._fresh: set[str] = set()
        """Entries that were looked for since something has changed."""
        self._seen = (b"", 0)

    # ---- as a mapping

    def __getitem__(self, name: str) -> str:
        """The variable `name`: as it is in the environment, else the kept secret that it means."""
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
        """The variable of the environment that has this secret, or nothing."""
        return next((name for name in entry.variables if self._environ.get(name)), "")

    # ---- reading

    @property
    def late(self) -> int:
        """How many answers have come from a keychain after nobody waited any more: then `fetch` may find more."""
        return self._keychain.late

    def fetch(self, text: str) -> None:
        """Read the secrets that `text` names and the environment does not have. Blocks: not for an event loop.

        Without such a name no keychain and no file is touched. What cannot be read is said in `complaints`; a secret
        that was read before stays then.
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
        """Read these into `_values`; yields what went wrong."""
        for stored in self._stored(wanted):
            name = stored.entry.name
            if stored.known:
                self._fresh.add(name)
            # In one step: others read meanwhile.
            if stored.value:
                self._values[name] = stored.value
            elif stored.known:
                self._values.pop(name, None)
            if stored.trouble:
                yield stored.trouble

    def _stored(self, wanted: Iterable[SecretEntry]) -> Iterator[_StoredSecret]:
        """What is kept as each entry. The file comes first: what is in it no keychain could take, so it is the newest."""
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
            if odd := value and _odd(value):
                value, trouble = "", f"What is kept as {entry.name} is no key: {odd}. {_again(entry)}"
            yield _StoredSecret(entry, value, where if value else _NOWHERE, known, trouble)

    def status(self) -> list[SecretStatus]:
        """What is known of every entry, in order. Blocks; what cannot be read is said in `complaints`."""
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

    # ---- writing

    def set(self, entry: str, value: str, file_accepted: bool = False) -> StorageKind:
        """Keep a secret, and say where. `file_accepted`: a file will do where there is no keychain. Blocks.

        Raises NoKeychain when there is none and the file is not accepted, BadValue, BadFile, or VaultError.
        """
        known = _entry(entry)
        if odd := _odd(value):
            raise InvalidSecret(f"That is not a key: {odd}. Nothing was changed.")
        with self._lock:
            # One that is damaged is said before anything is changed.
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
        """Forget a secret wherever it is kept; False when there was none. Blocks. Raises VaultError."""
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
                        f"The keychain may still hold {known.name}. {error}", waiting=True
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
            raise SecretsFileError(f"{error}. Until then what it holds is not used.") from None
        except OSError as error:
            raise SecretsFileError(f"{self._path} cannot be read: {error.strerror}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SecretsFileError(
                f"{self._path} is damaged. Move it away, then keep the secrets in it anew: byway secret set ENTRY"
            ) from None

    def _write(self, name: str, value: str | None) -> bool:
        """Put one secret into the file, or take it out; was it in there? Others may write theirs meanwhile: a command, or another
        click at the page."""
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
    if name not in ENTRIES:
        # What was given is not repeated: it may be a secret in the wrong place.
        raise VaultError(f"There is no such entry. There are: {', '.join(ENTRIES)}.")
    return ENTRIES[name]


def _again(entry: SecretEntry) -> str:
    return f"Keep it anew: byway secret set {entry.name}"


def _odd(value: str) -> str:
    """What keeps a text from being a secret, or nothing."""
    if not value:
        return "it is empty"
    if "\n" in value or "\r" in value:
        return "it has more than one line"
    if value != value.strip():
        return "there is a blank before or behind it"
    if not re.fullmatch("[!-~]*", value):
        return "there is a blank, a control character or a letter outside ASCII in it"
    if "${" in value:
        return "it is the name of a variable; here the value itself is wanted"
    if not _SHORTEST <= len(value) <= _LONGEST:
        return f"it has {len(value):,} characters, and keys have {_SHORTEST} to {_LONGEST:,}"
    return ""


class _Keychain:
    """The system's keychain, by `keyring`. Each call has a thread of its own: it may wait for a person."""

    def __init__(self, patience: float) -> None:
        self.late = 0
        self._patience = patience
        self._guard = threading.Lock()
        self._waiting: threading.Thread | None = None

    def get(self, name: str) -> str:
        """A secret; empty when there is none. Raises NoKeychain."""
        return self._ask(lambda chain: chain.get_password(SERVICE, name) or "")

    def set(self, name: str, value: str) -> None:
        """Keep a secret, and see that it is there. Raises NoKeychain."""

        def keep(chain: Any) -> bool:
            chain.set_password(SERVICE, name, value)
            return bool(chain.get_password(SERVICE, name) == value)

        if not self._ask(keep):
            raise KeychainUnavailable("The keychain does not give back what it was given.")

    def clear(self, name: str) -> bool:
        """Forget a secret; False when there was none. Raises NoKeychain."""

        def forget(chain: Any) -> bool:
            if chain.get_password(SERVICE, name) is None:
                return False
            chain.delete_password(SERVICE, name)
            return True

        return self._ask(forget)

    def _ask(self, work: Callable[[Any], Answer]) -> Answer:
        """`work` with the keychain, when it answers in time. Raises NoKeychain."""
        answers: list[Answer] = []
        problems: list[Exception] = []

        def run() -> None:
            try:
                answers.append(work(_chain()))
            except Exception as error:
                problems.append(error)
            with self._guard:
                if self._waiting is thread:
                    self._waiting = None
                    self.late += 1

        thread = threading.Thread(target=run, name="keychain", daemon=True)
        with self._guard:
            if self._waiting is not None:
                raise _silent()
        thread.start()
        thread.join(self._patience)
        with self._guard:
            if not answers and not problems:
                self._waiting = thread
                raise _silent()
        if problems:
            raise _problem(problems[0]) from None
        return answers[0]


def _chain() -> Any:
    """The keychain of this system. Raises NoKeychain, and whatever `keyring` raises."""
    try:
        import keyring.core
    except ImportError:
        raise KeychainUnavailable(f"The system's keychain is not connected here. To have it: {INSTALL_HINT}.") from None
    if not _fit(keyring.get_keyring()):
        # There may have been none yet when it was looked for before.
        keyring.core.init_backend()
        if not _fit(keyring.get_keyring()):
            raise KeychainUnavailable(
                "This system has no keychain that is running (on Linux: GNOME Keyring, KWallet or KeePassXC)."
            )
    return keyring.get_keyring()


def _fit(chain: Any) -> bool:
    """Is it a keychain? Below 1 are makeshifts: none at all, or plain files (`keyring.core.recommended`)."""
    # Several in a chain are tried in order.
    first = next(iter(getattr(chain, "backends", ())), chain)
    return bool(first.priority >= 1)


def _silent() -> KeychainUnavailable:
    return KeychainUnavailable(
        "The keychain has not answered in time. Perhaps it waits for its password: unlock it.", waiting=True
    )


def _problem(error: Exception) -> KeychainUnavailable:
    """What a keychain says instead of doing its work; its own words are not repeated, they may hold anything."""
    if isinstance(error, KeychainUnavailable):
        return error
    kind = type(error).__name__
    if kind in ("KeyringLocked", "InitError"):
        return KeychainUnavailable(
            "The keychain is locked, and nobody was asked for its password. Unlock it first.", waiting=True
        )
    return KeychainUnavailable(f"The keychain cannot be used ({kind}).", waiting=kind != "NoKeyringError")
