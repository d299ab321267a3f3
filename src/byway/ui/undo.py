"""Undo of a change of the config, from the message that reports the change."""

from __future__ import annotations

from byway.admin import config as configs
from byway.admin.config import SavedConfig
from byway.admin.errors import invalid
from byway.routes.admin import who
from byway.routes.context import RequestContext, Route, is_htmx
from byway.ui.page import Outcome, apply_change, read_form, send_outcome, send_page, status_of


async def undo(context: RequestContext) -> None:
    """Restore the config before a change. A later change is not overwritten."""
    fields = await read_form(context)
    file, author = context.gateway.services.config_file, who(context)

    def restore() -> SavedConfig:
        versions = configs.list_versions(file)
        number = next((version.number for version in versions if version.etag == fields["before"]), None)
        if number is None:
            raise invalid("before", "the config before this change is not kept any more")
        return configs.rollback_config(file, number, author, fields["after"])

    outcome = await apply_change(
        context, restore, lambda saved: Outcome("good", "Undone.", "The config is as it was before.")
    )
    if is_htmx(context):
        await send_outcome(context, outcome, "config-undone")
    else:
        await send_page(context, "refused", "Undo", here="", status=status_of(outcome), outcome=outcome)


ROUTES = (Route("POST", "/undo", undo, "admin", "page"),)
