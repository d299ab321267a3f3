"""The menu: the pages in groups, and which of them a caller may open. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from byway.access.keys import Caller
from byway.roles import changes_own, sees_all


class MenuGroup(NamedTuple):
    """Pages under one heading of the menu."""

    title: str
    pages: tuple[tuple[str, str], ...]
    """Path and title."""


#: The pages in the order of the menu. A new page is one line here.
MENU: Final = (
    MenuGroup(
        "Use",
        (
            ("/", "Overview"),
            ("/claude", "Claude Code"),
            ("/models", "Models"),
            ("/playground", "Playground"),
            ("/requests", "Requests"),
            ("/usage", "Usage"),
        ),
    ),
    MenuGroup(
        "Set up",
        (
            ("/clients", "Clients"),
            ("/api", "Keys"),
            ("/secrets", "Secrets"),
            ("/remote", "Remote access"),
            ("/config", "Config"),
        ),
    ),
    MenuGroup("Help", (("/trouble", "Troubleshooting"), ("/log", "Log"))),
)
PAGES: Final = tuple(page for group in MENU for page in group.pages)
#: The page of an account, and the other pages that show an account what belongs to it. The rest is for owners and viewers.
ACCOUNT_PAGE: Final = ("/account", "My keys")
SHARED_PAGES: Final = frozenset(("/", "/playground", "/requests", "/usage"))
#: Pages of owners and viewers whose forms change nothing, or are left out for a viewer.
READING_PAGES: Final = frozenset(("/trouble", "/log", "/news"))


def menu(caller: Caller) -> list[MenuGroup]:
    """The pages that a caller may open. Groups without a page are left out."""
    sees_others = sees_all(caller.role, caller.scopes)
    groups: list[MenuGroup] = []
    for group in MENU:
        pages = [page for page in group.pages if sees_others or page[0] in SHARED_PAGES]
        if group.title == "Set up" and caller.account and changes_own(caller.role):
            pages.insert(0, ACCOUNT_PAGE)
        if pages:
            groups.append(MenuGroup(group.title, tuple(pages)))
    return groups
