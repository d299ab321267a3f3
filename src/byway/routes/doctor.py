"""`/byway/doctor`: what the running Byway knows for `byway doctor`, the sessions that reach it, fixes, and a report."""

from __future__ import annotations

from msgspec import Struct

from byway.clients.diagnosis import machine_report
from byway.clients.facts import GatewayFacts, gateway_facts
from byway.clients.fixes import make_fix
from byway.routes.admin import who
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query


async def facts(context: RequestContext) -> GatewayFacts:
    """Run the live checks, and return the sessions that arrive and which of the models in `models` are served."""
    fields = query(context)
    names = [name.strip()[:200] for name in fields.get("models", "").split(",")]
    return await gateway_facts(context.gateway, [name for name in names if name], sign_in=fields.get("sign_in", ""))


class FixOutcome(Struct, frozen=True):
    """What a fix has done."""

    text: str


class IssueReport(Struct, frozen=True):
    """A report for an issue, as Markdown."""

    text: str


async def fix(context: RequestContext) -> FixOutcome:
    """Make a fix that a check offers (`repair`)."""
    return FixOutcome(await make_fix(context.gateway, context.tail, who(context)))


async def report(context: RequestContext) -> IssueReport:
    """Run the live checks and return a report without secrets, prompts and names of hosts."""
    return IssueReport((await machine_report(context.gateway)).text)


ROUTES = (
    operation(
        "GET",
        "/byway/doctor",
        facts,
        response=GatewayFacts,
        parameters=(
            Parameter("models", "Model names that clients request, separated by commas."),
            Parameter("sign_in", "The SHA-256 of an access token, in hexadecimal digits: which sign-in is it?"),
        ),
    ),
    operation("POST", "/byway/doctor/fixes/{id}", fix, response=FixOutcome),
    operation("GET", "/byway/doctor/report", report, response=IssueReport),
)
