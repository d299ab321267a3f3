"""The page What is new: the changelog of the installed version, and whether a newer one waits for a restart."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from byway import __version__
from byway.admin.releases import read_releases
from byway.routes.context import RequestContext, Route
from byway.ui.page import INSTALLED, send_page

#: Links of the changelog lead to files of the repository, which are not here: their text stays.
_LINK: Final = re.compile(
    r"\s*\(\[([^\]\n]{1,200})\]\((?:docs/|#)[^)\n]{1,300}\)\)|\[([^\]\n]{1,200})\]\([^)\n]{1,300}\)"
)
_EMPHASIS: Final = re.compile(r"\*{1,2}([^*\n]{1,200})\*{1,2}")


def plain(markdown: str) -> str:
    """A change without links and emphasis. Code stays in backticks."""
    parts = markdown.split("`")
    parts[::2] = [_EMPHASIS.sub(r"\1", part) for part in parts[::2]]
    return _LINK.sub(lambda match: match[2] or "", "`".join(parts))


async def index(context: RequestContext) -> None:
    """Send the page."""
    releases = await asyncio.to_thread(read_releases)
    await send_page(
        context,
        "news",
        "What is new",
        here="/news",
        lead="Changes of the installed version. Byway sends no request for this.",
        releases=releases,
        plain=plain,
        running=__version__,
        installed=INSTALLED.installed(),
    )


ROUTES = (Route("GET", "/news", index, "admin", "page"),)
