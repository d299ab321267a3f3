"""Changes of a settings file key by key: sets values, and undoes each one that the user has not changed since. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct

from byway.clientfiles import jsonc, shell
from byway.clientfiles.jsonc import MISSING
from byway.clientfiles.shell import Shell

FileFormat = Literal["jsonc", "bash", "zsh", "fish", "powershell"]
#: Fingerprints that are kept of a key: of the value, and of those before it that Byway had written.
_FINGERPRINTS: Final = 3


class Setting(NamedTuple):
    """A value for a place in a file. In a shell profile the path is the name of the variable."""

    path: jsonc.Path
    value: Any
    credential: bool = False
    """It is sent to the endpoint, so it belongs to the base URL beside it."""
    when: Literal["always", "present", "missing", "foreign"] = "always"
    """Set it only where the file has a value that is not empty, only where it has none, or only where it has a value that
    belongs to the base URL beside it."""
    disables: str = ""
    """A line of a shell profile that becomes a comment instead."""


class KeyReceipt(Struct, frozen=True, omit_defaults=True):
    """What a change of one key needs in order to be undone."""

    path: tuple[Any, ...]
    """As in `Setting`; a member of a list is a list of two."""
    fingerprints: tuple[str, ...]
    """Of the values that Byway wrote there, the last one first."""
    before: str | None = None
    """The text of the value before; None when there was none."""
    created: int = 0
    interior: str | None = None
    """See `jsonc.Assigned`."""
    credential: bool = False
    url_before: str = ""
    """For a credential: the base URL that the file had beside it."""
    line: str = ""
    """The line of a shell profile: written in the block, or disabled."""
    disabled: bool = False
    added_newline: bool = False


class Changed(NamedTuple):
    """A text with its settings, and what undoes them."""

    text: str
    receipts: tuple[KeyReceipt, ...]


class Undone(NamedTuple):
    """A text without what Byway wrote."""

    text: str
    kept: tuple[str, ...] = ()
    """Keys that the user has changed since, and that stay."""
    withheld: tuple[KeyReceipt, ...] = ()
    """Credentials that are not restored, because the base URL beside them is another one now. Byway's value stays."""


def fingerprint(value: Any, salt: str) -> str:
    """A digest that recognizes a value without containing it."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(f"{salt}\0{text}".encode()).hexdigest()[:32]


def apply(text: str, settings: Sequence[Setting], form: FileFormat, salt: str, url_path: jsonc.Path = ()) -> Changed:
    """Set values. `url_path` is where the file names the base URL. Raises JsoncError.

    The text must not contain an earlier change of Byway: undo that first.
    """
    if form != "jsonc":
        return _apply_shell(text, settings, form, salt)
    url = _url(text, url_path)
    receipts = []
    for setting in settings:
        if not _applies(text, setting, url):
            continue
        done = jsonc.assign(text, setting.path, setting.value)
        text = done.text
        receipts.append(
            KeyReceipt(
                plain_path(setting.path),
                (fingerprint(setting.value, salt),),
                done.before,
                done.created,
                done.interior,
                setting.credential,
                url if setting.credential else "",
            )
        )
    return Changed(text, tuple(receipts))


def _applies(text: str, setting: Setting, url: str) -> bool:
    if setting.when == "always":
        return True
    if setting.when == "foreign" and not url:
        return False
    current = jsonc.value(text, setting.path)
    return (setting.when != "missing") == (current is not MISSING and current not in ("", None))


def _apply_shell(text: str, settings: Sequence[Setting], form: Shell, salt: str) -> Changed:
    receipts = []
    block: list[tuple[Setting, str]] = []
    for setting in settings:
        if setting.disables:
            after = shell.disable_line(text, setting.disables)
            if after != text:
                mark = fingerprint(shell.DISABLED + setting.disables, salt)
                receipts.append(KeyReceipt(setting.path, (mark,), line=setting.disables, disabled=True))
            text = after
        else:
            block.append((setting, shell.render(str(setting.path[0]), setting.value, form)))
    if block:
        done = shell.with_block(text, [line for _, line in block])
        text = done.text
        receipts += [
            KeyReceipt(
                setting.path,
                (fingerprint(line, salt),),
                credential=setting.credential,
                line="" if setting.credential else line,
                added_newline=done.added_newline,
            )
            for setting, line in block
        ]
    return Changed(text, tuple(receipts))


def undo(text: str, receipts: Sequence[KeyReceipt], form: FileFormat, salt: str, url_path: jsonc.Path = ()) -> Undone:
    """Undo changes: a value that the user has changed or removed since stays as it is. Raises JsoncError."""
    if form != "jsonc":
        return _undo_shell(text, receipts, form, salt)
    kept: list[str] = []
    ours: list[KeyReceipt] = []
    for receipt in reversed(receipts):
        current = jsonc.value(text, jsonc.steps(receipt.path))
        if current is not MISSING and fingerprint(current, salt) not in receipt.fingerprints:
            kept.append(key_name(receipt.path))
            continue
        ours.append(receipt)
    withheld = []
    # Credentials are restored last, when the base URL beside them is known.
    for receipt in ours:
        if not (receipt.credential and receipt.before is not None):
            text = _undo_key(text, receipt)
    url = _url(text, url_path)
    for receipt in ours:
        if receipt.credential and receipt.before is not None:
            if url == receipt.url_before or receipt.before == '""':
                text = _undo_key(text, receipt)
            else:
                withheld.append(receipt)
    return Undone(text, tuple(kept), tuple(reversed(withheld)))


def _undo_key(text: str, receipt: KeyReceipt) -> str:
    path = jsonc.steps(receipt.path)
    if receipt.before is None:
        return jsonc.remove(text, path, receipt.created, receipt.interior)
    return jsonc.replace(text, path, receipt.before)


def _undo_shell(text: str, receipts: Sequence[KeyReceipt], form: Shell, salt: str) -> Undone:
    known = {mark for receipt in receipts for mark in receipt.fingerprints}
    lines = shell.block_lines(text) or []
    ours = [line for line in lines if fingerprint(line, salt) in known]
    names = {entry.name for entry in shell.assignments("\n".join(line for line in lines if line not in ours), form)}
    kept = tuple(key_name(receipt.path) for receipt in receipts if not receipt.disabled and receipt.path[0] in names)
    text = shell.without_block(text, ours, added_newline=any(receipt.added_newline for receipt in receipts))
    for receipt in reversed(receipts):
        if receipt.disabled:
            text = shell.enable_line(text, receipt.line)
    return Undone(text, kept)


def merge(new: Sequence[KeyReceipt], old: Sequence[KeyReceipt]) -> tuple[KeyReceipt, ...]:
    """Receipts that undo a file in both states: before and after the change that replaces `old` by `new`.

    They are on the disk while the file is written, because the process may be killed in between.
    """
    earlier = {key_name(receipt.path): receipt for receipt in old}
    merged = []
    for receipt in new:
        previous = earlier.pop(key_name(receipt.path), None)
        if previous is not None:
            marks = dict.fromkeys((*receipt.fingerprints, *previous.fingerprints))
            receipt = msgspec.structs.replace(receipt, fingerprints=tuple(marks)[:_FINGERPRINTS])
        merged.append(receipt)
    return (*earlier.values(), *merged)


def with_withheld(receipts: Sequence[KeyReceipt], withheld: Sequence[KeyReceipt]) -> tuple[KeyReceipt, ...]:
    """Receipts of a change that replaces an earlier one, whose withheld credentials they still have to restore."""
    earlier = {key_name(receipt.path): receipt for receipt in withheld}
    kept = []
    for receipt in receipts:
        previous = earlier.pop(key_name(receipt.path), None)
        if previous is not None:
            receipt = msgspec.structs.replace(previous, fingerprints=receipt.fingerprints)
        kept.append(receipt)
    return (*earlier.values(), *kept)


def plain_path(path: jsonc.Path) -> tuple[Any, ...]:
    """A path as a receipt contains it; `jsonc.steps` is the inverse."""
    return tuple(list(step) if isinstance(step, jsonc.Member) else step for step in path)


def key_name(path: Sequence[Any]) -> str:
    """The path of a key as text: `env.ANTHROPIC_BASE_URL`."""
    return ".".join(str(step) if isinstance(step, str) else str(step[1]) for step in path)


def _url(text: str, path: jsonc.Path) -> str:
    """The base URL that a file names; empty when it names none."""
    current = jsonc.value(text, path) if path else MISSING
    if isinstance(current, dict):
        current = current.get("value")
    return current if isinstance(current, str) else ""
