"""The repairs of calls that Byway has learned from refusals: listing and forgetting them."""

from __future__ import annotations

import datetime
import time

from msgspec import Struct

from byway.backends.repairs import describe
from byway.learned import LIFETIME, LearnedRepair, LearnedRepairs


class RepairInfo(Struct, frozen=True):
    """A change that Byway makes to every call to a model, because its backend has refused the call without it."""

    backend: str
    model: str
    repair: str
    description: str
    refusal: str
    """The words of the refusal."""
    learned_at: datetime.datetime
    expires_at: datetime.datetime


def list_repairs(learned: LearnedRepairs) -> list[RepairInfo]:
    """All repairs that have not expired."""
    now = time.time()
    return [_shown(record) for record in learned.records() if now - record.learned_at < LIFETIME]


def forget_repairs(learned: LearnedRepairs, backend: str, model: str = "") -> int:
    """Forget the repairs of a backend, or of one model of it. Returns how many there were."""
    return learned.forget(backend, model or None)


def _shown(record: LearnedRepair) -> RepairInfo:
    at = datetime.datetime.fromtimestamp(record.learned_at, datetime.UTC)
    expires = at + datetime.timedelta(seconds=LIFETIME)
    return RepairInfo(record.backend, record.model, record.repair, describe(record.repair), record.refusal, at, expires)
