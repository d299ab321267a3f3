"""What the running Byway knows for the doctor: its address, live checks, sessions that arrive, and which models it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from byway import __version__
from byway.admin.exports import MAIN_MODEL
from byway.admin.managedsettings import too_small_models
from byway.admin.signins import sign_in_of
from byway.clients.checks import LiveCheck, checks
from byway.clients.sessions import ArrivedSession, arrived_sessions
from byway.gateway import Gateway
from byway.problems import Problem
from byway.runtime import Runtime

#: Model names that are resolved at most, and models that are listed.
NAMES_LIMIT: Final = 50
_MODELS_LIMIT: Final = 200


class CertificateFacts(Struct, frozen=True):
    """The certificate with which Byway serves https."""

    names: tuple[str, ...]
    addresses: tuple[str, ...]
    fingerprint: str
    """SHA-256, in hexadecimal digits."""
    trust: str
    """The file that clients have to trust; empty for a certificate of your own."""


class GatewayFacts(Struct, frozen=True):
    """What the doctor needs of the running Byway."""

    version: str
    url: str | None
    """The base URL for clients; null without a TCP address."""
    keys_required: bool
    checks: tuple[LiveCheck, ...]
    sessions: tuple[ArrivedSession, ...]
    models: dict[str, str]
    """The `backend/model` of each requested name; empty where no backend serves it."""
    served: tuple[str, ...]
    """Models that backends serve now, as `backend/model`."""
    client_credential: bool = False
    """A backend gets the client's own credential."""
    sign_ins: tuple[str, ...] = ()
    """The ids of the sign-ins that are valid."""
    web_search: bool = False
    """Web search is configured."""
    certificate: CertificateFacts | None = None
    """Null while Byway serves http."""
    small_models: dict[str, int] = {}
    """Models whose window cannot hold a session of Claude Code, as `backend/model`, with the window in tokens."""
    sign_in: str = ""
    """The id of the valid sign-in with the access token that was asked about; empty when there is none."""
    main_model: str = ""
    """The `backend/model` of Claude Code's main model; empty where no backend serves it."""


async def gateway_facts(
    gateway: Gateway, names: Sequence[str] = (), *, sign_in: str = "", run_checks: bool = True
) -> GatewayFacts:
    """Collect the facts. The checks send a test request.

    `names` are model names that clients on this machine request, `sign_in` is the SHA-256 of Claude Code's access token.
    """
    runtime = gateway.runtime
    base = gateway.services.base
    results = await checks(gateway) if run_checks else []
    served = tuple(
        f"{backend.name}/{model}"
        for backend in runtime.backends.values()
        if backend.state in ("ready", "asleep")
        for model in backend.models or ()
    )
    sessions = await asyncio.to_thread(arrived_sessions, gateway.requests)
    store = gateway.services.store
    sign_ins = await asyncio.to_thread(store.sign_ins)
    return GatewayFacts(
        __version__,
        f"{base}/anthropic" if base else None,
        runtime.keyring.blocking,
        tuple(results),
        tuple(sessions),
        {name: _target(runtime, name) for name in list(dict.fromkeys(names))[:NAMES_LIMIT]},
        served[:_MODELS_LIMIT],
        runtime.forwards_credentials,
        tuple(sign_in.id for sign_in in sign_ins),
        runtime.searcher.ready,
        _certificate(gateway),
        {f"{model.target.backend}/{model.target.model}": model.window or 0 for model in too_small_models(runtime)},
        await asyncio.to_thread(sign_in_of, store, sign_in) if sign_in else "",
        _target(runtime, MAIN_MODEL),
    )


def _certificate(gateway: Gateway) -> CertificateFacts | None:
    if gateway.certificate is None:
        return None
    info = gateway.certificate.info
    return CertificateFacts(info.names, info.addresses, info.fingerprint, gateway.services.trust)


def _target(runtime: Runtime, name: str) -> str:
    try:
        target = runtime.resolve(name.removesuffix("[1m]")).targets[0]
    except Problem:
        return ""
    return f"{target.backend}/{target.model}"
