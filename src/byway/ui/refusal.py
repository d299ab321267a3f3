"""What a browser gets in place of a page or of an answer: the form that logs in, or the error."""

from __future__ import annotations

from byway.problems import Problem
from byway.routes.context import RequestContext, is_browser
from byway.ui import login, page


async def refuse(context: RequestContext, problem: Problem) -> None:
    """Answer with a Problem."""
    route = context.route
    if route is None or route.envelope != "page" or problem.kind != "authentication":
        await page.send_problem(context, problem) if is_browser(context) else await context.refuse(problem)
    elif context.path == "/models" and not is_browser(context):
        # The base URL of an OpenAI client lacks `/v1`.
        context.dialect, context.route = "chat", None
        message = "This path is a page of people. The list of models is at GET /v1/models: add /v1 to the base URL."
        await context.refuse(Problem("authentication", message))
    else:
        await login.closed(context)
