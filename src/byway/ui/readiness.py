"""The tab Readiness of the page Models: test a model for Claude Code, and the last results. Other pages show its verdicts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from byway.admin.probes import ProbeResult
from byway.admin.readiness import INPUT_TOKENS, OUTPUT_TOKENS, Readiness, expected_cost
from byway.display import dollars, latency, moment, window
from byway.problems import Problem
from byway.routes.context import RequestContext, Route
from byway.ui.cards import CardRoute, CardView, card_view
from byway.ui.page import Outcome, failure, query_fields, read_form, send_card

#: The colour of each verdict.
_COLOURS: Final[Mapping[str, str]] = {
    "good for agent work": "good",
    "usable with limits": "warn",
    "chat only": "warn",
    "does not work": "bad",
}
#: The colour and the mark of each result of a probe.
_MARKS: Final[Mapping[str, tuple[str, str]]] = {
    "passed": ("good", "✓"),
    "failed": ("bad", "✗"),
    "not supported": ("none", "-"),
    "not run": ("none", "·"),
}


class VerdictTag(NamedTuple):
    """The verdict on a model, for a table or a list."""

    kind: str
    word: str
    """Empty when the model was never tested."""
    old: str
    reasons: tuple[str, ...] = ()
    action: str = ""
    tested: str = ""


class ProbeRow(NamedTuple):
    """A probe of a test."""

    title: str
    kind: str
    mark: str
    state: str
    reason: str
    took: str
    number: int | None
    """The number of its request in the list of requests; None when it is not kept any more."""


class ReadinessRow(NamedTuple):
    """A tested model."""

    id: str
    name: str
    where: str
    """`local` or `cloud`."""
    running: bool
    current: str
    tag: VerdictTag
    passed: int
    total: int
    done: int
    """Probes that have ended."""
    probes: tuple[ProbeRow, ...]
    learned: tuple[str, ...]
    figures: tuple[tuple[str, str], ...]


class TestChoice(NamedTuple):
    """A model that can be tested."""

    value: str
    word: str


class ReadinessTab(NamedTuple):
    """The content of the tab."""

    rows: tuple[ReadinessRow, ...]
    choices: tuple[TestChoice, ...]
    chosen: str
    cost: str
    """What the test of the chosen model uses, and costs."""
    outcome: Outcome | None = None


def verdict_of(context: RequestContext, backend: str, model: str) -> VerdictTag:
    """The verdict on a model of a backend."""
    tests = context.gateway.readiness
    readiness = None if tests is None else tests.find(backend, model)
    return VerdictTag("none", "", "") if readiness is None else _tag(readiness)


def _tag(readiness: Readiness) -> VerdictTag:
    if readiness.state == "running":
        return VerdictTag("none", "being tested", "")
    return VerdictTag(
        _COLOURS.get(readiness.verdict, "none"),
        readiness.verdict,
        readiness.old,
        readiness.reasons,
        readiness.action,
        moment(readiness.at),
    )


def tab(context: RequestContext, chosen: str = "", outcome: Outcome | None = None) -> ReadinessTab:
    """The content of the tab. `chosen`: the model that is selected."""
    runtime = context.runtime
    results = context.gateway.readiness_tests.results()
    choices = tuple(
        TestChoice(f"{live.name}/{model}", f"{live.name}/{model} ({'local' if live.self_hosted else 'cloud'})")
        for live in runtime.backends.values()
        if live.state != "off"
        for model in live.models or ()
    )
    if not chosen and choices:
        tested = {readiness.name for readiness in results}
        chosen = next((choice.value for choice in choices if choice.value not in tested), choices[0].value)
    rows = tuple(row(context, readiness) for readiness in results)
    return ReadinessTab(rows, choices, chosen, cost_text(context, chosen), outcome)


def cost_text(context: RequestContext, name: str) -> str:
    """What the test of a model uses, and costs."""
    backend, _, model = name.partition("/")
    live = context.runtime.backends.get(backend)
    used = f"about {INPUT_TOKENS:,} tokens of input and {OUTPUT_TOKENS:,} of output"
    if live is None or live.self_hosted:
        return f"A test uses {used}. It takes from seconds to some minutes."
    cost = expected_cost(context.runtime, backend, model)
    price = f": about {dollars(cost)}" if cost else ""
    return f"This is a cloud model. A test uses {used}, which are billed{price}."


def row(context: RequestContext, readiness: Readiness) -> ReadinessRow:
    """A tested model, or one that is being tested."""
    requests = context.gateway.requests
    figures = [
        ("Window", f"{window(readiness.window)} tokens" if readiness.window else ""),
        ("Prompt", f"{readiness.prompt_speed:,.0f} tokens/s" if readiness.prompt_speed else ""),
        ("Answer", f"{readiness.answer_speed:,.0f} tokens/s" if readiness.answer_speed else ""),
        ("Used", f"{readiness.input_tokens + readiness.output_tokens:,} tokens" if readiness.input_tokens else ""),
        ("Cost", dollars(readiness.cost) if readiness.cost and not readiness.self_hosted else ""),
    ]
    numbers = requests.numbers([probe.request_id for probe in readiness.results])
    return ReadinessRow(
        f"ready-{zlib.crc32(readiness.name.encode()):08x}",
        readiness.name,
        "local" if readiness.self_hosted else "cloud",
        readiness.state == "running",
        readiness.current,
        _tag(readiness),
        readiness.passed,
        readiness.total,
        len(readiness.results),
        tuple(_probe(probe, numbers) for probe in readiness.results),
        readiness.learned,
        tuple((name, text) for name, text in figures if text),
    )


def _probe(probe: ProbeResult, numbers: Mapping[str, int]) -> ProbeRow:
    kind, mark = _MARKS[probe.state]
    took = "" if probe.ms is None else latency(probe.ms)
    return ProbeRow(probe.title, kind, mark, probe.state, probe.reason, took, numbers.get(probe.request_id))


# ------------------------------------------------------------------------------------------------------------- actions


async def start(context: RequestContext) -> CardView:
    """Start to test a model."""
    name = (await read_form(context))["model"]
    outcome = None
    if not name:
        outcome = Outcome("bad", "No model is chosen.", "Choose a model from the list.")
    else:
        try:
            await context.gateway.readiness_tests.start(name)
        except Problem as problem:
            outcome = failure(context, problem)
    return card_view("readiness", "list", "readiness", outcome, readiness=tab(context, name, outcome))


async def remove(context: RequestContext) -> CardView:
    """Remove the result of a model."""
    name = (await read_form(context))["model"]
    backend, _, model = name.partition("/")
    removed = await context.gateway.readiness_tests.forget(backend, model)
    outcome = Outcome("good", f"The result of {name} is removed." if removed else f"{name} has no result.")
    return card_view("readiness", "list", "readiness", outcome, readiness=tab(context, "", outcome))


async def progress(context: RequestContext) -> None:
    """Send the row of one model: the page loads it again while the model is tested."""
    backend, _, model = query_fields(context)["model"].partition("/")
    readiness = context.gateway.readiness_tests.find(backend, model)
    if readiness is None:
        raise Problem("not_found", "This model has no result: its test was interrupted.")
    await send_card(context, "readiness", "row", row=row(context, readiness))


async def price(context: RequestContext) -> None:
    """Send what a test of the selected model uses, and costs."""
    await send_card(context, "readiness", "cost", text=cost_text(context, query_fields(context)["model"]))


CARDS: Final = (
    CardRoute("POST", "/models/readiness/test", start),
    CardRoute("POST", "/models/readiness/remove", remove),
)
ROUTES: Final = (
    Route("GET", "/models/readiness/row", progress, "admin", "page"),
    Route("GET", "/models/readiness/cost", price, "admin", "page"),
)
