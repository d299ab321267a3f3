"""What a batch, one of its requests and its result are. Pure.

Limits and states are those of the Message Batches API (https://platform.claude.com/docs/en/build-with-claude/batch-processing,
seen 2026-11-30) and of OpenAI's batches (https://platform.openai.com/docs/guides/batch, seen 2026-11-30).
"""

from __future__ import annotations

import re
from typing import Final, Literal

from msgspec import Struct

from byway.codes import base64url

#: The API of a batch: Anthropic's Message Batches, or OpenAI's batches.
BatchApi = Literal["messages", "openai"]
#: `receiving`: the body is being read. `ready`: requests are answered, or wait. `deleted`: its rows are removed in steps.
BatchState = Literal["receiving", "ready", "ended", "deleted"]
#: What became of a request. A request without a result of its own is `canceled` or `expired`.
OutcomeKind = Literal["succeeded", "errored"]
Rest = Literal["", "canceled", "expired"]

#: The database in the data folder.
BATCHES_FILE: Final = "batches.db"
#: Seconds until the requests of a batch that have no result expire.
WINDOW: Final = 86_400.0
#: Requests of a batch, and bytes of the body that creates it.
MOST_REQUESTS: Final = 100_000
BODY_LIMIT: Final = 256 << 20
#: Bytes of one request in a batch: the limit of a request outside of one.
REQUEST_LIMIT: Final = 32 << 20
#: Batches in progress, of all owners.
MOST_IN_PROGRESS: Final = 1_000
#: Batches in progress of one owner, so that others can create some too.
MOST_OF_OWNER: Final = 250
#: Batches whose bodies are received at once, of all owners and of one: each holds up to REQUEST_LIMIT in memory.
MOST_RECEIVED: Final = 16
MOST_RECEIVED_OF_OWNER: Final = 4
#: Batches that have ended of one owner. Older ones are removed with their results.
MOST_BATCHES: Final = 10_000
CUSTOM_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class StoredBatch(Struct, frozen=True):
    """A batch as it is stored. Times are seconds since the epoch; 0 for what has not happened."""

    number: int
    """Grows with each batch: the order of creation."""
    id: str
    api: BatchApi
    owner: str
    """Who may see it: `account:ID`, `key:ID`, or "" for clients without a key."""
    key: str
    """The id of the key that its requests are made with; "" for none."""
    from_socket: bool
    """The owner of Byway created it over the socket in the data folder."""
    endpoint: str
    """The path of its requests."""
    headers: str
    """Headers of its requests, as a JSON object."""
    state: BatchState
    created: float
    expires: float
    canceled: float
    """When its cancellation was requested."""
    ended: float
    archived: float
    """When its results were removed because of their age."""
    total: int
    succeeded: int
    errored: int
    rest: Rest
    """What became of the requests without a result of their own, once it has ended."""
    size: int
    """Bytes of its requests and results."""
    detail: str
    """A JSON object with what only its API knows."""

    @property
    def left(self) -> int:
        """Requests without a result of their own."""
        return self.total - self.succeeded - self.errored

    @property
    def status(self) -> Literal["in_progress", "canceling", "ended"]:
        """The `processing_status` of the Message Batches API."""
        if self.state == "ended":
            return "ended"
        return "canceling" if self.canceled else "in_progress"


class NewRequest(Struct, frozen=True):
    """A request of a batch that is being created."""

    custom_id: str
    body: bytes


class BatchRequest(Struct, frozen=True):
    """A request that waits for its answer."""

    id: int
    """Its row: unique among all batches, and growing within one."""
    custom_id: str
    body: bytes


class BatchOutcome(Struct, frozen=True):
    """The answer to a request."""

    status: int
    """The HTTP status that a client would have received."""
    body: bytes
    request_id: str
    retry_after: float | None = None
    again: bool = False
    """It may succeed later: another attempt is worth it."""

    @property
    def kind(self) -> OutcomeKind:
        """Whether the request has succeeded."""
        return "succeeded" if self.status == 200 else "errored"


class BatchResult(Struct, frozen=True):
    """The result of a request, as it is stored. `kind` is "" for a request without one."""

    id: int
    custom_id: str
    kind: OutcomeKind | Literal[""]
    status: int
    request_id: str
    body: bytes


def new_id(prefix: str, random: bytes) -> str:
    """An id of a batch: `msgbatch_...` or `batch_...`. `random` are at least 16 bytes."""
    return prefix + re.sub(r"[-_]", "0", base64url(random))
