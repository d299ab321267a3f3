"""`/byway/secrets`: API keys of vendors and search providers that Byway stores. Values go in and never come out."""

from __future__ import annotations

from msgspec import Struct

from byway.admin import secrets
from byway.admin.secrets import SecretChange, SecretList
from byway.routes.admin import apply, run, who
from byway.routes.context import RequestContext
from byway.routes.operation import operation


class SecretValue(Struct, forbid_unknown_fields=True):
    """The value of a secret."""

    value: str
    accept_file: bool = False
    """Store it in a file that only the owner can read when this system has no keychain."""

    def __repr__(self) -> str:
        return "SecretValue()"


async def show(context: RequestContext) -> SecretList:
    """List the secrets that Byway can store, and where each is stored."""
    return await run(lambda: secrets.list_secrets(context.gateway.services.vault))


async def store(context: RequestContext, body: SecretValue) -> SecretChange:
    """Store a secret. Backends and search providers use it at once."""
    services, author = context.gateway.services, who(context)
    vault, name = services.patient(), context.tail
    return await apply(
        context,
        lambda: secrets.set_secret(vault, services.store, name, body.value, author, accept_file=body.accept_file),
    )


async def clear(context: RequestContext) -> SecretChange:
    """Delete a secret."""
    services, author = context.gateway.services, who(context)
    vault, name = services.patient(), context.tail
    return await apply(context, lambda: secrets.clear_secret(vault, services.store, name, author))


ROUTES = (
    operation("GET", "/byway/secrets", show, response=SecretList),
    operation("PUT", "/byway/secrets/{name}", store, request=SecretValue, response=SecretChange),
    operation("DELETE", "/byway/secrets/{name}", clear, response=SecretChange),
)
