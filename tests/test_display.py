"""Quantities as text: sizes, durations, latencies, context windows, lists of names."""

from __future__ import annotations

import pytest

from byway import display


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (None, "unknown"),
        (12, "12 B"),
        (2_048, "2 kB"),
        (98_000_000, "98 MB"),
        (1_240_000_000, "1.2 GB"),
        (47e9, "47 GB"),
    ],
)
def test_sizes_have_decimal_units(count: float | None, shown: str) -> None:
    assert display.size(count) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(42.9, "42 s"), (185, "3 min 5 s"), (4_800, "1 h 20 min")])
def test_durations_have_two_units_at_most(seconds: float, shown: str) -> None:
    assert display.duration(seconds) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(0.04, "0.0 s"), (12.34, "12.3 s"), (185, "3 min 5 s")])
def test_the_time_of_a_step_has_tenths_of_a_second_below_a_minute(seconds: float, shown: str) -> None:
    assert display.elapsed(seconds) == shown


def test_latencies_are_in_seconds_from_ten_seconds_on() -> None:
    assert (display.latency(1_234.4), display.latency(12_345)) == ("1,234 ms", "12.3 s")


def test_windows_are_in_thousands_where_they_are_multiples_of_1024() -> None:
    assert (display.window(32_768), display.window(1_000_000)) == ("32k", "1,000,000")


def test_a_long_list_of_names_is_cut() -> None:
    assert display.listing(["a", "b"]) == "a, b"
    assert display.listing(list("abcdefg"), 2) == "a, b and 5 more"


def test_a_count_has_its_noun_in_singular_or_plural() -> None:
    assert (display.count(1, "model"), display.count(2, "model")) == ("1 model", "2 models")


def test_small_amounts_of_dollars_keep_their_digits() -> None:
    amounts = {None: "unknown", 0: "$0", 0.0012: "$0.0012", 0.00001: "<$0.0001", 0.05: "$0.05", 1234.5: "$1,234.50"}
    assert {amount: display.dollars(amount) for amount in amounts} == amounts
