"""Connects client programs to an endpoint for good, and undoes it. CLI and page use these functions; they block."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from byway import platform
from byway.admin import keys
from byway.admin.exports import ANY_KEY, key_header
from byway.clientfiles import files, jsonc, plans, shell
from byway.clientfiles.changes import fingerprint
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders, has_console_login, read_object
from byway.clientfiles.jsonc import JsoncError
from byway.clientfiles.ledger import FileReceipt, Ledger, LedgerContent
from byway.clientfiles.masking import Masker
from byway.clientfiles.plans import FilePlan
from byway.clientfiles.targets import TARGETS, ClientTarget, ClientValues
from byway.clientfiles.variables import (
    API_KEY,
    AUTH_TOKEN,
    BASE_URL,
    CREDENTIALS,
    EXTRA_CAS,
    FAMILIES,
    HEADERS,
    LOCAL_RETRIES,
)
from byway.endpoints.registry import Endpoint
from byway.proxies import NO_PROXIES, exceptions, has_proxy, merged_no_proxy
from byway.store import StoreProtocol
from byway.store.signins import SIGN_IN_ID
from byway.upstream.address import is_self_hosted

#: The name of the key that is created for clients.
KEY_NAME: Final = "byway connect"
#: Stands for the value of that key in a diff that is only shown.
NEW_KEY: Final = "a-key-that-is-created-then"
#: Bytes of a file of certificates that is copied.
_MOST_CERTIFICATES: Final = 4 << 20


class PlannedChange(Struct, frozen=True):
    """A change of one file, as it is shown."""

    target: str
    title: str
    file: str
    diff: str
    """Unified, without secrets; empty when nothing changes."""
    remarks: tuple[str, ...] = ()


class ConnectionState(Struct, frozen=True):
    """A client program, and what its settings contain."""

    target: str
    title: str
    use: str
    file: str
    """Empty when the program documents no file for this system."""
    exists: bool
    connected: bool
    """Byway has changed the file."""
    endpoint: str = ""
    """The endpoint that Byway wrote."""
    base_url: str = ""
    at: datetime.datetime | None = None
    problem: str = ""
    changed: tuple[str, ...] = ()
    """Keys that the user has changed since."""
    sign_in: bool = False
    """It is connected by a sign-in."""


class Prepared(NamedTuple):
    """Plans that can be shown and carried out."""

    plans: tuple[FilePlan, ...]
    shown: tuple[PlannedChange, ...]

    @property
    def changes(self) -> bool:
        return any(plan.changes or plan.receipt != plan.previous for plan in self.plans)


# --------------------------------------------------------------------------------------------------------------- values


def byway_values(exported: Mapping[str, Any], folders: UserFolders, key: str = "", key_id: str = "") -> ClientValues:
    """The values for this Byway. `exported` is the answer of `GET /byway/exports`; `key` a key's value where one is required."""
    variables = {str(name): str(value) for name, value in dict(exported.get("variables") or {}).items()}
    base_url = variables.pop(BASE_URL)
    variables.pop(API_KEY, None)
    variables.pop(HEADERS, None)
    if trust := variables.pop(EXTRA_CAS, ""):
        variables |= extra_cas(trust, folders)
    keeps_login = bool(exported.get("client_credential"))
    if keeps_login:
        # A key or token would replace the client's own login.
        credential = {HEADERS: key_header(key)} if key else {}
    else:
        credential = _credential(folders, key or ANY_KEY, as_key=has_console_login(folders))
    return _values(
        "byway",
        base_url,
        credential,
        variables,
        folders,
        secret=bool(key),
        key=key_id,
        permission_mode=str(exported.get("permission_mode") or ""),
        keeps_login=keeps_login,
        own_key=(key or ANY_KEY) if keeps_login else "",
    )


def extra_cas(trust: str, folders: UserFolders) -> dict[str, str]:
    """The variable with which Claude Code trusts the file `trust`, and the file that it trusts already.

    It names one file. Where the user has another one, a file beside `trust` is written with the content of both.
    """
    settings = read_object(folders.claude / "settings.json") or {}
    block = settings.get("env")
    written = str(block.get(EXTRA_CAS) or "") if isinstance(block, dict) else ""
    before = Path(written or folders.environ.get(EXTRA_CAS) or trust)
    try:
        own = Path(trust).read_bytes()
        with before.open("rb") as file:
            others = file.read(_MOST_CERTIFICATES + 1)
        if own.strip() in others:
            return {EXTRA_CAS: str(before)}
        if len(others) > _MOST_CERTIFICATES:
            return {}
        folder = Path(trust).parent
        digest = hashlib.sha256(str(before).encode()).hexdigest()[:12]
        both = before if before.parent == folder else folder / f"trusted-{digest}.pem"
        platform.write_private(both, others.rstrip() + b"\n" + own)
    except OSError:
        # Claude Code ignores a file that cannot be read.
        return {EXTRA_CAS: trust}
    return {EXTRA_CAS: str(both)}


def endpoint_values(endpoint: Endpoint, secret: str, folders: UserFolders) -> ClientValues:
    """The values for another endpoint. `secret` is its credential; empty when it needs none."""
    variables = {FAMILIES[name]: model for name, model in endpoint.model_map.items() if name in FAMILIES}
    overrides = {name: model for name, model in endpoint.model_map.items() if name not in FAMILIES}
    if endpoint.headers:
        variables[HEADERS] = "\n".join(f"{name}: {value}" for name, value in endpoint.headers.items())
    as_key = endpoint.credential == "api_key" or (endpoint.credential == "none" and has_console_login(folders))
    credential = _credential(folders, secret or ANY_KEY, as_key=as_key)
    return _values(
        endpoint.name, endpoint.check().url, credential, variables, folders, secret=bool(secret), overrides=overrides
    )


def _values(
    name: str,
    base_url: str,
    credential: Mapping[str, str],
    variables: Mapping[str, str],
    folders: UserFolders,
    **more: Any,
) -> ClientValues:
    every = {BASE_URL: base_url, **credential, **variables, **no_proxy(base_url, folders.environ)}
    if is_self_hosted(base_url):
        every |= LOCAL_RETRIES
    return ClientValues(name, every, **more)


def _credential(folders: UserFolders, secret: str, *, as_key: bool) -> dict[str, str]:
    """Exactly one credential. The other one is empty, so that a variable of the user is not sent beside it (measured)."""
    return {AUTH_TOKEN: "" if as_key else secret, API_KEY: secret if as_key else ""}


def no_proxy(base_url: str, environ: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY with this machine in it, when a proxy is set: it would be used for this machine too (measured)."""
    if not has_proxy(environ) or not is_self_hosted(base_url) or "*" in exceptions(environ):
        return {}
    host = urlsplit(base_url).hostname
    return dict.fromkeys(NO_PROXIES, merged_no_proxy(environ, *([host] if host else [])))


def created_key(content: LedgerContent) -> tuple[str, str]:
    """The id and the value of the key that an earlier connect created, as a client's file has it; empty when it is gone."""
    for receipt in content.files:
        if not receipt.key or receipt.key.startswith(SIGN_IN_ID):
            continue
        try:
            text = files.read(Path(receipt.file)).text
            if receipt.form == "jsonc":
                entries = [jsonc.value(text, jsonc.steps(key.path)) for key in receipt.keys if key.credential]
                values = [entry.get("value") if isinstance(entry, dict) else entry for entry in entries]
            else:
                names = (*CREDENTIALS, HEADERS)
                values = [entry.value for entry in shell.assignments(text, receipt.form) if entry.name in names]
        except (ClientFileError, JsoncError):
            continue
        for value in values:
            if isinstance(value, str) and value and _is_ours(receipt, value):
                return receipt.key, value.removeprefix(key_header(""))
    return "", ""


def usable_key(ledger: Ledger, store: StoreProtocol) -> tuple[str, str]:
    """The id and the value of the key of an earlier connect; empty when it is gone, revoked or expired."""
    id, value = created_key(ledger.read())
    return (id, value) if any(key.id == id and key.is_active for key in keys.list_keys(store)) else ("", "")


def _is_ours(receipt: FileReceipt, value: str) -> bool:
    marks = {mark for key in receipt.keys for mark in key.fingerprints}
    names = (*CREDENTIALS, HEADERS)
    written: list[Any] = [value, *({"name": name, "value": value} for name in names)]
    if receipt.form != "jsonc":
        written = [shell.render(name, value, receipt.form) for name in names]
    return any(fingerprint(form, receipt.salt) in marks for form in written)


def has_unused_key(ledger: Ledger, values: ClientValues) -> bool:
    """Do the values have a key that no file contains, because the change was refused or failed?"""
    try:
        return bool(values.key) and all(receipt.key != values.key for receipt in ledger.read().files)
    except ClientFileError:
        return False


# ---------------------------------------------------------------------------------------------------------------- plans


def prepare_connect(ledger: Ledger, targets: Sequence[str], folders: UserFolders, values: ClientValues) -> Prepared:
    """Plan to connect client programs. Raises ClientFileError."""
    content = ledger.read()
    made = [plans.plan_change(content, change) for name in targets for change in TARGETS[name].plan(folders, values)]
    if "claude" in targets and (server := content.receipt("claude", folders.claude_state)) is not None:
        # The MCP server of a sign-in, which ends with this change.
        made.append(plans.plan_undo(server))
    masker = Masker([values.credential, values.own_key] if values.secret else [], [ANY_KEY])
    return prepared(made, masker)


def prepare_disconnect(ledger: Ledger, targets: Sequence[str]) -> Prepared:
    """Plan to undo what Byway changed: for some targets, or with none for all, fixes included. Raises ClientFileError."""
    receipts = [receipt for receipt in ledger.read().files if not targets or receipt.target in targets]
    return prepared(plans.plan_undo_all(receipts), Masker((), [ANY_KEY]))


def prepare_fix(ledger: Ledger, change: plans.FileChange) -> Prepared:
    """Plan a fix of the doctor. Raises ClientFileError."""
    return prepared([plans.plan_change(ledger.read(), change)], Masker((), [ANY_KEY]))


def prepared(made: Sequence[FilePlan], masker: Masker) -> Prepared:
    """Plans with their diffs, whose secrets `masker` masks."""
    shown = []
    for plan in made:
        reference = plan.receipt or plan.previous
        target = TARGETS.get(reference.target) if reference else None
        shown.append(
            PlannedChange(
                reference.target if reference else "",
                target.title if target else "Fix",
                str(plan.file.path),
                plans.diff(plan, masker),
                tuple(_remarks(plan, target)),
            )
        )
    return Prepared(tuple(made), tuple(shown))


def _remarks(plan: FilePlan, target: ClientTarget | None) -> list[str]:
    remarks = [f"{name} has been changed since and stays as it is." for name in plan.kept]
    remarks += [
        f"{name} stays empty: the key before it belongs to another base URL. Remove the base URL and disconnect again to "
        "get it back."
        for name in plan.withheld
    ]
    if plan.mode is not None and plan.mode == 0o600:
        remarks.append(f"{plan.file.path} will contain a key: only you can read it from now on.")
    is_claude = target is not None and target.name in ("claude", "project", "local")
    if is_claude and plan.after and (place := jsonc.strict_problem(plan.after.decode())):
        remarks.append(
            f"{plan.file.path} has a comment or a trailing comma ({place}). Claude Code ignores the whole file until you "
            "remove it."
        )
    if plan.action == "connect" and target is not None and target.name == "project":
        remarks.append(
            "All users of this project will use the endpoint. To set it only for you, use the target `local`."
        )
    return remarks


def carry_out(ledger: Ledger, prepared: Prepared, revoke: Callable[[str], None], action: str = "") -> None:
    """Make the planned changes, and revoke keys that no client has any more. Raises ClientFileError."""
    before = {receipt.key for receipt in ledger.read().files}
    plans.carry_out(ledger, prepared.plans, action)
    for key in before - {receipt.key for receipt in ledger.read().files} - {""}:
        revoke(key)


def states(ledger: Ledger, folders: UserFolders) -> list[ConnectionState]:
    """Each client program with its file, and whether Byway has changed it. Raises ClientFileError."""
    content = ledger.read()
    return [_state(content, target, folders) for target in TARGETS.values()]


def _state(content: LedgerContent, target: ClientTarget, folders: UserFolders) -> ConnectionState:
    path = target.path(folders)
    exists, problem = False, ""
    if path is None:
        problem = "documents no settings file for this system"
    else:
        try:
            exists = files.read(path).exists if path.suffix else path.is_dir()
        except ClientFileError as error:
            problem = str(error)
    receipt = next((receipt for receipt in content.files if receipt.target == target.name), None)
    if target.name in ("project", "local"):
        receipt = content.receipt(target.name, path) if path else None
    return ConnectionState(
        target.name,
        target.title,
        target.use,
        str(path or ""),
        exists,
        receipt is not None,
        receipt.endpoint if receipt else "",
        receipt.base_url if receipt else "",
        receipt.at if receipt else None,
        problem,
        _changed_since(receipt),
        receipt is not None and receipt.key.startswith(SIGN_IN_ID),
    )


def _changed_since(receipt: FileReceipt | None) -> tuple[str, ...]:
    """The keys of a receipt that the user has changed."""
    try:
        return plans.plan_undo(receipt).kept if receipt else ()
    except ClientFileError:
        return ()
