"""Settings by their paths: where a typed path leads, what a typed value is, and what is shown can be read again."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given, settings
from hypothesis import strategies as st

from byway.config import BackendSettings, Config, load
from byway.config.document import MAX_VALUES
from byway.config.editing import Set, edit, meaning
from byway.config.paths import (
    PathError,
    completions,
    dotted,
    find,
    lines,
    literal_secrets,
    locate,
    parse_value,
    short_text,
    table,
)

TEXT = """\
server: {bind_address: [127.0.0.1:0, "unix:/tmp/x.sock"], socket_mode: "0660"}
backends:
  - {name: a.b, type: vllm, url: http://x, models: [m, {id: big, window: 4096}], tls: {verify: false}, weight: 3}
  - {name: a, type: ollama}
model_aliases: {gpt-4.1: a.b/big, "claude-*": [m, a/x], "weird: one": m}
timeouts: {connect: 0.5, drain: 1m}
web_search:
  {enabled: true, provider: searxng, base_url: "http://127.0.0.1:2", freshness: week,
   fallback: [{provider: searxng, base_url: "http://127.0.0.1:1"}]}
prices: {a.b/gpt-4.1: {input: 1.5, output: 8, tiers: [{above: 5, input: 2, output: 9}]}}
global_prompts: {models: {gpt-4.1: {prompt: be kind}}}
rate_limiting: {limits: {global: {requests_per_second: 5}}}
"""
CONFIG = load(TEXT, {})


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("", (), CONFIG),
        ("backends.a.weight", ("backends", 1, "weight"), 1),
        ("backends.a.b.weight", ("backends", 0, "weight"), 3),
        ("backends.0.tls.verify", ("backends", 0, "tls", "verify"), False),
        ("prices.a.b/gpt-4.1.input", ("prices", "a.b/gpt-4.1", "input"), 1.5),
        ("backends.9.url", ("backends", 9, "url"), None),
        ("backends.0.models.1.window", ("backends", 0, "models", 1, "window"), None),
        ("model_aliases.gpt-4.1", ("model_aliases", "gpt-4.1"), ("a.b/big",)),
        ("model_aliases.gpt-4.1.0", ("model_aliases", "gpt-4.1.0"), None),
        ("server.bind_address.0", ("server", "bind_address", 0), "127.0.0.1:0"),
        ("global_prompts.models.gpt-4.1.prompt", ("global_prompts", "models", "gpt-4.1", "prompt"), "be kind"),
        ("global_prompts.models.gpt-4.1", ("global_prompts", "models", "gpt-4.1"), ...),
        ("rate_limiting.limits.global.burst_capacity", ("rate_limiting", "limits", "global", "burst_capacity"), 0),
        ("web_search.fallback.0.base_url", ("web_search", "fallback", 0, "base_url"), "http://127.0.0.1:1"),
    ],
)
def test_a_path_leads_there(text: str, path: tuple[str | int, ...], value: Any) -> None:
    place = find(CONFIG, text)
    assert place.path == path and (value is ... or place.value == value)
    assert locate(CONFIG, path).value == place.value


@settings(deadline=None)
@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from(["backends", "0", "a", "url", "x", "", "model_aliases"])).map(".".join)
    )
)
def test_any_path_leads_somewhere_or_is_refused_in_words(text: str) -> None:
    with contextlib.suppress(PathError):
        place = find(CONFIG, text)
        assert locate(CONFIG, place.path) == place
    completions(CONFIG, text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("5", 5),
        ("-5", -5),
        ("0660", "0660"),
        ("1.5", 1.5),
        ("30s", "30s"),
        ("null", None),
        ("'5'", "5"),
        ('"a\\tb"', "a\tb"),
        ("[a, 5, '5', [x]]", ["a", 5, "5", ["x"]]),
        ("{id: big, window: 4096, on: true}", {"id": "big", "window": 4096, "on": True}),
        ("a: b # c", "a: b # c"),
        ("*", "*"),
        ("qwen3:8b", "qwen3:8b"),
        ("", ""),
    ],
)
def test_a_typed_value_is_what_it_looks_like(text: str, value: Any) -> None:
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


@settings(deadline=None)
@given(st.text())
def test_any_typed_value_is_read_or_refused_and_can_be_written(text: str) -> None:
    try:
        value = parse_value(text)
    except PathError:
        return
    assert short_text(value) is not None
    changed = edit("a: 1\n", [Set(("b",), value)])
    assert isinstance(meaning(changed), dict)


def test_what_is_shown_can_be_read_again() -> None:
    for everything in (False, True):
        shown = table(find(CONFIG, ""), meaning(TEXT), everything=everything)
        again = load("\n".join(lines(shown)), {})
        assert msgspec.structs.replace(again, warnings=()) == msgspec.structs.replace(CONFIG, warnings=())
        json.dumps(shown.values)
    empty = table(find(Config(), ""), None, everything=True)
    assert load("\n".join(lines(empty)), {}).server == Config().server
    assert empty.remarks[("timeouts", "drain")] == "default"
    assert table(find(Config(), ""), None, everything=False).values == {}


def test_a_default_that_is_given_is_shown_as_given() -> None:
    config = load("timeouts: {drain: 30s}\n", {})
    shown = table(find(config, ""), meaning("timeouts: {drain: 30s}\n"), everything=False)
    assert (shown.values, shown.remarks) == ({"timeouts": {"drain": 30}}, {})


@pytest.mark.parametrize(
    ("path", "value", "items"),
    [
        ("backends.0.api_key", "${X}", []),
        ("backends.0.api_key", "a${X}", ["backends.0.api_key"]),
        ("backends.0.api_key", None, []),
        ("backends.0.headers", {"X-Team": "red", "X-Token": "abc"}, ["backends.0.headers.X-Token"]),
        ("backends.0.proxy", "http://p:1", []),
        ("backends.0.proxy", "http://u:${P}@p:1", []),
        ("backends", [{"api_key": "x"}, {"api_key": "${Y}"}], ["backends.0.api_key"]),
        ("backends", {"api_key": "x"}, ["backends.api_key"]),
        ("rate_limiting.bypass_keys", ["x", "${Y}"], ["rate_limiting.bypass_keys.0"]),
        ("admin.auth", {"token": "x", "password": "y"}, ["admin.auth.token", "admin.auth.password"]),
        ("web_fetch.user_agent", "me", []),
        ("timeouts", {"nonsense": "x"}, []),
    ],
)
def test_secrets_among_typed_values_are_found(path: str, value: Any, items: list[str]) -> None:
    assert [dotted(literal_secret) for literal_secret in literal_secrets(find(CONFIG, path), value)] == items


def test_time_to_find_a_setting_grows_linearly_with_the_config() -> None:
    def config(size: int) -> Config:
        backends = tuple(BackendSettings(name=f"b{number}", type="ollama") for number in range(size))
        return Config(backends=backends, model_aliases={f"name-{number}": ("x",) for number in range(size)})

    paths = ("backends.b0.url", "backends.0.url", "model_aliases.name-0", "model_aliases.unknown")
    assert_linear(config, lambda made: [find(made, path) for path in paths], size=1000, bound=MAX_VALUES)
    assert_linear(config, lambda made: completions(made, "model_aliases.name-1"), size=1000, bound=MAX_VALUES)


def test_prices_are_shown_as_they_are_set() -> None:
    shown = table(find(CONFIG, "prices"), meaning(TEXT)["prices"], everything=False)
    assert shown.values == {
        "a.b/gpt-4.1": {"input": 1.5, "output": 8, "tiers": [{"input": 2, "output": 9, "above": 5}]}
    }
