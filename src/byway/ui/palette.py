"""What the search of the page finds (Ctrl-K): pages, cards, models, aliases and actions. The browser filters the list.

Without JavaScript it is a page of its own.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlencode

from byway.admin.aliases import SLOTS
from byway.roles import changes_all
from byway.routes.authorize import visible_account
from byway.routes.context import RequestContext, Route, is_htmx
from byway.ui.menu import menu
from byway.ui.page import send_card, send_page

#: Models that are listed.
_MOST_MODELS: Final = 300


class PaletteItem(NamedTuple):
    """A place or an action."""

    title: str
    path: str
    """Where it leads, below the root."""
    hint: str = ""
    question: str = ""
    """It is an action that `path` takes as a POST, once the person has confirmed this."""


class PaletteGroup(NamedTuple):
    """Items under a heading."""

    title: str
    items: tuple[PaletteItem, ...]


#: Cards of pages for owners and viewers.
CARDS: Final = (
    PaletteItem("Endpoint", "/claude#endpoint", "Claude Code"),
    PaletteItem("Quick Setup", "/claude#quick", "Claude Code"),
    PaletteItem("Model Aliases", "/claude#aliases", "Claude Code"),
    PaletteItem("Web Search", "/claude#search", "Claude Code"),
    PaletteItem("Local models", "/models/local", "Models"),
    PaletteItem("Server: addresses and port", "/api#server", "Keys"),
    PaletteItem("Client keys", "/api#keys", "Keys"),
    PaletteItem("Accounts", "/api#accounts", "Keys"),
    PaletteItem("Limits", "/api#limits", "Keys"),
    PaletteItem("Audit log", "/api#audit", "Keys"),
    PaletteItem("Edit the config", "/config#editor", "Config"),
    PaletteItem("History of the config", "/config#history", "Config"),
    PaletteItem("Export and import", "/config#transfer", "Config"),
    PaletteItem("Endpoints of clients", "/clients#switch", "Clients"),
    PaletteItem("Sessions", "/clients#sessions", "Clients"),
    PaletteItem("Conflicts of settings", "/clients#conflicts", "Clients"),
    PaletteItem("Signed-in clients", "/device#sign-ins", "Sign-in"),
    PaletteItem("Connect another machine", "/remote#connect", "Remote access"),
    PaletteItem("Logins of browsers", "/remote#logins", "Remote access"),
    PaletteItem("Readiness of models", "/models/readiness", "Models"),
    PaletteItem("What is new", "/news"),
)
#: Cards of the page of an account.
OWN_CARDS: Final = (
    PaletteItem("Connect Claude Code", "/account#connect", "My keys"),
    PaletteItem("Keys of mine", "/account#keys", "My keys"),
    PaletteItem("My logins", "/account#logins", "My keys"),
    PaletteItem("Signed-in clients", "/device#sign-ins", "Sign-in"),
)
#: What owners do: places with the form for it, then changes that take effect at once.
ACTIONS: Final = (
    PaletteItem("Verify the connection", "/claude#endpoint", "one real request"),
    PaletteItem("Add a backend", "/models/add", "model server or cloud"),
    PaletteItem("Download a model", "/models/download"),
    PaletteItem("Use one model for every name", "/claude#quick"),
    PaletteItem("Create a client key", "/api#keys"),
    PaletteItem("Store a vendor API key", "/secrets"),
    PaletteItem("Connect a client program", "/clients#programs"),
    PaletteItem("Approve a sign-in", "/device"),
    PaletteItem("Export usage as CSV", "/byway/usage/export?format=csv&since=30d", "30 days"),
    PaletteItem("Restart Byway", "/api/restart", question="Restart Byway? Active requests are finished first."),
)
_LOG_OUT: Final = PaletteItem("Log out", "/logout", question="Log out this browser?")


def groups(context: RequestContext) -> list[PaletteGroup]:
    """What the caller may open and do."""
    caller = context.caller
    pages = tuple(PaletteItem(title, path, group.title) for group in menu(caller) for path, title in group.pages)
    if visible_account(context) is not None:
        own = OWN_CARDS if caller.account else ()
        return [PaletteGroup("Pages", pages), PaletteGroup("Cards", own), PaletteGroup("Actions", (_LOG_OUT,))]
    runtime = context.runtime
    models = tuple(
        PaletteItem(
            f"{backend.name}/{model}", f"/playground?{urlencode({'model': f'{backend.name}/{model}'})}", "talk to it"
        )
        for backend in runtime.backends.values()
        for model in backend.models or ()
    )
    aliases = tuple(
        PaletteItem(name, "/claude#aliases", ", ".join(runtime.aliases.get(name, ())) or "not set")
        for name in dict.fromkeys((*SLOTS, *runtime.aliases))
    )
    actions = ACTIONS if changes_all(caller.role, caller.scopes) else ()
    return [
        PaletteGroup("Pages", pages),
        PaletteGroup("Actions", (*actions, _LOG_OUT)),
        PaletteGroup("Cards", CARDS),
        PaletteGroup("Aliases", aliases[:_MOST_MODELS]),
        PaletteGroup("Models", models[:_MOST_MODELS]),
    ]


async def index(context: RequestContext) -> None:
    """Send the list, or a page with it."""
    listed = groups(context)
    if is_htmx(context):
        await send_card(context, "palette", "list", groups=listed)
    else:
        await send_page(context, "palette", "Search", here="/palette", groups=listed)


ROUTES = (Route("GET", "/palette", index, "account", "page"),)
