"""Prices: the data of genai-prices for each vendor, cached and tiered examples worked out by hand, overrides, unknown ones."""

from __future__ import annotations

import asyncio
import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseEquals, ConditionalPrice, ModelInfo, ModelPrice
from genai_prices.types import Usage as GenaiUsage

from byway import platform
from byway.backends.vendors import VENDORS
from byway.config import ConfigError, load
from byway.messages.events import BilledUsage, Usage
from byway.prices import extract, source
from byway.prices.catalog import FORM, Offer, current_price, matches
from byway.prices.price import FREE, NANO, Price, PriceTier, Rates, cost_of
from byway.prices.source import FILE, PriceSource
from byway.prices.table import FoundPrice, PriceTable
from byway.runtime import Runtime

TEXT_PRICE: Final = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2))
#: A Monday, 12:00 UTC.
NOON: Final = datetime.datetime(2026, 11, 30, 12, tzinfo=datetime.UTC).timestamp()


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> PriceSource:
    """The prices of the installed package. In real use a process of its own extracts them: tests/e2e/test_prices.py."""
    folder = tmp_path_factory.mktemp("prices")
    platform.write_private(folder / FILE, extract.extract(frozenset(source.wanted_providers())))
    made = PriceSource(folder)
    asyncio.run(made.load())
    return made


def runtime(text: str, prices: PriceSource | None = None) -> Runtime:
    return Runtime(load(text, {}), price_source=prices)


def cloud(kind: str, prices: PriceSource | None, more: str = "") -> PriceTable:
    """The table of one backend named `cloud` with the default address of its vendor."""
    url = VENDORS[kind].url or f"https://test{next(iter(VENDORS[kind].hosts), '')}"
    names = ", models: [m]" if VENDORS[kind].needs_models else ""
    return runtime(f"backends: [{{name: cloud, type: {kind}, url: {url}{names}}}]\n{more}", prices).prices


def dollars(value: int | None) -> float | None:
    return None if value is None else value / NANO


# ------------------------------------------------------------------------------------------------------ published prices

#: Type, model, (uncached, written to the cache, read from it, output) tokens, dollars. Each was worked out by hand from what
#: the vendor publishes. All pages seen 2026-11-30.
EXAMPLES = [
    # https://platform.claude.com/docs/en/models/sonnet-5/overview: input $2, output $10, cache write $2.50, cache read $0.20.
    # 10,000 x 2 + 4,000 x 2.5 + 100,000 x 0.2 + 2,000 x 10 = 70,000 millionths
    ("anthropic", "claude-sonnet-5", (10_000, 4_000, 100_000, 2_000), 0.07),
    # The same prices for a prompt of 900,000 tokens: no tier.
    ("anthropic", "claude-sonnet-5", (900_000, 0, 0, 1_000), 1.81),
    # https://platform.claude.com/docs/en/about-claude/pricing: Haiku 4.5 $1 / $5, cache write $1.25, cache read $0.10.
    ("anthropic", "claude-haiku-4-5-20251001", (1_000, 1_000, 10_000, 1_000), 0.00825),
    # Sonnet 4.5 with more than 200,000 tokens, as published for the 1M window: input $6, output $22.50, cache read $0.60.
    # 150,000 x 6 + 60,000 x 0.6 + 1,000 x 22.5 = 958,500 millionths
    ("anthropic", "claude-sonnet-4-5", (150_000, 0, 60_000, 1_000), 0.9585),
    ("anthropic", "claude-sonnet-4-5", (140_000, 0, 60_000, 1_000), 0.453),
    # https://ai.google.dev/gemini-api/docs/pricing: 2.5 Pro $1.25 / $10, cache $0.125; over 200,000 $2.50 / $15, cache $0.25.
    ("gemini", "gemini-2.5-pro", (100_000, 0, 100_000, 1_000), 0.1475),
    ("gemini", "gemini-2.5-pro", (100_001, 0, 100_000, 1_000), 0.2900025),
    # https://developers.openai.com/api/docs/pricing: GPT-5 $1.25 / $10, cached $0.125.
    ("openai", "gpt-5", (10_000, 0, 90_000, 2_000), 0.04375),
    ("openai", "gpt-5-2025-08-07", (10_000, 0, 90_000, 2_000), 0.04375),
    # GPT-5.4 $2.50 / $15, cached $0.25; over 272,000 $5 / $22.50, cached $0.50.
    ("openai", "gpt-5.4", (272_000, 0, 0, 1_000), 0.695),
    ("openai", "gpt-5.4", (272_000, 0, 1_000, 1_000), 1.383),
    # A deployment of Azure costs what OpenAI's own model does.
    ("azure", "gpt-5", (10_000, 0, 90_000, 2_000), 0.04375),
    # https://api-docs.deepseek.com/quick_start/pricing: deepseek-flash outside the busy hours: cache hit $0.003, cache miss
    # $0.15, output $0.60.
    ("deepseek", "deepseek-flash", (100_000, 0, 1_000_000, 10_000), 0.024),
]


@pytest.mark.parametrize(("kind", "model", "tokens", "expected"), EXAMPLES)
def test_an_answer_costs_what_the_vendor_publishes(
    kind: str, model: str, tokens: tuple[int, int, int, int], expected: float, prices: PriceSource
) -> None:
    assert cloud(kind, prices).cost("cloud", model, Usage(*tokens), NOON) == round(expected * NANO)


def test_each_cost_equals_that_of_genai_prices_itself(prices: PriceSource) -> None:
    """Each model of the vendors, with cached and written tokens, below and above all tiers."""
    snapshot = get_snapshot()
    at = datetime.datetime.fromtimestamp(NOON, datetime.UTC)
    compared = 0
    for kind in ("anthropic", "openai", "gemini", "deepseek", "xai", "zai", "mistral", "minimax", "moonshot"):
        table = cloud(kind, prices)
        provider = next(each for each in snapshot.providers if each.id == VENDORS[kind].prices)
        for model in provider.models:
            if provider.find_model(model.id) is not model:
                continue
            for uncached, cached, written in ((1_000, 2_000, 300), (700_001, 90_000, 20_000)):
                cost = table.cost("cloud", model.id, Usage(uncached, written, cached, 500), NOON)
                if cost is None:
                    continue
                theirs = model.calc_price(
                    GenaiUsage(
                        input_tokens=uncached + cached + written,
                        cache_read_tokens=cached,
                        cache_write_tokens=written,
                        output_tokens=500,
                    ),
                    provider,
                    genai_request_timestamp=at,
                )
                assert abs(theirs.total_price * NANO - cost) <= 1, (kind, model.id)
                compared += 1
    assert compared > 300


@pytest.mark.parametrize("kind", [name for name, vendor in VENDORS.items() if vendor.prices])
def test_each_vendor_with_prices_has_models_in_the_data(kind: str, prices: PriceSource) -> None:
    vendor = VENDORS[kind]
    names = [vendor.prices] if not vendor.prices.endswith("_") else [f"{vendor.prices}groq", f"{vendor.prices}together"]
    for name in filter(None, (*names, vendor.twin_prices)):
        (provider, *_) = prices.providers((name,))
        assert len(provider.models) >= 2


def test_the_vendors_without_prices_are_those_that_the_data_lacks() -> None:
    """A vendor that is added must say which provider of genai-prices it is."""
    without = {name for name, vendor in VENDORS.items() if not vendor.self_hosted and not vendor.prices}
    plans = {"zaicoding", "kimicode", "dashscopecoding", "arkcoding"}
    assert without == plans | {"dashscope", "nvidia", "siliconflow", "mimo", "ark", "qianfan"}


def test_tokens_that_the_cache_keeps_for_an_hour_cost_more(prices: PriceSource) -> None:
    table = cloud("anthropic", prices)
    # 3,000 x 2.5 + 1,000 x 4 millionths
    usage = BilledUsage(0, 4_000, 0, 0, cache_write_1h_tokens=1_000)
    assert dollars(table.cost("cloud", "claude-sonnet-5", usage, NOON)) == 0.0115


def test_searches_of_the_vendor_cost_ten_dollars_per_thousand(prices: PriceSource) -> None:
    table = cloud("anthropic", prices)
    assert dollars(table.cost("cloud", "claude-sonnet-5", BilledUsage(web_searches=3), NOON)) == 0.03


def test_fast_mode_costs_more(prices: PriceSource) -> None:
    """https://platform.claude.com/docs/en/build-with-claude/fast-mode (seen 2026-11-30): Opus 5 $10 / $50, not $5 / $25."""
    table = cloud("anthropic", prices)
    assert dollars(table.cost("cloud", "claude-opus-5", BilledUsage(1_000, 0, 0, 1_000), NOON)) == 0.03
    assert dollars(table.cost("cloud", "claude-opus-5", BilledUsage(1_000, 0, 0, 1_000, fast=True), NOON)) == 0.06


def test_a_price_changes_with_the_hour_of_the_day(prices: PriceSource) -> None:
    """https://api-docs.deepseek.com/quick_start/pricing (seen 2026-11-30): twice the price from 01:00 to 04:00 UTC."""
    table = cloud("deepseek", prices)
    million = Usage(1_000_000)
    midnight = NOON - 12 * 3600
    hours = (0, 0.99, 1, 3.99, 4, 6, 9.99, 10)
    costs = [dollars(table.cost("cloud", "deepseek-flash", million, midnight + hour * 3600)) for hour in hours]
    assert costs == [0.15, 0.15, 0.3, 0.3, 0.15, 0.3, 0.3, 0.15]


def test_the_other_region_of_a_vendor_has_prices_of_its_own(prices: PriceSource) -> None:
    table = runtime(
        "backends:\n  - {name: world, type: zai, url: https://api.z.ai}\n"
        "  - {name: china, type: zai, url: https://open.bigmodel.cn}\n",
        prices,
    ).prices
    assert "zai/" in table.find("world", "glm-5").source
    assert "zhipuai/" in table.find("china", "glm-5").source


def test_the_provider_behind_hugging_face_is_part_of_the_name(prices: PriceSource) -> None:
    table = cloud("huggingface", prices)
    assert table.find("cloud", "openai/gpt-oss-120b:groq").price is not None
    assert table.find("cloud", "openai/gpt-oss-120b").price is None


def test_a_name_of_the_config_costs_what_the_model_behind_it_does(prices: PriceSource) -> None:
    text = (
        "backends: [{name: work, type: azure, url: https://x.openai.azure.com, models: [{id: chat-prod, like: gpt-5}]}]"
    )
    table = runtime(text, prices).prices
    assert dollars(table.cost("work", "chat-prod", Usage(1_000_000), NOON)) == 1.25


# --------------------------------------------------------------------------------------------------- local and unknown


@pytest.mark.parametrize(
    ("backend", "model", "expected"),
    [
        ("{type: builtin}", "smollm2-135m-instruct", 0),
        ("{type: ollama}", "qwen3-coder:30b", 0),
        ("{type: vllm, url: http://10.0.0.5:8000}", "qwen3", 0),
        ("{type: generic, url: http://127.0.0.1:1234}", "m", 0),
        ("{type: openai, url: http://127.0.0.1:1234, local: true}", "m", 0),
        # Ollama runs these in its own cloud.
        ("{type: ollama}", "gpt-oss:120b-cloud", None),
        # These may pass the request on to a cloud.
        ("{type: litellm}", "gpt-5", None),
        ("{type: openai, url: http://127.0.0.1:1234}", "gpt-5", None),
        # A server that someone else runs.
        ("{type: vllm, url: https://gpu.example.org}", "qwen3", None),
        ("{type: dashscope}", "qwen3-max", None),
        # A plan with a fixed price.
        ("{type: zaicoding}", "glm-5.3", None),
        ("{type: anthropic}", "claude-unheard-of-9", None),
        ("{type: anthropic}", "c" * 100_000, None),
    ],
)
def test_local_models_cost_nothing_and_an_unknown_price_is_unknown(
    backend: str, model: str, expected: int | None, prices: PriceSource
) -> None:
    made = runtime(f"backends: [{backend}]", prices)
    (name,) = made.backends
    assert made.prices.cost(name, model, Usage(1_000, 0, 0, 1_000), NOON) == expected


def test_a_cloud_at_a_private_address_has_the_vendors_prices_when_the_config_says_so(prices: PriceSource) -> None:
    made = runtime("backends: [{type: openai, url: http://127.0.0.1:1234, local: false}]", prices)
    assert dollars(made.prices.cost("openai", "gpt-5", Usage(1_000_000), NOON)) == 1.25


def test_without_the_package_the_prices_of_vendors_are_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "installed_version", lambda: "")
    missing = PriceSource(tmp_path)
    asyncio.run(missing.load())
    table = cloud("openai", missing, "prices: {gpt-4.1: {input: 2, output: 8}}")
    assert table.cost("cloud", "gpt-5", Usage(1), NOON) is None
    assert table.find("cloud", "gpt-5").source.startswith("genai-prices is not installed; install it: pip")
    assert dollars(table.cost("cloud", "gpt-4.1", Usage(1_000_000), NOON)) == 2
    assert not list(tmp_path.iterdir())


def test_a_request_costs_one_lookup_after_the_first(prices: PriceSource, monkeypatch: pytest.MonkeyPatch) -> None:
    table = cloud("openai", prices)
    looked_up: list[str] = []
    find = table.find

    def counted(backend: str, model: str, now: float | None = None) -> FoundPrice:
        looked_up.append(model)
        return find(backend, model, now)

    monkeypatch.setattr(table, "find", counted)
    for model in ("gpt-5", "gpt-5", "gpt-unknown", "gpt-unknown", "gpt-5"):
        table.cost("cloud", model, Usage(1), NOON)
    assert looked_up == ["gpt-5", "gpt-unknown"]


def test_prices_of_invented_names_are_not_remembered_without_end(prices: PriceSource) -> None:
    table = cloud("mistral", prices)
    for number in range(1_500):
        table.cost("cloud", f"invented-{number}", Usage(1), NOON)
    assert len(table._known) == 1_000


# ----------------------------------------------------------------------------------------------------------- overrides

OVERRIDES = """
prices:
  cloud/gpt-5: {input: 1, output: 8, cached: 0.1}
  gpt-5: {input: 7, output: 7}
  "cloud/claude-*": {input: 3, output: 15, cache_write: 3.75, tiers: [
    {above: 100000, input: 4, output: 20},
    {above: 200000, input: 6, output: 22.5, cached: 0.6, cache_write_1h: 12}]}
  "*-mini": {input: 0.5, output: 1, search: 0.02}
"""


@pytest.mark.parametrize(
    ("model", "usage", "expected", "origin"),
    [
        ("gpt-5", Usage(1_000_000, 0, 1_000_000, 1_000_000), 9.1, "prices: cloud/gpt-5"),
        # Kinds of tokens without a price cost what other input does.
        ("claude-x", Usage(1_000, 1_000, 1_000, 1_000), 0.02475, "prices: cloud/claude-*"),
        ("claude-x", Usage(100_000), 0.3, "prices: cloud/claude-*"),
        ("claude-x", Usage(100_001), 0.400004, "prices: cloud/claude-*"),
        # 200,001 x 6 + 1,000 x 0.6 + 1,000 x 12 millionths
        (
            "claude-x",
            BilledUsage(200_001, 1_000, 1_000, 0, cache_write_1h_tokens=1_000),
            1.212606,
            "prices: cloud/claude-*",
        ),
        ("gpt-9-mini", BilledUsage(1_000_000, web_searches=2), 0.54, "prices: *-mini"),
    ],
)
def test_prices_of_the_config_win(model: str, usage: Usage, expected: float, origin: str, prices: PriceSource) -> None:
    table = cloud("openai", prices, OVERRIDES)
    assert table.cost("cloud", model, usage, NOON) == round(expected * NANO)
    assert table.find("cloud", model).source == origin


def test_a_price_of_the_config_applies_to_local_models_too() -> None:
    table = runtime("backends: [{type: ollama}]\nprices: {'ollama/*': {input: 0.05, output: 0.1}}").prices
    assert dollars(table.cost("ollama", "qwen3:8b", Usage(1_000_000, 0, 0, 1_000_000), NOON)) == 0.15


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prices: {m: {input: 1}}", "prices.m.output: required: dollars per million tokens; 0 for free"),
        ("prices: {m: {input: -1, output: 1}}", "prices.m.input: expected a number"),
        ("prices: {m: {input: free, output: 1}}", "prices.m.input: expected a number"),
        ("prices: {m: 3}", "prices.m: expected a mapping"),
        ("prices: {m: {input: 1, output: 1, cache: 1}}", "did you mean cached"),
        ("prices: {m: {input: 1, output: 1, tiers: [{input: 1, output: 1}]}}", "tiers.0.above: required"),
        ("prices: {m: {input: 1, output: 1, tiers: [5]}}", "tiers.0: expected a mapping"),
        (
            "prices: {m: {input: 1, output: 1, tiers: [{above: 9, input: 1, output: 1}, {above: 9, input: 2, output: 1}]}}",
            "two tiers begin at the same number of tokens",
        ),
    ],
)
def test_an_invalid_price_is_reported(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text, {})
    assert problem in str(caught.value)


# --------------------------------------------------------------------------------------------------------- arithmetic


def test_costs_are_rounded_to_the_nearest_nano_dollar() -> None:
    price = Price(Rates(2_500_000, 0, 0, 0, 0))  # $0.0025 per million tokens: 2.5 nano-dollars each
    assert [cost_of(price, Usage(tokens)) for tokens in (0, 1, 2, 3)] == [0, 3, 5, 8]
    assert cost_of(None, Usage(1)) is None
    assert cost_of(FREE, Usage(1 << 53, 1 << 53, 1 << 53, 1 << 53)) == 0


def test_only_a_price_of_zero_is_free() -> None:
    assert FREE.free
    assert not Price(Rates(0, 1, 0, 0, 0)).free
    assert not Price(Rates(0, 0, 0, 0, 0), (PriceTier(10, Rates(1, 1, 1, 1, 1)),)).free


def test_an_offer_over_midnight_applies_on_both_sides() -> None:
    base, night = Price(Rates(2, 2, 2, 2, 2)), Price(Rates(1, 1, 1, 1, 1))
    offers = (Offer(base), Offer(night, None, (23 * 3600, 3600)))
    midnight = NOON - 12 * 3600
    assert current_price(offers, midnight - 1) == (night, midnight + 3600)
    assert current_price(offers, midnight + 3599) == (night, midnight + 3600)
    assert current_price(offers, midnight + 3600) == (base, midnight + 23 * 3600)


def test_an_offer_begins_on_its_day() -> None:
    old, new = Price(Rates(2, 2, 2, 2, 2)), Price(Rates(1, 1, 1, 1, 1))
    offers = (Offer(old), Offer(new, NOON))
    assert current_price(offers, NOON - 1) == (old, NOON)
    assert current_price(offers, NOON) == (new, float("inf"))


@pytest.mark.parametrize(
    ("clause", "fitting", "other"),
    [
        ({"starts_with": "gpt-5"}, "gpt-5-mini", "my-gpt-5"),
        ({"ends_with": ":free"}, "m:free", "m:freed"),
        ({"contains": "opus"}, "claude-opus-4", "claude"),
        ({"equals": "o3"}, "o3", "o3-mini"),
        ({"regex": r"^o3-\d+$"}, "o3-2025", "o3-mini"),
        ({"or": [{"equals": "a"}, {"equals": "b"}]}, "b", "c"),
        ({"and": [{"starts_with": "a"}, {"ends_with": "z"}]}, "a-z", "a"),
        ({"and": [{"starts_with": "a"}, {"unknown": "z"}]}, "", "a-z"),
    ],
)
def test_a_clause_fits_names(clause: dict[str, Any], fitting: str, other: str) -> None:
    assert not fitting or matches(clause, fitting)
    assert not matches(clause, other)


# ------------------------------------------------------------------------------------------------------- the package


def test_the_prices_are_kept_and_read_again(prices: PriceSource, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prices._file.parent if prices._file else Path()
    monkeypatch.setattr(source, "wanted_providers", lambda: pytest.fail("extracted again"))
    again = PriceSource(folder)
    asyncio.run(again.load())
    assert again.version == prices.version == source.installed_version()
    assert cloud("openai", again).find("cloud", "gpt-5") == cloud("openai", prices).find("cloud", "gpt-5")


@pytest.mark.parametrize("damage", ["", "{", '{"version": "0.0.1", "form": 1, "providers": {}}', "old form", "broken"])
def test_kept_prices_that_do_not_fit_are_made_again(damage: str, prices: PriceSource, tmp_path: Path) -> None:
    kept = (prices._file or Path()).read_bytes()
    if damage == "old form":
        damage = kept.decode().replace(f'"form":{FORM}', f'"form":{FORM - 1}', 1)
    if damage == "broken":
        damage = kept.decode().replace('"gpt-5"', "5", 1)
    platform.write_private(tmp_path / FILE, damage.encode())
    made = PriceSource(tmp_path)
    assert made._read() is None


def test_a_config_without_vendors_starts_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(source, "installed_version", lambda: pytest.fail("looked for the package"))
    asyncio.run(runtime("backends: [{type: ollama}]", PriceSource(tmp_path)).prices.load())


def test_a_constraint_in_an_unknown_form_leaves_the_price_out() -> None:
    entry = ConditionalPrice(constraint=None, prices=TEXT_PRICE)
    assert extract._offer(entry, ()).price.rates.input == NANO
    entry.constraint = "weekdays"
    with pytest.raises(extract.NotRead):
        extract._offer(entry, ())


def test_a_model_without_prices_of_text_is_left_out() -> None:
    spoken = ModelInfo(id="a", match=ClauseEquals(equals="a"), prices=ModelPrice(input_audio_mtok=Decimal(1)))
    assert extract._model(spoken) is None
    written = extract._model(ModelInfo(id="B", match=ClauseEquals(equals="B"), prices=TEXT_PRICE))
    assert written is not None and written.clause == {"equals": "b"}
    assert written.offers[0].price.rates == Rates(NANO, 2 * NANO, NANO, NANO, NANO)
