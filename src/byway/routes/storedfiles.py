"""`/byway/files`: the uploaded files of all clients, for an owner of this Byway."""

from __future__ import annotations

from typing import Final

from byway.admin.files import FileInfo, FilePage, delete_file, list_files
from byway.routes.admin import who
from byway.routes.context import RequestContext
from byway.routes.files import file_service
from byway.routes.operation import Parameter, number, operation, query

_MOST: Final = 1_000


async def show(context: RequestContext) -> FilePage:
    """List the uploaded files of all clients, the newest first, and how much each of them has stored."""
    fields = query(context)
    limit = number(fields.get("limit", "100"), "limit", _MOST)
    files = context.gateway.file_service
    if files is None:
        return FilePage((), False, (), "")
    return await list_files(files, fields.get("owner"), limit)


async def delete(context: RequestContext) -> FileInfo:
    """Delete a file of any client, and its bytes."""
    # Files can be deleted while clients cannot use them.
    files = context.gateway.file_service or file_service(context)
    return await delete_file(files, context.gateway.services.store, context.tail, who(context))


ROUTES = (
    operation(
        "GET",
        "/byway/files",
        show,
        response=FilePage,
        parameters=(
            Parameter("owner", "Only the files of this owner: `account:ID` or `key:ID`."),
            Parameter("limit", f"How many files, at most {_MOST}.", int),
        ),
    ),
    operation("DELETE", "/byway/files/{id}", delete, response=FileInfo),
)
