"""Connects Claude Code by its sign-in: its settings, the questions of `claude auth login`, and signing out. Calls block.

The dialogue and the files are measured with 2.1.329 (2026-11-30).
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from byway.clientfiles import files, jsonc, plans
from byway.clientfiles.changes import Setting
from byway.clientfiles.files import ClientFileError
from byway.clientfiles.folders import UserFolders, claude_logins, read_object
from byway.clientfiles.jsonc import JsoncError
from byway.clientfiles.ledger import FileReceipt, Ledger, LedgerContent
from byway.clientfiles.masking import Masker
from byway.clientfiles.plans import FileChange
from byway.clients.connect import Prepared, extra_cas, no_proxy, prepared
from byway.endpoints.address import same_url
from byway.endpoints.registry import BYWAY
from byway.signin.settings import MCP_SERVER, mcp_entry
from byway.store.signins import SIGN_IN_ID

TARGET: Final = "claude"
LOGIN_METHOD: Final = ("forceLoginMethod",)
LOGIN_URL: Final = ("forceLoginGatewayUrl",)
SERVER: Final = ("mcpServers", MCP_SERVER)
#: Replaces the MCP token in a diff that is shown before the sign-in.
NEW_TOKEN: Final = "a-token-that-is-created-then"  # noqa: S105 - no token
#: Files with the settings that Byway has sent, which Claude Code deletes when it signs out.
_SENT_SETTINGS: Final = ("remote-settings.json", "remote-settings.json.synced-at")
#: Seconds until an unfinished sign-in is cancelled, and characters of one line of Claude Code.
_LIMIT: Final = 90.0
_LONGEST_LINE: Final = 1 << 16
_OLD_CLIENT: Final = "`claude auth login --gateway-json` is not supported. Update Claude Code to 2.1.329 or newer."


class SignInFailed(Exception):
    """Claude Code did not sign in. The message contains the next action."""


class SignInValues(NamedTuple):
    """What a signed-in Claude Code is given."""

    base_url: str
    token: str = ""
    """The MCP token. Empty: Byway sends the MCP server itself, which the client accepts over https only."""
    trust: str = ""
    """The file with the certificate authority that Claude Code has to trust; empty when it needs none."""
    id: str = ""
    """The id of the sign-in; empty before it exists."""


def prepare_sign_in(ledger: Ledger, folders: UserFolders, values: SignInValues) -> Prepared:
    """Plan the settings of a sign-in, and with a token the MCP server; without one it is removed. Raises ClientFileError."""
    content = ledger.read()
    settings = [Setting(LOGIN_METHOD, "gateway"), Setting(LOGIN_URL, values.base_url)]
    variables = no_proxy(values.base_url, folders.environ)
    if values.trust:
        variables |= extra_cas(values.trust, folders)
    settings += [Setting(("env", name), value) for name, value in variables.items()]
    changes = [_change(folders.claude / "settings.json", settings, values)]
    if values.token:
        entry = mcp_entry(f"{values.base_url}/mcp", values.token)
        changes.append(_change(folders.claude_state, [Setting(SERVER, entry)], values, private=True))
    made = [plans.plan_change(content, change) for change in changes]
    if not values.token and (receipt := server_receipt(content, folders)) is not None:
        made.append(plans.plan_undo(receipt))
    return prepared(made, Masker([values.token], [NEW_TOKEN]))


def _change(path: Path, settings: list[Setting], values: SignInValues, *, private: bool = False) -> FileChange:
    url_path = () if private else LOGIN_URL
    return FileChange(TARGET, path, "jsonc", tuple(settings), BYWAY, values.base_url, url_path, values.id, private)


def server_receipt(content: LedgerContent, folders: UserFolders) -> FileReceipt | None:
    """The receipt of the MCP server in Claude Code's file; None when Byway has not added it."""
    return content.receipt(TARGET, folders.claude_state)


def has_values(folders: UserFolders, values: SignInValues) -> bool:
    """Do the files contain what a sign-in needs? Claude Code may have rewritten them."""
    settings = read_object(folders.claude / "settings.json") or {}
    if settings.get(*LOGIN_METHOD) != "gateway" or settings.get(*LOGIN_URL) != values.base_url:
        return False
    servers = (read_object(folders.claude_state) or {}).get("mcpServers")
    entry = servers.get(MCP_SERVER) if isinstance(servers, dict) else None
    return not values.token or entry == mcp_entry(f"{values.base_url}/mcp", values.token)


def is_sign_in(id: str) -> bool:
    """Is this the id of a sign-in, and not of a key?"""
    return id.startswith(SIGN_IN_ID)


def connected_sign_in(content: LedgerContent, folders: UserFolders) -> FileReceipt | None:
    """The receipt of the settings of a sign-in; None when Claude Code is not connected by one."""
    receipt = content.receipt(TARGET, folders.claude / "settings.json")
    return receipt if receipt is not None and is_sign_in(receipt.key) else None


# --------------------------------------------------------------------------------------------------------------- signing in


def log_in(program: Path, folders: UserFolders, base_url: str, approve: Callable[[str], None]) -> None:
    """Let Claude Code sign in to `base_url`, which its settings already name. `approve` gets the code. Raises SignInFailed."""
    pipe = subprocess.PIPE
    command = [str(program), "auth", "login", "--gateway-json"]
    try:
        process = subprocess.Popen(
            command,
            env=dict(folders.environ),
            cwd=folders.project,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise SignInFailed(f"{program} cannot be started: {error.strerror}.") from None
    timer = threading.Timer(_LIMIT, process.kill)
    timer.start()
    try:
        with process:
            _answer(process, base_url, approve)
    finally:
        timer.cancel()
        process.kill()


def _answer(process: subprocess.Popen[str], base_url: str, approve: Callable[[str], None]) -> None:
    """Answer the questions of Claude Code."""
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 - both are pipes
    line: Mapping[str, Any] = {}
    while text := process.stdout.readline(_LONGEST_LINE):
        try:
            line = json.loads(text)
            state = str(line["state"])
        except (ValueError, KeyError, TypeError):
            # A program that does not know the option prints a sentence.
            continue
        if state == "done":
            return
        if state == "error":
            break
        if state == "polling":
            approve(str(line.get("userCode", "")))
        elif "shown" in line:
            shown = line["shown"]
            answer = {"state": state, "shown": shown, "accept": _is_expected(state, shown, base_url)}
            try:
                process.stdin.write(f"{json.dumps(answer)}\n")
                process.stdin.flush()
            except OSError:
                # It has ended. What it has printed before is read.
                continue
    if not line:
        raise SignInFailed(_OLD_CLIENT)
    reason = str(line.get("message") or line.get("error") or f"it ended in the state {line['state']}")
    raise SignInFailed(f"Claude Code did not sign in: {reason[:500].rstrip('.')}. Run `byway doctor`, then try again.")


def _is_expected(state: str, shown: Any, base_url: str) -> bool:
    """Is this what the user has confirmed: this address, and over http no certificate?"""
    if state == "url_input":
        return isinstance(shown, str) and same_url(shown, base_url)
    if state == "trust_prompt":
        return not base_url.startswith("http://") or shown == "http-loopback"
    return True


# -------------------------------------------------------------------------------------------------------------- signing out


def sign_out(folders: UserFolders, base_url: str) -> bool:
    """Remove the credentials of a gateway from Claude Code's files; its login at claude.ai stays.

    `claude auth logout` would remove both. False where the credentials are in no file (macOS). Raises ClientFileError.
    """
    if folders.system == "macos":
        return False
    if not same_url(claude_logins(folders).gateway, base_url):
        return True
    file = files.read(folders.claude / ".credentials.json")
    try:
        text = jsonc.remove(file.text, ("enterpriseGateway",))
    except JsoncError as error:
        raise ClientFileError(f"{file.path}, {error}. Sign out: claude auth logout") from None
    with files.locked(file):
        files.write(file, text.encode(), 0o600)
    for name in _SENT_SETTINGS:
        (folders.claude / name).unlink(missing_ok=True)
    return True
