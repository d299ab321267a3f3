"""Vendors and protocols are complete in their one place: nothing else names them, and lists are derived."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner

from byway import config
from byway.admin.backends import KINDS
from byway.backend import PROTOCOLS, Backend, protocol_of
from byway.backends.openai import completions
from byway.backends.protocol import Target
from byway.backends.vendors import (
    EFFORTS,
    SPELLINGS,
    VENDORS,
    ProtocolName,
    ProtocolSetting,
    Vendor,
    api_root,
    thinking_rule,
    vendor_of_url,
)
from byway.call import Call
from byway.cli.main import byway
from byway.config import TimeoutSettings
from byway.config.settings import BackendSettings
from byway.messages.request import parse
from byway.secrets.names import ENTRIES

SOURCE = Path(__file__).parent.parent / "src" / "byway"
DOCS = Path(__file__).parent.parent / "docs"


def test_each_protocol_has_a_module_and_each_vendor_a_protocol() -> None:
    settings = set(get_args(ProtocolSetting)) - {"auto"}
    reachable = {vendor.by(setting).protocol for vendor in VENDORS.values() for setting in settings}
    assert set(PROTOCOLS) == set(get_args(ProtocolName)) == reachable


@pytest.mark.parametrize("vendor", VENDORS.values(), ids=lambda vendor: vendor.name)
def test_a_row_is_all_that_a_vendor_needs(vendor: object) -> None:
    row = VENDORS[getattr(vendor, "name")]  # noqa: B009
    assert re.fullmatch("[a-z0-9]+", row.name) and row.title
    assert (row.name in ENTRIES) == (not row.self_hosted), "a cloud has a secret of its own"
    assert (row.name in KINDS) == (not row.managed), "a server that Byway does not run can be added on the page"
    assert BackendSettings(name="x", type=row.name).managed == row.managed
    rules = (*row.thinking, *(row.messages.thinking if row.messages else ()))
    names = (*(rule.models for rule in rules), *(known.models for known in row.known_models))
    for pattern in (*names, row.no_parallel_flag, row.complete_urls, row.key_pattern):
        re.compile(pattern)
    for rule in rules:
        assert len(rule.words) in (0, len(EFFORTS)), "one word for each effort of the Messages API"
    assert f"| `{row.name}` |" in (DOCS / "config.md").read_text(encoding="utf-8"), "run python docs/generate.py"
    if row.protocol == "openai":
        body = (
            b'{"model":"m","max_tokens":9,"thinking":{"type":"adaptive"},"messages":[{"role":"user","content":"Hi"}]}'
        )
        assert completions.request(parse(body, {}, "msg_1"), Target("box", "m", row)).path == "/v1/chat/completions"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_a_type_means_its_vendor(spelling: str) -> None:
    assert spelling not in VENDORS
    backends = config.load(f"backends: [{{type: {spelling}, url: 'http://127.0.0.1:9'}}]", {}).backends
    assert backends[0].type == SPELLINGS[spelling]


def test_openrouter_needs_no_url() -> None:
    backend = config.load("backends: [{type: openrouter, api_key: sk-or-0123456789abcdef}]", {}).backends[0]
    assert (backend.name, backend.url) == ("openrouter", "https://openrouter.ai/api")


@pytest.mark.parametrize(
    ("url", "name", "base", "path"),
    [
        ("https://api.z.ai/api/coding/paas/v4", "zaicoding", "https://api.z.ai", "/api/coding/paas/v4"),
        ("https://open.bigmodel.cn/api/paas/v4", "zai", "https://open.bigmodel.cn", "/api/paas/v4"),
        ("https://api.z.ai/api/anthropic", "zai", "https://api.z.ai", "/api/paas/v4"),
        ("https://api.groq.com/openai", "groq", "https://api.groq.com", "/openai/v1"),
        ("https://api.kimi.com/coding", "kimicode", "https://api.kimi.com", "/coding/v1"),
        ("https://openrouter.ai/api", "openrouter", "https://openrouter.ai/api", "/v1"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai",
            "gemini",
            "https://generativelanguage.googleapis.com",
            "/v1beta/openai",
        ),
        ("https://r.openai.azure.com", "azure", "https://r.openai.azure.com", "/openai/v1"),
        (
            "https://r.openai.azure.com/openai/deployments/prod?api-version=2024-10-21",
            "azure",
            "https://r.openai.azure.com/openai/deployments/prod?api-version=2024-10-21",
            "",
        ),
        (
            "https://ark.cn-beijing.volces.com/api/coding/v3",
            "arkcoding",
            "https://ark.cn-beijing.volces.com",
            "/api/coding/v3",
        ),
    ],
)
def test_an_address_means_its_vendor_and_contains_the_path_of_the_api(
    url: str, name: str, base: str, path: str
) -> None:
    vendor = vendor_of_url(url)
    assert vendor is not None and vendor.name == name
    assert api_root(vendor, url) == (base, path)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/v1",
        "http://127.0.0.1:8000",
        "unix:/run/x.sock",
        "https://api.z.ai.example.org",
        "https://[::1",
    ],
)
def test_an_unknown_address_means_no_vendor(url: str) -> None:
    assert vendor_of_url(url) is None


def test_the_command_of_a_warning_sets_the_type_of_a_known_address(tmp_path: Path) -> None:
    file = tmp_path / "byway.yaml"
    file.write_text(
        "backends:\n  - {type: anthropic, url: 'https://api.deepseek.com/anthropic'}  # mine\n", encoding="utf-8"
    )
    warning = config.load(file.read_text(encoding="utf-8"), {}).warnings[0].message
    for line in warning.partition("`")[2].rstrip("`").split(" && "):
        words = line.split()
        assert words[0] == "byway"
        done = CliRunner().invoke(byway, [*words[1:], "--config", str(file), "--data-dir", str(tmp_path)])
        assert done.exit_code == 0, done.output
    text = file.read_text(encoding="utf-8")
    assert config.load(text, {}).warnings == () and "# mine" in text
    assert config.load(text, {}).backends[0].protocol == "anthropic"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{type: generic, url: 'https://openrouter.ai/api/v1', models: [m]}", "Set type: openrouter"),
        (
            "{type: anthropic, url: 'https://api.deepseek.com/anthropic'}",
            "Set type: deepseek, so that Byway sends what it accepts, with ",
        ),
        ("{type: zai, url: 'https://api.z.ai/api/coding/paas/v4'}", "so the type is zaicoding"),
        ("{type: azure, url: 'https://r.openai.azure.com'}", "name them under models"),
        ("{type: moonshot, api_key: sk-kimi-0123456789abcdef}", "Set type: kimicode"),
    ],
)
def test_the_config_check_names_the_type_of_a_known_address(text: str, words: str) -> None:
    warnings = [problem.message for problem in config.load(f"backends: [{text}]", {}).warnings]
    assert len(warnings) == 1 and words in warnings[0]


@pytest.mark.parametrize(
    "text",
    ["{type: zai}", "{type: generic, url: 'http://127.0.0.1:8000'}", "{type: zai, url: 'https://open.bigmodel.cn'}"],
)
def test_the_right_type_of_an_address_gets_no_warning(text: str) -> None:
    assert config.load(f"backends: [{text}]", {}).warnings == ()


@pytest.mark.parametrize(
    "vendor", [row for row in VENDORS.values() if row.hosts and row.url], ids=lambda vendor: vendor.name
)
def test_the_usual_address_of_a_vendor_is_recognised_as_its_own(vendor: Vendor) -> None:
    address = f"{vendor.url}{vendor.prefix}"
    for url in (address, f"{vendor.twin}{vendor.prefix}" if vendor.twin else address):
        found_vendor = vendor_of_url(url)
        assert found_vendor is not None and found_vendor.name == vendor.name
        assert api_root(vendor, url) == (url.removesuffix(vendor.prefix), vendor.prefix)


def test_calls_of_azure_have_the_version_of_the_api_in_their_query() -> None:
    url = "https://r.openai.azure.com/openai/deployments/prod?api-version=2024-10-21"
    backend = Backend(
        config.load(
            f"backends: [{{type: azure, url: '{url}', models: [prod], api_key: sesame-0123456789}}]", {}
        ).backends[0],
        TimeoutSettings(),
        1,
    )
    assert backend.upstream is not None
    head = backend.upstream._build_head(Call("POST", "/v1/chat/completions"))
    assert head.startswith(b"POST /openai/deployments/prod/chat/completions?api-version=2024-10-21 HTTP/1.1\r\n")
    assert backend.credential.headers == (("api-key", "sesame-0123456789"),)


@pytest.mark.parametrize("query", ["key=secret-0123456789", "api-version=1&key=x", "api-version="])
def test_another_query_in_an_address_is_rejected(query: str) -> None:
    with pytest.raises(config.ConfigError):
        config.load(f"backends: [{{type: azure, url: 'https://r.openai.azure.com/?{query}', models: [m]}}]", {})


def test_every_module_of_the_package_is_in_the_registry() -> None:
    folder = SOURCE / "backends" / "vendors"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "vendor", "registry", "templates"}
    text = (folder / "registry.py").read_text(encoding="utf-8")
    assert {name for name in modules if f"{name}.VENDOR" not in text} == set()
    for name in modules:
        assert "seen 2026-" in (folder / f"{name}.py").read_text("utf-8") or name in (
            "anthropic",
            "generic",
            "mlxcel",
        ), "cite sources"


@pytest.mark.parametrize(
    ("models", "words", "off"),
    [
        (("gpt-5.6-terra", "gpt-6-sol", "gpt-6.1-sol"), "low medium high xhigh max", "none"),
        (("gpt-5.2", "gpt-5.4-mini", "gpt-5.5"), "low medium high xhigh xhigh", "none"),
        (("gpt-5.1", "gpt-5.1-codex"), "low medium high high high", "none"),
        (("gpt-5", "gpt-5-mini"), "low medium high high high", "minimal"),
        (("o3", "o4-mini"), "low medium high high high", "low"),
        (("gpt-6-astra", "gpt-7-astra"), "low medium high xhigh max", "low"),
    ],
)
def test_openai_s_models_have_their_ladder_of_efforts(models: tuple[str, ...], words: str, off: str) -> None:
    for model in models:
        rule = thinking_rule(VENDORS["openai"].thinking, model)
        assert rule is not None and (" ".join(rule.words), rule.off["reasoning_effort"]) == (words, off), model


@pytest.mark.parametrize(
    ("vendor", "models", "words"),
    [
        ("deepseek", ("deepseek-flash", "deepseek-v5"), "low high high high max"),
        ("moonshot", ("kimi-k3", "kimi-k3.1-pro", "kimi-k4"), "low high high max max"),
        ("zai", ("glm-5.2",), "high high high max max"),
        ("zai", ("glm-5.3", "glm-5.3-flash", "glm-6"), "low high high max max"),
        ("minimax", ("MiniMax-M2", "MiniMax-M2.5"), "low medium high high high"),
        ("minimax", ("MiniMax-M3.1-Flash", "MiniMax-M4", "MiniMax-M3.2"), "low medium high xhigh max"),
        ("minimax", ("MiniMax-M3", "MiniMax-M3-highspeed"), ""),
        (
            "fireworks",
            ("accounts/fireworks/models/glm-5p1", "accounts/fireworks/models/glm-5p2"),
            "high high high max max",
        ),
        (
            "fireworks",
            ("accounts/fireworks/models/glm-5p3-flash", "accounts/fireworks/models/glm-6"),
            "low high high max max",
        ),
        ("fireworks", ("accounts/fireworks/models/kimi-k2p6", "deepseek-v4-pro"), "low medium high high high"),
        ("dashscope", ("qwen3.8-max", "qwen3.9", "qwen4-max"), "low medium medium xhigh xhigh"),
        ("gemini", ("gemini-3-pro",), "low low high high high"),
        (
            "gemini",
            ("gemini-3.1-pro", "gemini-3.8-flash", "gemini-2.5-flash", "gemini-4-argon"),
            "low medium high high high",
        ),
        ("xai", ("grok-4.3", "grok-4.5"), "low medium high high high"),
        ("xai", ("grok-4.6", "grok-4.7", "grok-5"), "low medium high xhigh xhigh"),
        ("mistral", ("mistral-small-2603", "mistral-medium-latest"), "high high high high high"),
        ("groq", ("qwen/qwen3-32b",), "default default default default default"),
        ("openrouter", ("openai/gpt-6-sol", "google/gemini-4"), "low medium high xhigh max"),
    ],
)
def test_models_of_other_vendors_have_their_ladder_of_efforts(vendor: str, models: tuple[str, ...], words: str) -> None:
    for model in models:
        rule = thinking_rule(VENDORS[vendor].thinking, model)
        assert rule is not None and " ".join(rule.words) == words, model


PAGES = sorted(DOCS.glob("vendors-*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_configs_of_the_vendors_pages_load_without_a_warning(page: Path) -> None:
    for block in page.read_text(encoding="utf-8").split("```yaml\n")[1:]:
        text = block.partition("```")[0]
        environ = {name: f"sk-0123456789-{name}" for name in re.findall(r"\$\{(\w+)\}", text)}
        loaded = config.load(text, environ)
        assert loaded.warnings == () and all(not backend.off for backend in loaded.backends)


def test_every_vendor_is_on_a_page_of_the_documentation() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = {row.name for row in VENDORS.values()} - set(re.findall(r"(?:type: |`)(\w+)", text))
    assert missing <= {"anthropic", "generic"}


def test_the_table_of_vendors_is_that_of_the_fakes() -> None:
    fill = runpy.run_path(str(DOCS / "generate.py"))["fill"]
    page = (DOCS / "vendors.md").read_text(encoding="utf-8")
    assert fill(page) == page, "run python docs/generate.py"


@pytest.mark.parametrize("setting", get_args(ProtocolSetting))
def test_a_refused_key_names_the_other_region_of_the_vendor(setting: ProtocolSetting) -> None:
    body = b'{"error":{"message":"Invalid Authentication","type":"invalid_authentication_error"}}'
    target = Target("box", "kimi-k3", VENDORS["moonshot"].by(setting))
    problem = protocol_of(target).problem(401, {}, body, target)
    assert problem.kind == "refused" and "https://api.moonshot.cn" in problem.message


def test_a_deployment_is_called_like_the_model_that_it_stands_for() -> None:
    models = "[{id: team, like: gpt-5.6}, other]"
    text = f"backends: [{{type: azure, url: 'https://r.openai.azure.com', protocol: chat, models: {models}}}]"
    backend = Backend(config.load(text, {}).backends[0], TimeoutSettings(), 1)
    tool = {"name": "Read", "input_schema": {"type": "object"}}
    fields = {"model": "m", "max_tokens": 9, "tools": [tool], "messages": [{"role": "user", "content": "Hi"}]}
    body = json.dumps(fields).encode()
    efforts = []
    for model in ("team", "other"):
        sent = json.loads(completions.request(parse(body, {}, "msg_1"), backend.registry.target(model)).body)
        assert sent["model"] == model
        efforts.append(sent.get("reasoning_effort"))
    assert efforts == ["none", None]
    assert backend.registry.get("team").window == 922_000


def test_a_deployment_is_called_by_responses_where_its_model_needs_that() -> None:
    text = "backends: [{type: azure, url: 'https://r.openai.azure.com', models: [{id: team, like: gpt-5.6}]}]"
    backend = Backend(config.load(text, {}).backends[0], TimeoutSettings(), 1)
    assert protocol_of(backend.registry.target("team")) is PROTOCOLS["responses"]()
