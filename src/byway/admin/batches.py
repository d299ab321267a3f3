"""Batches for people: list, cancel and delete them."""

from __future__ import annotations

import datetime
import time
from collections.abc import Sequence

from msgspec import Struct

from byway.batches.batch import StoredBatch
from byway.batches.store import BatchStore
from byway.store.records import moment

#: Batches that are listed.
MOST_LISTED = 1_000


class BatchInfo(Struct, frozen=True):
    """A batch and its progress."""

    id: str
    api: str
    """`messages` or `openai`."""
    owner: str
    """`account:ID`, `key:ID`, or empty for clients without a key."""
    status: str
    """`in_progress`, `canceling` or `ended`."""
    created_at: datetime.datetime
    expires_at: datetime.datetime
    ended_at: datetime.datetime | None
    requests: int
    succeeded: int
    errored: int
    left: int
    """Requests without a result: they wait, or were canceled or have expired."""
    size: int
    """Bytes of requests and results on the disk."""


def list_batches(store: BatchStore, account: str | None) -> Sequence[BatchInfo]:
    """The batches of an account, or of everyone (None), the newest first."""
    batches, _ = store.page(_owner(account), None, MOST_LISTED)
    return [batch_info(batch) for batch in batches]


def cancel_batch(store: BatchStore, id: str, account: str | None) -> BatchInfo:
    """Cancel a batch. Raises LookupError, and ValueError when it has ended."""
    return batch_info(store.cancel(id, _owner(account), None, time.time()))


def delete_batch(store: BatchStore, id: str, account: str | None) -> BatchInfo:
    """Delete a batch that has ended. Raises LookupError, and ValueError while it is in progress."""
    return batch_info(store.delete(id, _owner(account)))


def batch_info(batch: StoredBatch) -> BatchInfo:
    """What is shown of a batch."""
    return BatchInfo(
        batch.id,
        batch.api,
        batch.owner,
        batch.status,
        moment(batch.created),
        moment(batch.expires),
        moment(batch.ended) if batch.ended else None,
        batch.total,
        batch.succeeded,
        batch.errored,
        batch.left,
        batch.size,
    )


def _owner(account: str | None) -> str | None:
    return None if account is None else f"account:{account}"
