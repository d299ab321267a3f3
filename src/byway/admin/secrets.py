"""Vendor and search API keys that Byway stores for its user: status, set, clear. Values are never returned."""

from __future__ import annotations

from msgspec import Struct

from byway.backends.vendors import VENDORS
from byway.problems import Problem
from byway.secrets.names import ENTRIES, SecretEntry
from byway.secrets.vault import StorageKind, Vault
from byway.store import StoreProtocol

#: Where a secret is stored, for people.
PLACES = {
    "environment": "the environment",
    "keychain": "the system's keychain",
    "file": "secrets.json in Byway's data folder",
}


class SecretInfo(Struct, frozen=True):
    """A secret that Byway can store. Its value is never shown."""

    name: str
    title: str
    kind: str
    """`search`, `backend` or `login`."""
    stored: StorageKind
    """Where the value comes from: `environment`, `keychain`, `file`, or empty when it is not set."""
    hint: str
    """The value, masked."""
    variable: str
    """The `${NAME}` that the config uses."""


class SecretList(Struct, frozen=True):
    """All secrets that Byway can store."""

    secrets: tuple[SecretInfo, ...]
    problems: tuple[str, ...]
    """Why some of them could not be read."""


class SecretChange(Struct, frozen=True):
    """The outcome of setting or clearing a secret."""

    name: str
    stored: StorageKind
    """Where it is stored now; empty after it was cleared."""
    changed: bool
    variable: str


def list_secrets(vault: Vault) -> SecretList:
    """The state of every secret. Blocks while the keychain answers."""
    secrets = tuple(
        SecretInfo(status.entry, status.title, ENTRIES[status.entry].kind, status.where, status.hint, status.variable)
        for status in vault.status()
    )
    return SecretList(secrets, vault.problems)


def set_secret(
    vault: Vault, store: StoreProtocol, name: str, value: str, who: str, *, accept_file: bool
) -> SecretChange:
    """Store a secret in the keychain, or with `accept_file` in a file when there is no keychain. Raises VaultError."""
    entry = find_entry(name)
    stored = vault.set(entry.name, value, file_accepted=accept_file)
    store.add_audit_entry(who, "secret set", f"{entry.name}: {stored}")
    return SecretChange(entry.name, stored, True, entry.variable)


def clear_secret(vault: Vault, store: StoreProtocol, name: str, who: str) -> SecretChange:
    """Delete a secret wherever it is stored. Raises VaultError."""
    entry = find_entry(name)
    cleared = vault.clear(entry.name)
    if cleared:
        store.add_audit_entry(who, "secret cleared", entry.name)
    return SecretChange(entry.name, "", cleared, entry.variable)


def find_entry(name: str) -> SecretEntry:
    """The secret called `name`. Raises Problem, which does not repeat the name: it may be a secret in the wrong place."""
    entry = ENTRIES.get(name)
    if entry is None:
        raise Problem("not_found", f"There is no such secret. Use one of: {', '.join(ENTRIES)}.")
    return entry


def config_lines(entry: SecretEntry) -> str:
    """The lines of byway.yaml that use a secret."""
    value = f'"${{{entry.variable}}}"'
    if entry.kind == "search":
        return f"web_search: {{enabled: true, provider: {entry.name}, api_key: {value}}}"
    if entry.kind == "login":
        return (
            f"oidc:\n  issuer: https://login.example.org\n  client_id: byway\n  client_secret: {value}\n"
            "  roles: [{role: member, domains: [example.org]}]"
        )
    vendor = VENDORS[entry.name]
    url = "" if vendor.url is not None else ", url: https://HOST"
    models = ", models: [MODEL]" if vendor.needs_models else ""
    return f"backends:\n  - {{type: {entry.name}{url}, api_key: {value}{models}}}"
