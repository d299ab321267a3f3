"""Plans of changes to settings files: made without writing anything, shown as a diff, then carried out.

The ledger is written before the file, so a process that is killed in between leaves nothing that cannot be undone.
"""

from __future__ import annotations

import contextlib
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from byway.clientfiles import changes, files, jsonc
from byway.clientfiles.changes import FileFormat, Setting, key_name
from byway.clientfiles.files import ClientFile, ClientFileError
from byway.clientfiles.jsonc import JsoncError
from byway.clientfiles.ledger import ChangeEntry, FileReceipt, Ledger, LedgerContent, now
from byway.clientfiles.masking import Masker, unified_diff

#: Tries for a file that another program may be writing just now, and seconds between them.
_TRIES: Final = 4
_PAUSE: Final = 0.05
#: Starts the target of a fix. Fixes are on top of what `byway connect` wrote, and another connect replaces them.
FIX: Final = "fix:"
#: Permission bits of other users.
_OTHERS: Final = 0o077


class FileChange(NamedTuple):
    """The wanted content of a target's file."""

    target: str
    path: Path
    form: FileFormat
    settings: tuple[Setting, ...]
    endpoint: str = ""
    base_url: str = ""
    url_path: jsonc.Path = ()
    key: str = ""
    """The id of Byway's key in it, if one was created."""
    private: bool = False
    """The file will contain a secret, so only its owner may read it."""


class FilePlan(NamedTuple):
    """A change of one file that has not been made yet."""

    action: str
    file: ClientFile
    after: bytes | None
    """None: the file is deleted."""
    form: FileFormat
    receipt: FileReceipt | None
    """What undoes the change; None when there is nothing to undo."""
    previous: FileReceipt | None
    mode: int | None = None
    """The permissions after the change; None: as they are."""
    kept: tuple[str, ...] = ()
    """Keys that the user has changed since, and that stay."""
    withheld: tuple[str, ...] = ()
    """Credentials that are not restored, because the file names another base URL now."""
    superseded: tuple[FileReceipt, ...] = ()
    """Changes by other targets of the same keys, which this one replaces."""

    @property
    def changes(self) -> bool:
        """Does the file's content or do its permissions change?"""
        if self.after is None:
            return self.file.exists
        return self.after != self.file.data or not self.file.exists or self.mode is not None


def plan_change(content: LedgerContent, change: FileChange) -> FilePlan:
    """Plan to set values. An earlier change of the same target is replaced: undoing this one undoes both.

    Raises ClientFileError when the file cannot be read or changed.
    """
    previous = content.receipt(change.target, change.path)
    file = _read_settled(change.path, change.form)
    files.check_writable(file)
    text = file.text
    salt = previous.salt if previous else secrets.token_hex(16)
    withheld: tuple[changes.KeyReceipt, ...] = ()
    wanted = {key_name(setting.path) for setting in change.settings}
    superseded = tuple(
        other
        for other in (() if change.target.startswith(FIX) else content.files)
        if other.file == str(change.path)
        and other.target != change.target
        and any(key_name(key.path) in wanted for key in other.keys)
    )
    with _explained(change.path):
        for other in undo_order(superseded):
            text = changes.undo(text, other.keys, other.form, other.salt, jsonc.steps(other.url_path)).text
        if previous is not None:
            undone = changes.undo(text, previous.keys, previous.form, salt, jsonc.steps(previous.url_path))
            text, withheld = undone.text, undone.withheld
        done = changes.apply(text, change.settings, change.form, salt, change.url_path)
    mode = previous.mode if previous else -1
    new_mode = None
    if change.private and file.stat is not None and file.stat.st_mode & _OTHERS:
        mode = stat.S_IMODE(file.stat.st_mode) if mode < 0 else mode
        new_mode = 0o600
    receipt = FileReceipt(
        change.target,
        str(change.path),
        change.form,
        change.endpoint,
        change.base_url,
        now(),
        changes.with_withheld(done.receipts, withheld),
        salt,
        changes.plain_path(change.url_path),
        previous.created if previous else not file.exists,
        previous.folders if previous else tuple(map(str, files.missing_folders(file.real))),
        change.key,
        mode,
    )
    if previous is not None and _undoes_same(receipt, previous):
        receipt = previous
    return FilePlan(
        "connect", file, done.text.encode(), change.form, receipt, previous, new_mode, superseded=superseded
    )


def plan_undo(receipt: FileReceipt, file: ClientFile | None = None) -> FilePlan:
    """Plan to undo a change. Raises ClientFileError when the file cannot be read or changed.

    `file`: its content after an earlier plan, when several are made for one file.
    """
    file = file or _read_settled(Path(receipt.file), receipt.form)
    if not file.exists:
        return FilePlan("disconnect", file, None, receipt.form, None, receipt)
    files.check_writable(file)
    with _explained(file.path):
        undone = changes.undo(file.text, receipt.keys, receipt.form, receipt.salt, jsonc.steps(receipt.url_path))
    after: bytes | None = undone.text.encode()
    if receipt.created and undone.text.strip() in ("", "{}") and not undone.withheld:
        after = None
    remaining = msgspec.structs.replace(receipt, keys=undone.withheld) if undone.withheld else None
    is_private = file.stat is not None and not file.stat.st_mode & _OTHERS
    mode = receipt.mode if receipt.mode >= 0 and is_private and not undone.withheld else None
    return FilePlan(
        "disconnect",
        file,
        after,
        receipt.form,
        remaining,
        receipt,
        mode,
        undone.kept,
        tuple(key_name(key.path) for key in undone.withheld),
    )


def diff(plan: FilePlan, masker: Masker) -> str:
    """The unified diff of a plan, with its secrets masked; empty when nothing changes."""
    before = _masked(plan.file.text, plan.form, masker)
    after = _masked((plan.after or b"").decode(), plan.form, masker)
    if before == after and plan.file.data == (plan.after or b""):
        return ""
    return unified_diff(
        before,
        after,
        str(plan.file.path),
        created=not plan.file.exists,
        deleted=plan.after is None and plan.file.exists,
    )


def carry_out(ledger: Ledger, plans: Sequence[FilePlan], action: str = "") -> None:
    """Make the changes. Each file is written atomically; the first failure ends it. Blocks. Raises ClientFileError."""
    for plan in plans:
        with ledger.change() as (content, save):
            _carry_out(content, save, plan, action or plan.action)


def _carry_out(content: LedgerContent, save: Callable[[LedgerContent], None], plan: FilePlan, action: str) -> None:
    receipt = plan.receipt
    reference = receipt or plan.previous
    if reference is None or (not plan.changes and receipt == plan.previous):
        return
    previous = content.receipt(reference.target, Path(reference.file))
    if previous != plan.previous:
        raise ClientFileError(f"{reference.file} was changed by another Byway in the meantime. Run the command again.")
    if plan.changes and plan.after is not None:
        files.create_folders(files.missing_folders(plan.file.real))
    with files.locked(plan.file) if plan.changes and plan.file.real.parent.is_dir() else contextlib.nullcontext():
        if receipt is not None and receipt != previous:
            keys = changes.merge(receipt.keys, previous.keys if previous else ())
            save(content.with_receipt(msgspec.structs.replace(receipt, keys=keys)))
        if plan.changes:
            if plan.after is None:
                files.delete(plan.file)
            else:
                files.write(plan.file, plan.after, plan.mode)
    if plan.after is None and plan.previous is not None:
        files.remove_folders(list(plan.previous.folders))
    for other in plan.superseded:
        content = content.without(other)
    content = content.with_receipt(receipt) if receipt is not None else content.without(reference)
    names = tuple(key_name(key.path) for key in reference.keys)
    entry = ChangeEntry(now(), action, reference.target, reference.file, reference.endpoint, names)
    save(content.with_entry(entry))


def plan_undo_all(receipts: Sequence[FileReceipt]) -> list[FilePlan]:
    """Plan to undo several changes, the newest first. Raises ClientFileError."""
    made: list[FilePlan] = []
    latest: dict[Path, ClientFile] = {}
    for receipt in undo_order(receipts):
        plan = plan_undo(receipt, latest.get(Path(receipt.file)))
        status = plan.file.stat if plan.after is not None else None
        latest[plan.file.path] = plan.file._replace(data=plan.after or b"", stat=status)
        made.append(plan)
    return made


def undo_order(receipts: Iterable[FileReceipt]) -> list[FileReceipt]:
    """Receipts in the order in which they are undone: the newest first."""
    return list(reversed(list(receipts)))


def _masked(text: str, form: FileFormat, masker: Masker) -> str:
    return masker.jsonc(text) if form == "jsonc" else masker.shell(text, form)


def _read_settled(path: Path, form: FileFormat) -> ClientFile:
    """Read a file. A JSON file that is empty or cut is read again: another program may be writing it."""
    for attempt in range(_TRIES):
        file = files.read(path)
        if form != "jsonc" or not file.exists:
            return file
        try:
            if jsonc.parse(file.text) is not None:
                return file
        except JsoncError:
            pass
        if attempt < _TRIES - 1:
            time.sleep(_PAUSE)
    return file


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Name the file in an error of its content."""
    try:
        yield
    except JsoncError as error:
        raise ClientFileError(
            f"{path}, {error}. Byway does not change a file that it cannot read. Correct it first."
        ) from None


def _undoes_same(new: FileReceipt, old: FileReceipt) -> bool:
    """Do two receipts differ in their times only?"""
    return msgspec.structs.replace(new, at=old.at) == old
