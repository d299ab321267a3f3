"""Secrets: what `${NAME}` becomes, and that no secret is ever printed."""

from __future__ import annotations

import pytest
from growth import assert_linear

from byway.config import load
from byway.scrub import Scrubber
from byway.secrets.names import expand, mask


@pytest.mark.parametrize(
    ("text", "value", "missing"),
    [
        ("plain $HOME $5 {x}", "plain $HOME $5 {x}", ()),
        ("${A}", "one", ()),
        ("Bearer ${A}/${B}", "Bearer one/${A}", ()),
        ("${NO}", "", ("NO",)),
        ("${NO}-${NO}-${NEITHER}", "--", ("NO", "NEITHER")),
        ("${EMPTY}", "", ("EMPTY",)),
        ("${NO:-else}", "else", ()),
        ("${EMPTY:-else}", "else", ()),
        ("${A:-else}", "one", ()),
        ("${NO:-}", "", ()),
        ("${NO:-http://x:1}", "http://x:1", ()),
        ("$${A}", "${A}", ()),
        ("$${A} ${A}", "${A} one", ()),
        ("${A", "${A", ()),
        ("${}", "", ("",)),
        ("${ A }", "one", ()),
        ("${with-dash}", "", ("with-dash",)),
    ],
)
def test_variables_are_replaced_once_and_missing_ones_are_named(text, value, missing):
    environ = {"A": "one", "B": "${A}", "EMPTY": ""}
    assert expand(text, environ) == (value, missing)


def test_a_mask_shows_the_kind_and_the_last_four_of_a_long_secret_only():
    assert mask("sk-ant-api03-abcdefghijkl1a2b") == "sk-…1a2b"
    assert mask("abcdefghijklmnopqrst") == "…qrst"
    assert mask("sk-short") == "***"
    assert mask("") == "***"


def test_the_scrubber_replaces_configured_secrets_longest_first():
    scrubber = Scrubber(["hunter2hunter2", "hunter2hunter2-admin", "tiny"])
    assert scrubber.scrub("key hunter2hunter2-admin or hunter2hunter2, tiny") == "key [secret] or [secret], tiny"


def test_secrets_with_special_characters_are_literal():
    assert Scrubber(["a.c+(d)[e]"]).scrub("a.c+(d)[e] abc+(d)[e]") == "[secret] abc+(d)[e]"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-ant-api03-AbCdEf0123456789",
        "sk-proj-abcdefghijk1",
        "xai-0123456789abcdef",
        "AIzaSyA0123456789abcdefghijk",
        "gsk_0123456789abcdef",
        "hf_0123456789abcdef",
    ],
)
def test_a_text_in_the_form_of_a_key_is_masked_without_being_configured(secret):
    assert (
        Scrubber().scrub(f'{{"error": "Incorrect API key: {secret}."}}') == '{"error": "Incorrect API key: [secret]."}'
    )


def test_a_bearer_token_is_masked_and_words_are_not():
    scrub = Scrubber().scrub
    assert scrub("Authorization: Bearer abc123.def-456==") == "Authorization: Bearer [secret]"
    for text in (
        "Bearer authentication is required",
        "use sk-your-key-goes-here",
        "task-runner-number-one",
        "hf_hub_download",
    ):
        assert scrub(text) == text


@pytest.mark.parametrize("part", ["sk-", "Bearer ", "sk-a ", "://a:b@", "secret-number-9"])
def test_scrubbing_is_linear_in_the_text(part):
    scrub = Scrubber(f"secret-number-{n}" for n in range(100)).scrub
    assert_linear(lambda size: part * size, scrub)


CONFIG = """
server: {bind_address: 127.0.0.1:1}
backends:
  - name: a
    type: openai
    api_key: first-secret
    headers: {X-Api-Token: second-secret, X-Plain: not-hidden}
    proxy: http://user:third-secret@proxy.example.org:3128
  - {name: b, type: anthropic, api_key: "${FROM_OUTSIDE}"}
api_keys:
  api_keys: [{key: fifth-secret}]
web_search: {enabled: true, provider: exa, api_key: sixth-secret}
admin: {auth: {method: bearer_token, token: seventh-secret}}
rate_limiting: {bypass_keys: [eighth-secret]}
"""


def test_every_secret_of_a_config_is_known_to_the_scrubber_and_absent_from_its_repr():
    config = load(CONFIG, {"FROM_OUTSIDE": "fourth-secret"})
    ordinals = "first second third fourth fifth sixth seventh eighth".split()
    assert set(config.secrets) == {f"{ordinal}-secret" for ordinal in ordinals}
    assert not [value for value in ordinals if f"{value}-secret" in repr(config)]
