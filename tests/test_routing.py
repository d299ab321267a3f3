"""Aliases: which targets a name leads to, and what is said when it leads nowhere."""

import pytest
from growth import assert_linear

from byway.config.document import MAX_VALUES
from byway.problems import Problem
from byway.routing.route import RoutingTable, ServedModels, TargetName, family, implied_aliases

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


def targets_of(name, aliases=ALIASES, served=(LOCAL, CLOUD), turn=0):
    return [(target.backend, target.model) for target in RoutingTable(served, aliases).route(name, turn).targets]


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
    assert targets_of("claude-sonnet-4-6") == [("cloud", "claude-sonnet-4-6")]
    assert targets_of("org/llama") == [("local", "org/llama")]


def test_exact_alias_then_longest_glob_then_family_then_default():
    assert targets_of("claude-opus-5-5") == [("cloud", "gpt-5.2")]
    assert targets_of("gpt-4o") == [("local", "qwen3-coder")]
    assert targets_of("gpt-3.5") == [("local", "org/llama")]
    assert targets_of("claude-haiku-4-5-20251001") == [("local", "qwen3-coder")]
    assert targets_of("whatever") == [("local", "org/llama")]


def test_a_window_suffix_does_not_hide_the_name():
    assert targets_of("claude-opus-5-5[1m]") == [("cloud", "gpt-5.2")]
    assert targets_of("qwen3-coder[1m]") == [("local", "qwen3-coder")]
    assert targets_of("cloud/gpt-5.2[1m]") == [("cloud", "gpt-5.2")]
    listed = ServedModels("local", ("tiny[q4]",))
    assert RoutingTable((listed,), {}).route("local/tiny[q4]").targets == (TargetName("local", "tiny[q4]"),)


def test_an_alias_may_lead_to_several_targets_in_order():
    assert targets_of("claude-sonnet-5-5") == [("local", "qwen3-coder"), ("cloud", "claude-sonnet-4-6")]


def test_a_pin_names_the_backend_and_a_slash_in_a_model_is_no_pin():
    assert RoutingTable((LOCAL, CLOUD), {"x": ("cloud/not-listed",)}).route("x").targets == (
        TargetName("cloud", "not-listed"),
    )
    assert RoutingTable((LOCAL, CLOUD), {"x": ("org/llama",)}).route("x").targets == (TargetName("local", "org/llama"),)


def test_the_claude_shaped_id_of_a_local_model_leads_to_it():
    assert targets_of("claude-byway-qwen3-coder") == [("local", "qwen3-coder")]
    assert targets_of("claude-byway-org/llama") == [("local", "org/llama")]


def test_the_alias_that_led_there_is_named():
    assert RoutingTable((LOCAL, CLOUD), ALIASES).route("sonnet").alias == "sonnet"
    assert RoutingTable((LOCAL, CLOUD), ALIASES).route("qwen3-coder").alias == ""


def test_backends_with_the_same_model_take_turns_by_weight():
    served = (ServedModels("a", ("m",), 2), ServedModels("b", ("m",), 1))
    firsts = [RoutingTable(served, {}).route("m", turn).targets[0].backend for turn in range(6)]
    assert firsts == ["a", "a", "b", "a", "a", "b"]
    assert {target.backend for target in RoutingTable(served, {}).route("m", 2).targets} == {"a", "b"}


def test_the_same_turn_stays_at_the_same_backend():
    served = (ServedModels("a", ("m",)), ServedModels("b", ("m",)), ServedModels("c", ("m",)))
    assert len({RoutingTable(served, {}).route("m", 77).targets for _ in range(5)}) == 1


def test_a_backend_that_has_not_said_what_it_serves_may_serve_anything():
    silent = ServedModels("late", None)
    assert targets_of("new-model", {}, (LOCAL, silent)) == [("late", "new-model")]
    assert targets_of("sonnet", {"default": ("new-model",)}, (LOCAL, silent)) == [("late", "new-model")]


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
    assert targets_of("claude-haiku-4-5", {"haiku": ("gone",), "default": ("qwen3-coder",)}) == [
        ("local", "qwen3-coder")
    ]


def test_a_backend_without_a_list_is_not_tried_for_unknown_names_when_aliases_exist():
    unlisted = ServedModels("late", None)
    with pytest.raises(Problem) as caught:
        RoutingTable((LOCAL, unlisted), {"haiku": ("qwen3-coder",)}).route("new-model")
    assert caught.value.kind == "not_found" and "late" in caught.value.message


# --- self-hosted and cloud --------------------------------------------------------------------------------------------

HERE = ServedModels("here", ("m", "gpt-oss:120b-cloud", "glm:cloud"), cloud_suffixes=("-cloud", ":cloud"))
HERE_TOO = ServedModels("here-too", ("m",))
FAR = ServedModels("far", ("m", "gpt-oss:120b-cloud", "glm:cloud", "far-only"), self_hosted=False)


def backends(name, aliases=None, served=(HERE, FAR, HERE_TOO), turns=12):
    """The orders of backends over some turns."""
    table = RoutingTable(served, aliases or {})
    return {tuple(target.backend for target in table.route(name, turn).targets) for turn in range(turns)}


def test_a_model_of_both_goes_to_the_self_hosted_backends_alone():
    assert backends("m") == {("here", "here-too"), ("here-too", "here")}
    assert backends("x", {"default": ("m",)}) == {("here", "here-too"), ("here-too", "here")}


def test_an_alias_that_names_the_cloud_target_leads_to_it_last():
    assert backends("x", {"default": ("here/m", "far/m")}) == {("here", "far")}


def test_a_model_that_only_a_cloud_serves_goes_to_it():
    assert backends("far-only") == {("far",)}


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "glm:cloud"])
def test_a_cloud_model_of_a_self_hosted_server_is_balanced_with_clouds(model):
    assert backends(model) == {("here", "far"), ("far", "here")}
    local = ServedModels("local", (model,))
    assert backends(model, served=(HERE, FAR, local)) == {("local",)}


def test_an_unknown_name_is_tried_at_self_hosted_backends_alone():
    served = (ServedModels("far", None, self_hosted=False), ServedModels("here", None))
    assert backends("new", served=served) == {("here",)}
    assert backends("new", served=served[:1]) == {("far",)}


# --- implied default ----------------------------------------------------------------------------------------------------


def test_the_only_model_of_the_only_backend_is_the_implied_default():
    assert implied_aliases((ServedModels("box", ("qwen3",)),)) == {"default": ("box/qwen3",)}


def test_the_only_model_of_two_backends_is_balanced_by_the_implied_default():
    served = (ServedModels("a", ("qwen3",)), ServedModels("b", ("qwen3",)), ServedModels("empty", ()))
    assert implied_aliases(served) == {"default": ("qwen3",)}


@pytest.mark.parametrize("served", [(), (LOCAL,), (ServedModels("a", ("m",)), ServedModels("late", None))])
def test_no_default_is_implied_when_it_would_be_a_guess(served):
    assert implied_aliases(served) == {}


def test_a_name_of_no_list_is_tried_at_three_backends_those_that_answer_first():
    served = [ServedModels(f"dead-{number}", None, failed=True) for number in range(24)]
    targets = RoutingTable((*served, ServedModels("late", None)), {"opus": ("new",)}).route("opus").targets
    assert [target.backend for target in targets] == ["late", "dead-0", "dead-1"]
    with pytest.raises(Problem) as caught:
        RoutingTable(served, {"opus": ("new",)}).route("other")
    assert "dead-19 and 4 more" in caught.value.message and "dead-20" not in caught.value.message


# --- work -------------------------------------------------------------------------------------------------------------


def test_the_work_for_names_grows_linearly_with_served_models():
    def make(size):
        return [ServedModels("a", tuple(f"m{number}" for number in range(size))), ServedModels("b", ("other",))]

    def run(served):
        # Several times, so that it is measured at a size that fits the caches of the processor.
        for _ in range(10):
            table = RoutingTable(served, {"default": ("other",)})
            for number in range(10):
                table.route(f"m{number}")
                table.route(f"unknown-{number}")

    assert_linear(make, run, 500)


def test_the_work_for_a_name_does_not_depend_on_served_models():
    """Counted, because a lookup is too fast to measure: the table reads no list of models after it was made."""

    class Counting(tuple):
        reads = 0

        def __iter__(self):
            Counting.reads += 1
            return super().__iter__()

        def __contains__(self, item):
            Counting.reads += 1
            return super().__contains__(item)

    served = ServedModels("a", Counting(f"m{number}" for number in range(1000)))
    table = RoutingTable((served,), {"default": ("m1",), "gpt-*": ("m2",)})
    before = Counting.reads
    for name in ("m7", "unknown", "gpt-5", "a/m3"):
        table.route(name)
    assert Counting.reads == before


def test_the_work_for_a_name_grows_linearly_with_the_targets_of_an_alias():
    def make(size):
        models = tuple(f"m{number}" for number in range(size))
        return RoutingTable((ServedModels("a", models),), {"default": models})

    assert_linear(make, lambda table: table.route("x"))


def test_the_work_for_a_name_grows_linearly_with_patterns():
    def make(size):
        aliases = {f"gpt-{number}-*": ("m",) for number in range(size)}
        return RoutingTable((ServedModels("a", ("m",)),), aliases | {"default": ("m",)})

    tables = {}

    def prepared(size):
        # Patterns are compiled once: fnmatch remembers 32,768 of them.
        if size not in tables:
            tables[size] = make(size)
            tables[size].route("x")
        return tables[size]

    assert_linear(prepared, lambda table: table.route("x"), size=500, bound=MAX_VALUES)


@pytest.mark.parametrize("unit", ["[", "]", "a", "*", "[]", "/"])
def test_a_long_name_is_unknown_and_its_family_takes_linear_work(unit):
    with pytest.raises(Problem, match="the limit is 1,000"):
        RoutingTable((LOCAL,), ALIASES).route(unit * 1_000_000)
    assert_linear(lambda size: unit * size, family, size=10_000)


def test_a_name_of_stars_does_not_make_a_pattern_slow():
    aliases = {"*".join("a" * 20) + "*b": ("qwen3-coder",), "default": ("org/llama",)}
    assert targets_of("a" * 1000, aliases) == [("local", "org/llama")]
