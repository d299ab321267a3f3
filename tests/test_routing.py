"""Aliases: which targets a name leads to, and what is said when it leads nowhere."""

import pytest

from byway.problems import Problem
from byway.routing.route import RoutingTable, ServedModels, TargetName, family

LOCAL = ServedModels("local", ("qwen3-coder", "org/llama"))
CLOUD = ServedModels("cloud", ("claude-sonnet-4-6", "gpt-5.2"))
ALIASES = {
    "haiku": ("qwen3-coder",),
    "sonnet": ("local/qwen3-coder", "cloud/claude-sonnet-4-6"),
    "claude-opus-5-5": ("gpt-5.2",),
    "gpt-*": ("org/llama",),
    "gpt-4*": ("qwen3-coder",),
    "default": ("org/llama",),
}


def places(name, aliases=ALIASES, served=(LOCAL, CLOUD), turn=0):
    return [(place.backend, place.model) for place in RoutingTable(served, aliases).route(name, turn).targets]


@pytest.mark.parametrize(
    ("name", "slot"),
    [
        ("claude-haiku-4-5-20251001", "haiku"),
        ("claude-opus-5-5[1m]", "opus"),
        ("sonnet", "sonnet"),
        ("SONNET[1m]", "sonnet"),
        ("claude-fable-5-2", "fable"),
        ("anthropic/claude-3-5-sonnet", "sonnet"),
        ("claude-3-5-sonnet-20241022", "sonnet"),
        ("my-sonnet-clone", None),
        ("claude-2.1", None),
        ("qwen3", None),
    ],
)
def test_family_of_claude_names(name, slot):
    assert family(name) == slot


def test_a_models_own_name_comes_before_an_alias():
    assert places("claude-sonnet-4-6") == [("cloud", "claude-sonnet-4-6")]
    assert places("org/llama") == [("local", "org/llama")]


def test_exact_alias_then_longest_glob_then_family_then_default():
    assert places("claude-opus-5-5") == [("cloud", "gpt-5.2")]
    assert places("gpt-4o") == [("local", "qwen3-coder")]
    assert places("gpt-3.5") == [("local", "org/llama")]
    assert places("claude-haiku-4-5-20251001") == [("local", "qwen3-coder")]
    assert places("whatever") == [("local", "org/llama")]


def test_a_window_suffix_does_not_hide_the_name():
    assert places("claude-opus-5-5[1m]") == [("cloud", "gpt-5.2")]
    assert places("qwen3-coder[1m]") == [("local", "qwen3-coder")]


def test_an_alias_may_lead_to_several_targets_in_order():
    assert places("claude-sonnet-5-5") == [("local", "qwen3-coder"), ("cloud", "claude-sonnet-4-6")]


def test_a_pin_names_the_backend_and_a_slash_in_a_model_is_no_pin():
    assert RoutingTable((LOCAL, CLOUD), {"x": ("cloud/not-listed",)}).route("x").targets == (
        TargetName("cloud", "not-listed"),
    )
    assert RoutingTable((LOCAL, CLOUD), {"x": ("org/llama",)}).route("x").targets == (TargetName("local", "org/llama"),)


def test_the_claude_shaped_id_of_a_local_model_leads_to_it():
    assert places("claude-byway-qwen3-coder") == [("local", "qwen3-coder")]
    assert places("claude-byway-org/llama") == [("local", "org/llama")]


def test_the_alias_that_led_there_is_named():
    assert RoutingTable((LOCAL, CLOUD), ALIASES).route("sonnet").alias == "sonnet"
    assert RoutingTable((LOCAL, CLOUD), ALIASES).route("qwen3-coder").alias == ""


def test_backends_with_the_same_model_take_turns_by_weight():
    served = (ServedModels("a", ("m",), 2), ServedModels("b", ("m",), 1))
    firsts = [RoutingTable(served, {}).route("m", turn).targets[0].backend for turn in range(6)]
    assert firsts == ["a", "a", "b", "a", "a", "b"]
    assert {place.backend for place in RoutingTable(served, {}).route("m", 2).targets} == {"a", "b"}


def test_the_same_turn_stays_at_the_same_backend():
    served = (ServedModels("a", ("m",)), ServedModels("b", ("m",)), ServedModels("c", ("m",)))
    assert len({RoutingTable(served, {}).route("m", 77).targets for _ in range(5)}) == 1


def test_a_backend_that_has_not_said_what_it_serves_may_serve_anything():
    silent = ServedModels("late", None)
    assert places("new-model", {}, (LOCAL, silent)) == [("late", "new-model")]
    assert places("sonnet", {"default": ("new-model",)}, (LOCAL, silent)) == [("late", "new-model")]


def test_an_unknown_name_is_told_the_models_and_the_setting():
    with pytest.raises(Problem) as caught:
        RoutingTable((LOCAL,), {}).route("claude-haiku-4-5")
    assert caught.value.kind == "not_found"
    for word in ("claude-haiku-4-5", "qwen3-coder", "org/llama", "model_aliases: {haiku: "):
        assert word in caught.value.message


def test_an_alias_that_leads_nowhere_is_named():
    with pytest.raises(Problem, match=r"model_aliases\.haiku.*gone"):
        RoutingTable((LOCAL,), {"haiku": ("gone",)}).route("claude-haiku-4-5")


def test_a_broken_alias_falls_through_to_the_next_that_fits():
    assert places("claude-haiku-4-5", {"haiku": ("gone",), "default": ("qwen3-coder",)}) == [("local", "qwen3-coder")]
