"""The settings of stored responses. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec

from byway.config.notes import Note


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Answers of the Responses API that clients continue by `previous_response_id`."""

    store: Annotated[
        bool,
        Note("`false`: no prompt or answer is kept, and `previous_response_id` is refused. Stored ones are removed."),
    ] = True
    keep_days: Annotated[int, Note("Days for which a response is kept.", minimum=1, maximum=3_650)] = 30
    quota: Annotated[
        int,
        Note(
            "Responses on the disk, of an account or of a key without account. The oldest ones are removed first.",
            format="size",
            minimum=1,
            maximum=1 << 60,
        ),
    ] = 256 << 20
