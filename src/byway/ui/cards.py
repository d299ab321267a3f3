"""Cards of the page Models: an action computes a CardView, and `models` sends it as a card or as the whole page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from byway.routes.context import RequestContext
from byway.ui.page import Outcome


class CardView(NamedTuple):
    """One block of a template, with the data it shows."""

    template: str
    block: str
    card: str
    """The card whose action this is the outcome of; "" when it is none."""
    outcome: Outcome | None
    data: Mapping[str, Any]


class CardRoute(NamedTuple):
    """An action of a card, for a login or a key with the scope `admin`."""

    method: str
    path: str
    action: Callable[[RequestContext], Awaitable[CardView]]


def card_view(template: str, block: str, card: str, outcome: Outcome | None, **data: Any) -> CardView:
    """A CardView with `data` by name."""
    return CardView(template, block, card, outcome, data)
