"""Every route of Byway, in the order in which they match. Importing it loads the code of all pages and APIs."""

from __future__ import annotations

from typing import Final

from byway.routes import (
    chat,
    files,
    health,
    managed,
    mcp,
    messagebatches,
    messages,
    metrics,
    models,
    oauth,
    ollama,
    openaibatches,
    openapi,
    passthrough,
    responses,
    storedresponses,
    telemetry,
    tokens,
)
from byway.routes.context import Route
from byway.ui import (
    account,
    api,
    claude,
    clients,
    device,
    inspector,
    log,
    login,
    news,
    overview,
    page,
    palette,
    playground,
    remote,
    secrets,
    troubleshooting,
    undo,
)
from byway.ui import config as config_pages
from byway.ui import models as model_pages
from byway.ui import requests as request_pages
from byway.ui import usage as usage_pages

ROUTES: Final[tuple[Route, ...]] = (
    *messages.ROUTES,
    *messagebatches.ROUTES,
    *openaibatches.ROUTES,
    *chat.ROUTES,
    *responses.ROUTES,
    *passthrough.ROUTES,
    *storedresponses.ROUTES,
    *ollama.ROUTES,
    *tokens.ROUTES,
    *files.ROUTES,
    *models.ROUTES,
    *health.ROUTES,
    *oauth.ROUTES,
    *managed.ROUTES,
    *telemetry.ROUTES,
    *mcp.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
    *page.ROUTES,
    *undo.ROUTES,
    *palette.ROUTES,
    *login.ROUTES,
    *account.ROUTES,
    *device.ROUTES,
    *overview.ROUTES,
    *claude.ROUTES,
    *model_pages.ROUTES,
    *playground.ROUTES,
    *api.ROUTES,
    *secrets.ROUTES,
    *config_pages.ROUTES,
    *log.ROUTES,
    *news.ROUTES,
    *remote.ROUTES,
    *request_pages.ROUTES,
    *inspector.ROUTES,
    *usage_pages.ROUTES,
    *clients.ROUTES,
    *troubleshooting.ROUTES,
)
