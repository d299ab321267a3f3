"""`GET /byway/openapi.json`: the OpenAPI 3.1 document of the admin API, generated from its routes and types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import msgspec
from msgspec import Struct

from byway import __version__
from byway.routes import (
    accounts,
    aliases,
    backends,
    batches,
    catalogue,
    config,
    doctor,
    downloads,
    keys,
    limits,
    localmodels,
    log,
    logins,
    overview,
    readiness,
    recording,
    repairs,
    requests,
    secrets,
    signins,
    statistics,
    status,
    storedfiles,
    usage,
)
from byway.routes.context import RequestContext, Route
from byway.routes.operation import Operation, operation

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
_REFERENCE: Final = "#/components/schemas/{name}"


class AdminErrorDetail(Struct, frozen=True, omit_defaults=True):
    """What failed."""

    type: str
    message: str
    field: str = ""
    """The invalid field of the request."""
    etag: str = ""
    """With 412: the etag of the config file now."""
    conflicts: tuple[dict[str, str], ...] = ()
    """With 412: the settings that others changed: `path`, `theirs`, `mine`."""


class AdminError(Struct, frozen=True):
    """The body of every error."""

    type: str
    error: AdminErrorDetail
    request_id: str


async def show(context: RequestContext) -> dict[str, Any]:
    """Return this document."""
    return document()


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of all admin routes."""
    operations = [(route, route.operation) for route in ROUTES if route.operation is not None]
    types = [kind for _, about in operations for kind in (about.request, about.response) if kind is not None]
    schemas, components = msgspec.json.schema_components([*types, AdminError], ref_template=_REFERENCE)
    by_type = dict(zip([*types, AdminError], schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route, about in operations:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, about, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Byway admin API",
            "version": __version__,
            "description": "Settings, accounts, keys, secrets, backends and local models of a Byway gateway. Every operation "
            "requires a key with the scope `admin`, a login of the settings page, or the owner's socket.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"key": []}, {"bearer": []}],
    }


def _operation(route: Route, about: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _identifier(route),
        "summary": about.summary.partition(". ")[0].rstrip("."),
        "description": about.summary,
        "tags": [route.path.split("/")[2].partition(".")[0]],
        "responses": {
            str(about.status): {
                "description": "Done.",
                "content": {kind: {"schema": schemas[about.response]} for kind in about.content},
            },
            "default": {
                "description": "The request failed.",
                "content": {"application/json": {"schema": schemas[AdminError]}},
            },
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PLACEHOLDER.findall(route.path)
    ]
    for parameter in about.parameters:
        kind = {"type": "integer", "minimum": 0} if parameter.type is int else {"type": "string"}
        parameters.append({"name": parameter.name, "in": "query", "description": parameter.description, "schema": kind})
    if about.if_match:
        parameters.append(
            {
                "name": "If-Match",
                "in": "header",
                "description": "The etag of the config that the change is made for.",
                "schema": {"type": "string"},
            }
        )
    if parameters:
        described["parameters"] = parameters
    if about.request is not None:
        content: dict[str, Any] = {}
        if about.text:
            content["text/yaml"] = {"schema": {"type": "string"}}
        if about.request is not str:
            content["application/json"] = {"schema": schemas[about.request]}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _identifier(route: Route) -> str:
    """A unique name of an operation: `get_keys`, `post_keys_id_rotate`."""
    words = re.findall(r"\w+", route.path.removeprefix("/byway/"))
    return "_".join([route.method.lower(), *words])


def _routes() -> Iterable[Route]:
    for module in (
        config,
        accounts,
        keys,
        limits,
        secrets,
        aliases,
        backends,
        localmodels,
        downloads,
        readiness,
        catalogue,
        repairs,
        log,
        logins,
        signins,
        batches,
        status,
        requests,
        recording,
        statistics,
        usage,
        overview,
        storedfiles,
        doctor,
    ):
        yield from module.ROUTES
    yield operation("GET", "/byway/openapi.json", show, response=dict[str, Any])


#: Every route of the admin API.
ROUTES: Final[tuple[Route, ...]] = tuple(_routes())
