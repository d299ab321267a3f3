"""Settings of the Agent Client Protocol: the section `acp` of the reference router, for `byway acp`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from byway.config.notes import Note


class StdioSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Transport over standard input and output."""

    enabled: Annotated[bool, Note("`byway acp` may be used.")] = True


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Transports for editors."""

    stdio: Annotated[StdioSettings, Note("Standard input and output.")] = StdioSettings()


class CapabilitySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Capabilities that editors see."""

    load_session: Annotated[bool, Note("Sessions can be resumed.")] = True
    mcp: Annotated[bool, Note("MCP servers can be used.")] = True


class PermissionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Actions that need no confirmation."""

    default_policy: Annotated[
        Literal["ask_always", "allow_always", "reject_always"], Note("For all other kinds of tool calls.")
    ] = "ask_always"
    auto_allow: Annotated[tuple[str, ...], Note("Kinds of tool calls without confirmation: `read`, `search`, ...")] = ()
    always_ask: Annotated[tuple[str, ...], Note("Kinds that always need confirmation: `edit`, `delete`, ...")] = ()


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Active sessions."""

    max_concurrent: Annotated[int, Note("Number of sessions at once.", minimum=1)] = 10
    idle_timeout: Annotated[float, Note("Idle time after which a session ends.", format="duration")] = 3600.0
    storage: Annotated[str, Note("Accepted. Claude Code keeps its conversations itself.")] = "memory"


class AcpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The Agent Client Protocol, for editors."""

    enabled: Annotated[bool, Note("Accepted. `byway acp` needs no switch.")] = False
    transport: Annotated[TransportSettings, Note("Transports for editors.")] = TransportSettings()
    capabilities: Annotated[CapabilitySettings, Note("Capabilities that editors see.")] = CapabilitySettings()
    default_model: Annotated[str | None, Note("Model for editors that name none.")] = None
    permissions: Annotated[PermissionSettings, Note("Actions that need no confirmation.")] = PermissionSettings()
    sessions: Annotated[SessionSettings, Note("Active sessions.")] = SessionSettings()
