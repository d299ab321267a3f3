"""The settings of batches."""

from __future__ import annotations

from typing import Annotated

import msgspec

from byway.config.notes import Note


class BatchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Many requests that clients send at once, and whose results they read later."""

    enabled: Annotated[bool, Note("`false`: batches are refused, and those in progress wait.")] = True
    concurrency: Annotated[
        int, Note("Requests of all batches that are answered at the same time.", minimum=1, maximum=256)
    ] = 4
    keep_results: Annotated[
        int, Note("Days after the creation of a batch for which its results are kept.", minimum=1, maximum=3_650)
    ] = 29
    quota: Annotated[
        int,
        Note(
            "Requests and results on the disk, of an account or of a key without account.",
            format="size",
            minimum=1,
            maximum=1 << 60,
        ),
    ] = 4 << 30
