"""Settings of the reference router that Byway accepts and does not implement yet."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import MaskedStruct, Note


class AdminAuthSettings(MaskedStruct, frozen=True, kw_only=True):
    """Authentication of administrators."""

    method: Annotated[Literal["none", "bearer_token", "basic", "api_key"], Note("How administrators log in.")] = "none"
    token: Annotated[str | None, Note("For `bearer_token`.", format="secret", variables=True)] = None
    username: Annotated[str | None, Note("For `basic`.")] = None
    password: Annotated[str | None, Note("For `basic`.", format="secret", variables=True)] = None
    api_key: Annotated[str | None, Note("For `api_key`.", format="secret", variables=True)] = None


class AdminSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The administration API of the reference router."""

    auth: Annotated[AdminAuthSettings, Note("Authentication of administrators.")] = AdminAuthSettings()
