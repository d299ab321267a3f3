"""The section `sign_in`: settings for clients that are signed in. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note


class PushedSettings(MaskedStruct, frozen=True, kw_only=True):
    """Settings of Claude Code for an account, a group, or everyone."""

    subject: Annotated[Literal["everyone", "account", "group"], Note("Which clients get them.")] = msgspec.field(
        default="everyone", name="for"
    )
    name: Annotated[str, Note("The account or the group. Required for these.")] = ""
    env: Annotated[dict[str, str], Note("Variables of Claude Code: `{CLAUDE_CODE_MAX_RETRIES: 3}`.")] = {}  # noqa: RUF012
    json: Annotated[
        str,
        Note(
            "Other settings as JSON, in the form of Claude Code's `managed-settings.json`: "
            '`{"permissions": {"deny": ["WebFetch"]}}`.'
        ),
    ] = ""


class SignInSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Clients that are signed in with `/login`."""

    settings: Annotated[
        tuple[PushedSettings, ...],
        Note(
            "Settings that Byway sends besides its own. A later entry replaces the values of an earlier one. See *Sign-in*."
        ),
    ] = ()
