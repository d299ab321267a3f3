"""`/byway/doctor`: what the running Byway knows for `byway doctor`, and the sessions that reach it."""

from __future__ import annotations

from byway.clients.facts import GatewayFacts, gateway_facts
from byway.routes.context import RequestContext
from byway.routes.operation import Parameter, operation, query


async def facts(context: RequestContext) -> GatewayFacts:
    """Run the live checks, and return the sessions that arrive and which of the models in `models` are served."""
    names = [name.strip()[:200] for name in query(context).get("models", "").split(",")]
    return await gateway_facts(context.gateway, [name for name in names if name])


ROUTES = (
    operation(
        "GET",
        "/byway/doctor",
        facts,
        response=GatewayFacts,
        parameters=(Parameter("models", "Model names that clients request, separated by commas."),),
    ),
)
