"""The settings: what loads, what is refused and in which words, and that nothing else ever comes out."""

from __future__ import annotations

import contextlib
import datetime
import random
import runpy
from pathlib import Path

import msgspec
import pytest
from growth import assert_linear
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from properties import examples

from byway.backends.vendors import VENDORS
from byway.config import (
    ApiKeysSettings,
    BackendSettings,
    Config,
    ConfigError,
    KeySettings,
    LoggingSettings,
    ServerSettings,
    TimeoutSettings,
    TlsSettings,
    document,
    listen,
    load,
    load_keys,
    static_changes,
)
from byway.config.document import MAX_VALUES
from byway.config.notes import notes

ROOT = Path(__file__).parent.parent

# The samples of the reference router's documentation (facts/reference-router.md section 3), all of them in one file.
REFERENCE = r"""
server:
  bind_address: "0.0.0.0:8080"
  socket_mode: null
  workers: 4
  connection_pool_size: 100
model_metadata_file: "model-metadata.yaml"
backends:
  - name: my-self-hosted
    type: vllm
    url: http://localhost:11434
    api_key: "${BACKEND_API_KEY}"
    weight: 1
    models: [my-model]
selection_strategy: RoundRobin
health_checks:
  enabled: true
  interval: "30s"
  timeout: "10s"
  unhealthy_threshold: 3
  healthy_threshold: 2
  endpoint: "/v1/models"
  warmup_check_interval: "1s"
  max_warmup_duration: "300s"
web_search:
  enabled: true
  provider: brave
  api_key: "${BRAVE_API_KEY}"
  max_tool_iterations: 5
model_aliases: {haiku: my-model, sonnet: my-model, opus: my-model, default: my-model}
api_keys:
  mode: permissive
  api_keys:
    - {key: "${API_KEY_1}", id: one, user_id: u, organization_id: o, name: n,
       scopes: [read, write, files, admin], rate_limit: 1000, enabled: true, expires_at: "2025-12-31T23:59:59Z"}
    - {key: older-form-of-limits, rate_limit: {requests_per_second: 10, burst_capacity: 20}}
  api_keys_file: "/etc/continuum-router/api-keys.yaml"
rate_limiting:
  enabled: true
  storage: memory
  limits:
    per_client:  {requests_per_second: 10,   burst_capacity: 20}
    per_backend: {requests_per_second: 100,  burst_capacity: 200}
    global:      {requests_per_second: 1000, burst_capacity: 2000}
    per_api_key: {requests_per_second: 10,   burst_capacity: 20}
  whitelist: ["192.168.1.0/24", "10.0.0.1"]
  bypass_keys: ["admin-key-123"]
admin:
  auth: {method: bearer_token, token: "${ADMIN_TOKEN}"}
metrics:
  enabled: true
  endpoint: "/metrics"
  cardinality_limit: {max_labels_per_metric: 100, max_unique_label_values: 1000}
  optional_metrics: {enable_request_body_size: false, enable_response_body_size: false, enable_detailed_errors: true}
  persistence: {enabled: true, backend: sqlite, path: ./data/metrics.db, snapshot_interval_seconds: 60,
                retention_days: 15, compaction: {enabled: true, schedule: "0 3 * * *"}}
global_prompts: {default: "...", default_file: system.md, prompts_dir: ./prompts, merge_strategy: prepend,
                 separator: "\n\n---\n\n",
                 backends: {anthropic: {prompt_file: a.md}}, models: {gpt-4o: {prompt_file: b.md}}}
acp: {enabled: true, transport: {stdio: {enabled: true}}, default_model: m,
      capabilities: {load_session: true, mcp: true},
      permissions: {default_policy: ask_always, auto_allow: [read, search, think], always_ask: [edit, delete, execute]},
      sessions: {max_concurrent: 10, idle_timeout: "1h", storage: memory}}
guardrails: {enabled: false}
"""

ENVIRON = {"BACKEND_API_KEY": "backend-secret", "BRAVE_API_KEY": "brave-secret", "API_KEY_1": "k1", "ADMIN_TOKEN": "t"}


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    """What `load` says against the text, as `line path: message`; a warning as `line path: warning: message`."""
    try:
        result = load(text, environ or {}).warnings
    except ConfigError as error:
        result = error.problems
    return [f"{item.line} {item}" for item in result]


def backend(text: str, environ: dict[str, str] | None = None) -> BackendSettings:
    """The one backend of a config that has nothing else."""
    return load(f"backends: [{{{text}}}]", environ or {}).backends[0]


# What loads


@pytest.mark.parametrize(
    "text", ["", "\n# only a remark\n", "---\n", "{}", "\ufeff", "backends:\nserver: {}\n", "backends: []"]
)
def test_an_empty_config_is_the_built_in_model_on_loopback(text):
    config = load(text, {})
    assert config == Config()
    assert [(value.name, value.type, value.url) for value in config.backends] == [("builtin", "builtin", None)]
    assert config.server.bind_address == ("127.0.0.1:38080",)


def test_the_types_have_the_documented_defaults():
    assert TimeoutSettings() == TimeoutSettings(
        connect=5.0, first_byte=600.0, between_chunks=300.0, commit_after=10.0, ping_after=15.0, drain=30.0
    )
    assert LoggingSettings() == LoggingSettings(level="info", format="auto")
    assert TlsSettings() == TlsSettings(ca=None, cert=None, key=None, verify=True)


def test_the_reference_sample_loads_and_warns_about_what_is_not_implemented():
    config = load(REFERENCE, ENVIRON)
    (value,) = config.backends
    assert (value.name, value.type, value.url, value.api_key) == (
        "my-self-hosted",
        "vllm",
        "http://localhost:11434",
        "backend-secret",
    )
    assert (value.models, value.weight, value.missing, value.off) == (("my-model",), 1, (), "")
    assert config.model_aliases == {slot: ("my-model",) for slot in ("haiku", "sonnet", "opus", "default")}
    first, second = config.api_keys.api_keys
    assert (first.key, first.id, first.scopes) == ("k1", "one", ("read", "write", "files", "admin"))
    assert first.expires_at == datetime.datetime(2025, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    assert (second.id, second.scopes) == ("key-2", ("read", "write", "files"))
    assert config.health_checks.max_warmup_duration == 300.0
    assert config.acp.sessions.idle_timeout == 3600.0
    unbuilt = [
        warning.path for warning in config.warnings if warning.message == "not implemented yet; it has no effect"
    ]
    assert unbuilt == [
        "model_metadata_file",
        "health_checks",
        "admin",
        "metrics.persistence.compaction",
    ]


def test_the_reference_sample_starts_without_any_variable_too():
    config = load(REFERENCE, {})
    assert config.backends[0].missing == ("BACKEND_API_KEY",)
    assert config.backends[0].off == "BACKEND_API_KEY is not set"
    assert config.api_keys.api_keys[0].missing == ("API_KEY_1",)
    assert "web_search.api_key: warning: BRAVE_API_KEY is not set, so web search is disabled. Set the variable" in map(
        str, config.warnings
    )


def test_disabled_and_default_settings_cause_no_warning():
    text = """
selection_strategy: round-robin
rate_limiting: {enabled: false, storage: redis}
web_search: {enabled: false, provider: exa, api_key: "${NOT_THERE}"}
health_checks: {enabled: false}
metrics: {enabled: false}
admin: {auth: {method: none}}
acp: {enabled: false}
"""
    assert problems(text) == []
    assert problems("selection_strategy: least_latency") == [
        "1 selection_strategy: warning: not implemented yet; it has no effect"
    ]


def test_problems_in_a_section_that_is_not_implemented_are_warnings():
    assert problems("admin: {auth: {method: perhaps, badge: 9}}") == [
        "1 admin.auth.badge: warning: unknown key; known keys are method, token, username, password, api_key",
        "1 admin.auth.method: warning: 'perhaps' is not one of none, bearer_token, basic, api_key.",
    ]


def test_the_example_loads_clean():
    config = load((ROOT / "examples/byway.yaml").read_text("utf-8"), {})
    assert config.warnings == ()
    assert config.backends[0].url == "http://127.0.0.1:11434"
    assert config.timeouts.first_byte == 600.0


@pytest.mark.parametrize(("page", "count"), [("docs/config.md", 4), ("docs/usage.md", 2)])
def test_the_examples_in_the_documentation_load_clean(page, count):
    blocks = (ROOT / page).read_text("utf-8").split("```yaml\n")[1:]
    environ = dict.fromkeys(("ANTHROPIC_API_KEY", "ADA_KEY", "GRACE_KEY"), "") | {
        "ANTHROPIC_API_KEY": "a",
        "ADA_KEY": "b",
        "GRACE_KEY": "c",
    }
    assert len(blocks) == count
    for block in blocks:
        assert load(block.partition("```")[0], environ).warnings == ()


def test_the_tables_of_the_documentation_are_those_of_the_code():
    generate = runpy.run_path(str(ROOT / "docs/generate.py"))
    for path in generate["PAGES"]:
        text = path.read_text("utf-8")
        assert generate["fill"](text) == text, "run python docs/generate.py"
    page = (ROOT / "docs/config.md").read_text("utf-8")
    assert "| `timeouts.commit_after` | duration | `10s` |" in page
    assert "| `web_fetch.max_bytes` | 1 to 104857600 |" in page


def test_every_field_has_a_note():
    for path, note, _, _ in runpy.run_path(str(ROOT / "docs/generate.py"))["rows"]():
        assert note.description, path
    for struct in (
        Config,
        ServerSettings,
        BackendSettings,
        TlsSettings,
        ApiKeysSettings,
        KeySettings,
        TimeoutSettings,
        LoggingSettings,
    ):
        assert list(notes(struct)) == [field.name for field in msgspec.structs.fields(struct)]


def config_with_backends(count):
    return "backends:\n" + "".join(
        f"  - name: b{n}\n    type: vllm\n    url: http://10.0.0.{n % 250}/v1\n    api_key: ${{KEY}}\n    models: [a{n}]\n"
        for n in range(count)
    )


GROWING = {
    "backends": config_with_backends,
    "comments": lambda count: "# a comment\n" * count,
    "long text": lambda count: f"model_aliases: {{a: {'x' * count}}}",
    "aliases": lambda count: "model_aliases:\n" + "".join(f"  name-{n}: [one/a{n}, two/b{n}]\n" for n in range(count)),
    "aliases of listed models": lambda count: (
        f"backends: [{{type: ollama, models: [{', '.join(f'm{n}' for n in range(count))}]}}]\nmodel_aliases:\n"
        + "".join(f"  name-{n}: ollama/m{n}\n" for n in range(count))
    ),
    "aliases of unknown backends": lambda count: (
        "backends:\n"
        + "".join(f"- {{name: backend-{n}, type: ollama, models: [x]}}\n" for n in range(count))
        + "model_aliases:\n"
        + "".join(f"  name-{n}: backends-{n}/m\n" for n in range(count))
    ),
    "keys": lambda count: "api_keys:\n  api_keys:\n" + "".join(f"  - {{key: key-number-{n}}}\n" for n in range(count)),
    "headers": lambda count: (
        "backends:\n- type: openai\n  headers:\n" + "".join(f"    X-{n}: a\n" for n in range(count))
    ),
    "anchors": lambda count: "model_aliases:\n" + "".join(f"  a{n}: &a{n} x\n  b{n}: *a{n}\n" for n in range(count)),
    "merges": lambda count: (
        "backends:\n- &one {type: ollama, weight: 1}\n" + "".join(f"- {{<<: *one, name: b{n}}}\n" for n in range(count))
    ),
    "nesting": lambda count: "".join(f"{'[' * 20}{']' * 20},\n" for n in range(count)).join(("x: [", "]")),
    "unknown keys": lambda count: "".join(f"nonsense_{n}: 1\n" for n in range(count)),
    "wrong values": lambda count: "model_aliases:\n" + "".join(f"  a{n}: []\n" for n in range(count)),
}


@pytest.mark.parametrize("name", GROWING)
def test_time_to_load_grows_linearly(name):
    def run(text):
        document.read.cache_clear()
        with contextlib.suppress(ConfigError):
            load(text, {"KEY": "x"})

    assert_linear(GROWING[name], run, size=50)


# Backends


@pytest.mark.parametrize(
    ("written", "type_"),
    [
        ("llama.cpp", "llamacpp"),
        ("LlamaCpp", "llamacpp"),
        ("lm-studio", "lmstudio"),
        ("LM Studio", "lmstudio"),
        ("vLLM", "vllm"),
        ("openai-compatible", "generic"),
        ("OpenAI", "openai"),
        ("localai", "generic"),
    ],
)
def test_a_type_is_accepted_in_all_its_spellings(written, type_):
    assert backend(f"type: {written}, url: 'http://localhost:1'").type == type_


@pytest.mark.parametrize("vendor", [vendor for vendor in VENDORS.values() if vendor.url], ids=lambda value: value.name)
def test_a_type_with_a_default_url_needs_none(vendor):
    result = backend(f"type: {vendor.name}")
    assert (result.name, result.url) == (vendor.name, vendor.url)


@pytest.mark.parametrize("written", ["continuum", "continuum-router"])
def test_a_backend_of_a_type_that_is_not_implemented_is_disabled(written):
    text = f"backends: [{{type: {written}, name: x}}, {{type: ollama}}]"
    config = load(text, {})
    assert config.backends[0].off == f"backends of type {written} are not implemented yet"
    assert config.backends[1].off == ""
    assert problems(text) == [
        f"1 backends.0.type: warning: {written} is not implemented yet, so backend 'x' is disabled"
    ]


def test_an_unknown_type_is_rejected_with_the_known_ones():
    (problem,) = problems("backends: [{type: vlm, url: 'http://x'}]")
    assert problem.startswith(
        "1 backends.0.type: 'vlm' is not a type of backend. Did you mean vllm? The types are vllm, ollama,"
    )
    assert "builtin" in problem


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://localhost:8000/", "http://localhost:8000"),
        ("http://localhost:8000/v1", "http://localhost:8000"),
        ("http://localhost:8000/v1/", "http://localhost:8000"),
        ("https://host.example.org/openai/v1", "https://host.example.org/openai"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("unix:/run/vllm.sock", "unix:/run/vllm.sock"),
        ("unix:///run/vllm.sock", "unix:/run/vllm.sock"),
        ("${HOST}/v1", "https://from.example.org"),
    ],
)
def test_a_url_is_stored_without_slash_and_version(written, url):
    result = backend(f"type: generic, url: '{written}'", {"HOST": "https://from.example.org"})
    assert result.url == url


@pytest.mark.parametrize("tail", ["/v1/chat/completions", "/chat/completions", "/v1/messages"])
def test_an_endpoint_in_the_url_is_ignored_with_a_warning(tail):
    text = f"backends: [{{type: generic, url: 'http://localhost:1{tail}'}}]"
    assert load(text, {}).backends[0].url == "http://localhost:1"
    assert "is ignored" in problems(text)[0]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "localhost:8000",
        "http://",
        "http://user:hunter2@localhost",
        "http://hunter2@localhost",
        "http://localhost?key=hunter2",
        "http://localhost/#hunter2",
        "http://local host",
        "http://localhost:99999",
        "http://localhost:0",
        "http://[::1",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://a..b/",
        "unix:",
        "http://localhost\\\\@hunter2",
        "/v1",
    ],
)
def test_a_bad_url_is_refused_and_not_repeated(url):
    (problem,) = problems(f'backends: [{{type: generic, url: "{url}"}}]')
    assert problem.startswith("1 backends.0.url: ")
    assert "hunter2" not in problem


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[fd00:ec2::254]", "[::ffff:169.254.169.254]"])
def test_a_link_local_address_is_used_with_a_warning(host):
    text = f"backends: [{{type: generic, url: 'http://{host}:80'}}]"
    assert load(text, {}).backends[0].url == f"http://{host}:80"
    assert "cloud machines get their credentials" in problems(text)[0]


def test_models_are_names_or_mappings():
    result = backend("type: ollama, models: [a, {id: b, window: 8192}, {name: 'meta/c'}, 7, a]")
    assert result.models == ("a", "b", "meta/c", "7")
    assert result.windows == {"b": 8192}
    assert backend("type: ollama, models: only").models == ("only",)
    assert problems(
        "backends: [{type: ollama, models: [{window: 1}, [x], {id: a, window: -1}, {id: b, cost: 2}]}]"
    ) == [
        "1 backends.0.models.0: a model needs a name: {id: my-model}",
        "1 backends.0.models.1: expected text, got a list",
        "1 backends.0.models.2.window: expected a whole number of at least 1, got '-1'",
        "1 backends.0.models.3.cost: warning: unknown key; it has no effect",
    ]


def test_headers_are_checked():
    assert backend("type: ollama, headers: {X-Team: 'a b', X-Number: 7}").headers == {"X-Team": "a b", "X-Number": "7"}
    assert problems(r'backends: [{type: ollama, headers: {Host: a, te: b, "a hunter2": c, X-A: "b\r\nhunter2"}}]') == [
        "1 backends.0.headers: a key here is not a header name (letters, digits and -)",
        "1 backends.0.headers.Host: this header belongs to the connection and is set by Byway",
        "1 backends.0.headers.X-A: expected ASCII text on one line",
        "1 backends.0.headers.te: this header belongs to the connection and is set by Byway",
    ]


def test_tls_and_proxy():
    result = backend(
        "type: ollama, tls: {ca: a.pem, cert: c.pem, key: k.pem, verify: false}, proxy: 'http://u:p@proxy:3128/'"
    )
    assert result.tls == TlsSettings(ca="a.pem", cert="c.pem", key="k.pem", verify=False)
    assert result.proxy == "http://u:p@proxy:3128"
    assert problems("backends: [{type: ollama, tls: {key: k.pem}, proxy: 'socks5://x'}]") == [
        "1 backends.0.proxy: expected an HTTP proxy such as http://proxy.example.org:3128",
        "1 backends.0.tls: a key needs its certificate: set cert too",
    ]


def test_settings_without_effect_on_the_built_in_model_cause_a_warning():
    text = "backends: [{type: builtin, url: 'http://x', api_key: y}]"
    assert load(text, {}).backends[0] == BackendSettings(name="builtin", type="builtin")
    assert problems(text) == [
        "1 backends.0.api_key: warning: has no effect: Byway runs this model itself",
        "1 backends.0.url: warning: has no effect: Byway runs this model itself",
    ]


def test_a_missing_variable_disables_only_what_needs_it():
    text = """
backends:
  - {name: openai, type: openai, api_key: "${OPENAI_API_KEY}"}
  - {name: far, type: generic, url: "${FAR}/v1", headers: {X-A: "${FAR} ${OPENAI_API_KEY}"}}
  - {name: near, type: ollama}
api_keys:
  api_keys: [{key: "${K}", name: ada}, {key: plain}]
"""
    config = load(text, {"OPENAI_API_KEY": ""})
    assert [value.missing for value in config.backends] == [("OPENAI_API_KEY",), ("FAR", "OPENAI_API_KEY"), ()]
    assert [bool(item.off) for item in config.backends] == [True, True, False]
    assert [api_key.missing for api_key in config.api_keys.api_keys] == [("K",), ()]
    assert config.api_keys.closed
    assert problems(text)[0] == (
        "3 backends.0.api_key: warning: OPENAI_API_KEY is not set, so backend 'openai' is disabled. Set the variable"
    )
    assert "7 api_keys.api_keys.0.key: warning: K is not set, so key 'ada' is disabled. Set the variable" in problems(
        text
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("server: {bind_address: '${WHERE}'}", "server.bind_address"),
        ("server: {workers: '${WHERE:-1}'}", "server.workers"),
        ("local_only: ${WHERE}", "local_only"),
        ("model_aliases: {haiku: '${WHERE}'}", "model_aliases.haiku"),
        ("model_aliases: {haiku: ['a/b', 'x-${WHERE}']}", "model_aliases.haiku.1"),
        ("backends: [{name: '${WHERE}', type: ollama}]", "backends.0.name"),
        ("backends: [{type: ollama, models: ['${WHERE}']}]", "backends.0.models.0"),
        ("backends: [{type: openai, tls: {ca: '${WHERE}'}}]", "backends.0.tls.ca"),
        ("api_keys: {api_keys_file: '${WHERE}'}", "api_keys.api_keys_file"),
        ("api_keys: {api_keys: [{key: x, name: '${WHERE}'}]}", "api_keys.api_keys.0.name"),
        ("web_fetch: {user_agent: '${WHERE}'}", "web_fetch.user_agent"),
        ("logging: {level: '${WHERE}'}", "logging.level"),
    ],
)
def test_variables_are_rejected_outside_of_secrets_headers_and_urls(text, path):
    # Their values would be shown: in logs, in the list of models and on the settings page.
    with pytest.raises(ConfigError) as caught:
        load(text, {"WHERE": "a-secret-of-this-machine"})
    (problem,) = caught.value.problems
    assert problem.path == path and problem.message.startswith("${WHERE} is not replaced here: variables are for")
    assert "a-secret" not in str(caught.value)


def test_variables_are_replaced_in_secrets_headers_and_urls():
    text = """
backends:
  - {type: generic, url: "${V}", api_key: "${K}", headers: {X-A: "a ${K}"}, proxy: "${V}"}
web_search: {enabled: true, provider: brave, api_key: "${K}", base_url: "${V}"}
api_keys: {api_keys: [{key: "${K}"}]}
local_models: {hub: "${V}"}
"""
    config = load(text, {"V": "http://127.0.0.1:1", "K": "key-0123456789"})
    backend = config.backends[0]
    assert (backend.url, backend.api_key, backend.headers, backend.proxy) == (
        "http://127.0.0.1:1",
        "key-0123456789",
        {"X-A": "a key-0123456789"},
        "http://127.0.0.1:1",
    )
    assert config.web_search.api_key == config.api_keys.api_keys[0].key == "key-0123456789"
    assert config.web_search.base_url == config.local_models.hub == "http://127.0.0.1:1"


def test_a_dollar_and_a_brace_can_be_written_everywhere():
    config = load("model_aliases: {haiku: 'a/$${B}'}\nbackends: [{type: ollama, models: ['a/$${B}']}]", {"B": "x"})
    assert config.model_aliases["haiku"] == config.backends[0].models == ("a/${B}",)


def test_unchecked_certificates_are_warned_about():
    text = "backends:\n- type: openai\n  tls:\n    verify: false\n"
    assert problems(text) == [
        "4 backends.0.tls.verify: warning: certificates are not checked: anyone on the network can read the requests and the "
        "API key. Set ca to the file of your certificate authority instead"
    ]
    assert problems(text.replace("false", "true")) == []


def test_a_word_for_server_tls_that_does_not_exist_gets_both_ways_to_set_it():
    keys = "local_ca, cert_file, key_file, key_passphrase"
    assert problems("server: {tls: true}") == [
        f"1 server.tls: 'true' is not one of local. Or write a mapping with the keys {keys}."
    ]


# local_only


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "http://10.1.2.3",
        "http://172.31.0.1",
        "http://192.168.0.9:8000",
        "http://[::1]:1",
        "http://[fd12::1]",
        "http://localhost:1",
        "unix:/run/x",
    ],
)
def test_local_only_accepts_loopback_and_private_addresses(url):
    assert problems(f"local_only: true\nbackends: [{{type: generic, url: '{url}'}}]") == []


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com",
        "http://8.8.8.8",
        "http://172.32.0.1",
        "http://ollama.local",
        "http://gpu.internal",
        "http://localhost.example.org",
        "http://169.254.169.254",
        "http://100.64.0.1",
        "http://[2001:db8::1]",
        "http://[::ffff:8.8.8.8]",
        "http://0.0.0.0",
    ],
)
def test_local_only_rejects_every_other_address(url):
    with pytest.raises(ConfigError) as caught:
        load(f"local_only: true\nbackends: [{{type: generic, url: '{url}'}}]", {})
    (error,) = [problem for problem in caught.value.problems if problem.severity == "error"]
    assert (error.path, error.line) == ("backends.0.url", 2)
    assert "local_only is set" in error.message


def test_local_only_rejects_cloud_vendors_proxies_and_search():
    text = """
local_only: true
backends:
  - type: anthropic
  - {type: ollama, proxy: "http://proxy.example.org:1"}
web_search: {enabled: true, provider: exa, api_key: exa-key-0123456789}
"""
    with pytest.raises(ConfigError) as caught:
        load(text, {})
    errors = [(problem.path, problem.line) for problem in caught.value.problems if problem.severity == "error"]
    assert errors == [("backends.0.url", 4), ("backends.1.proxy", 5), ("web_search.enabled", 6)]


# Aliases and keys


def test_an_alias_has_one_target_or_an_ordered_list():
    text = "backends: [{name: a, type: vllm}]\nmodel_aliases: {haiku: m, 'claude-*': [a/m, org/model:8b], default: [x]}"
    assert load(text, {}).model_aliases == {"haiku": ("m",), "claude-*": ("a/m", "org/model:8b"), "default": ("x",)}
    assert problems(text) == []


def test_targets_that_no_backend_serves_cause_a_warning():
    text = """
backends:
  - {name: local, type: vllm, models: [qwen, org/model]}
  - {name: cloud, type: openai, models: [gpt]}
model_aliases:
  good: [qwen, org/model, local/qwen, cloud/gpt, local/org/model]
  haiku: locl/qwen
  sonnet: cloud/qwen
  opus: other
"""
    assert problems(text) == [
        "7 model_aliases.haiku: warning: no backend has the name 'locl' or lists the model 'locl/qwen'; "
        "did you mean local/qwen?",
        "8 model_aliases.sonnet: warning: backend 'cloud' does not list the model 'qwen'",
        "9 model_aliases.opus: warning: no backend lists the model 'other'",
    ]


def test_an_alias_without_a_target_is_rejected():
    assert problems("model_aliases:\n  haiku: []\n  opus:\n  fable: ['']\n  sonnet: {a: b}") == [
        "2 model_aliases.haiku: the list is empty; remove the entry or add a value",
        "3 model_aliases.opus: the entry is empty; remove it or give it a value",
        "4 model_aliases.fable.0: the entry is empty; remove it or give it a value",
        "5 model_aliases.sonnet: expected a list, got a mapping",
    ]


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("", False),
        ("mode: permissive", False),
        ("mode: blocking", True),
        ("api_keys: [{key: a}]", True),
        ("api_keys: [{key: a, enabled: false}]", True),
        ("api_keys: [{key: '${NO}'}]", True),
        ("api_keys_file: keys.yaml", True),
        ("mode: permissive, api_keys: [{key: a}]", False),
    ],
)
def test_a_key_is_required_as_soon_as_one_exists(text, closed):
    assert load(f"api_keys: {{{text}}}", {}).api_keys.closed is closed


def test_permissive_mode_with_keys_causes_a_warning():
    assert problems("api_keys: {mode: permissive, api_keys: [{key: a}]}") == [
        "1 api_keys.mode: warning: there are keys, but permissive mode lets any client use Byway, with any key or none"
    ]


def test_invalid_keys_are_rejected_and_never_displayed():
    text = """
api_keys:
  mode: open
  api_keys:
    - {key: "hunter2 hunter2"}
    - {key: hunter2, id: a}
    - {key: hunter2, id: b}
    - {key: hunter3, id: a}
    - {name: nameless}
    - {key: hunter4, scopes: [read, wrte], expires_at: tomorrow, rate_limit: lots}
    - {key:hunter2}
    - hunter2
"""
    result = problems(text)
    assert result == [
        "3 api_keys.mode: 'open' is not one of permissive, blocking.",
        "5 api_keys.api_keys.0.key: it contains a blank, a line break or a non-ASCII character",
        "7 api_keys.api_keys.2: another key has the same value, in line 6",
        "8 api_keys.api_keys.3: another key has the same id, in line 6",
        "9 api_keys.api_keys.4: the value of the key is missing; add key: ${NAME}",
        "10 api_keys.api_keys.5.expires_at: expected a date and time such as 2027-12-31T23:59:59Z",
        "10 api_keys.api_keys.5.rate_limit: expected a whole number of at least 0, got 'lots'",
        "10 api_keys.api_keys.5.scopes.1: 'wrte' is not one of read, write, files, admin. Did you mean write?",
        "11 api_keys.api_keys.6: a key here is unknown; known keys are key, id, user_id, organization_id, name, scopes, "
        "rate_limit, enabled, expires_at",
        "11 api_keys.api_keys.6: the value of the key is missing; add key: ${NAME}",
        "12 api_keys.api_keys.7: expected a mapping (key: value), got text",
    ]
    assert "hunter" not in "\n".join(result)


@pytest.mark.parametrize(
    "text", ["- {key: '${A}', id: a}\n- {key: b}", "api_keys:\n  - {key: '${A}', id: a}\n  - key: b\n"]
)
def test_a_file_of_keys(text):
    assert [(load_key.id, load_key.key) for load_key in load_keys(text, {"A": "secret"})] == [
        ("a", "secret"),
        ("key-2", "b"),
    ]
    assert load_keys(text, {})[0].missing == ("A",)


def test_an_invalid_key_file_is_rejected():
    assert load_keys("", {}) == load_keys("api_keys:", {}) == ()
    for text in ("keys: [{key: a}]", "hunter2", "- hunter2", "- {key: a}\n- {key: a}", "- {ky: a}", "- {"):
        with pytest.raises(ConfigError) as caught:
            load_keys(text, {}, file="keys.yaml")
        assert str(caught.value).startswith("keys.yaml:")
        assert "hunter2" not in str(caught.value)


# Server, timeouts, logging


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:38080", ("127.0.0.1", 38080)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:80", ("localhost", 80)),
        (":8080", ("0.0.0.0", 8080)),
        ("unix:/run/byway.sock", "/run/byway.sock"),
    ],
)
def test_bind_addresses_are_parsed(text, parts):
    assert listen(text) == parts
    assert load(f"server: {{bind_address: ['{text}']}}", {}).server.bind_address == (text,)


@pytest.mark.parametrize(
    "text", ["0.0.0.0", "8080", "::1:80", "[::1]", "[x]:1", "a b:1", "x:70000", "x:-1", "unix:", "http://x:1"]
)
def test_invalid_bind_addresses_are_rejected(text):
    assert len(problems(f"server: {{bind_address: '{text}'}}")) == 1


def test_the_server_section():
    text = """
server:
  bind_address: [127.0.0.1:1, "unix:/run/byway.sock"]
  socket_mode: 0660
  root_path: /byway/
  allowed_hosts: byway.example.org
  trusted_proxies: [10.0.0.0/8, "::1", 10.0.0.7/8]
"""
    assert load(text, {}).server == ServerSettings(
        bind_address=("127.0.0.1:1", "unix:/run/byway.sock"),
        socket_mode=0o660,
        root_path="/byway",
        allowed_hosts=("byway.example.org",),
        trusted_proxies=("10.0.0.0/8", "::1", "10.0.0.0/8"),
    )
    assert load("server: {socket_mode: 0o600}", {}).server.socket_mode == 0o600
    assert load("server: {socket_mode: '640'}", {}).server.socket_mode == 0o640
    assert problems("server: {socket_mode: 0888, root_path: x y, trusted_proxies: [here], workers: 1000}") == [
        "1 server.root_path: expected a path that starts with a slash, such as /byway",
        "1 server.socket_mode: expected permissions in octal, such as 0660",
        "1 server.trusted_proxies.0: expected an IP address or a network such as 10.0.0.0/8",
        "1 server.workers: expected a whole number from 0 to 256, got '1000'",
    ]
    assert "one process serves" in problems("server: {workers: 4}")[0]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("500ms", 0.5), ("1h", 3600), ("1h30m", 5400), ("2.5", 2.5), ("300", 300), ("1 d", 86400)],
)
def test_durations(text, seconds):
    assert load(f"timeouts: {{first_byte: {text}}}", {}).timeouts.first_byte == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "1x", "1s2", "nan", "inf", "1e9", "0", "'9999999999s'", "[1]"])
def test_invalid_durations_are_rejected(text):
    (problem,) = problems(f"timeouts: {{connect: {text}}}")
    assert problem.startswith("1 timeouts.connect: expected a duration such as 30s")


def test_fetch_domains_are_normalised():
    text = """web_fetch:
  allow_private: [10.1.2.3/8, Wiki.Corp.Example., "::1", bücher.example]
  allowed_domains: [example.com, example.com/docs/*]
  blocked_domains: example.org
"""
    fetch = load(text, {}).web_fetch
    assert fetch.allow_private == ("10.0.0.0/8", "wiki.corp.example", "::1", "xn--bcher-kva.example")
    assert fetch.allowed_domains == ("example.com", "example.com/docs/*")
    assert fetch.blocked_domains == ("example.org",)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("allow_private: [127.1]", "allow_private.0: expected an IP address, a network such as 10.0.0.0/8, or"),
        ("allow_private: ['http://x']", "allow_private.0: expected an IP address"),
        ("allowed_domains: ['https://example.com']", "allowed_domains.0: this must not start with http:// or https://"),
        ("blocked_domains: ['*.example.com']", "blocked_domains.0: this must not have * in the domain"),
        ("max_bytes: 0", "max_bytes: expected a whole number from 1"),
    ],
)
def test_invalid_fetch_domains_are_rejected(setting, words):
    (problem,) = problems(f"web_fetch: {{{setting}}}")
    assert problem.startswith(f"1 web_fetch.{words}")


def test_logging_is_read_without_regard_to_capitals():
    assert load("logging: {level: WARN, format: JSON}", {}).logging == LoggingSettings(level="warning", format="json")
    assert problems("logging: {level: loud}") == [
        "1 logging.level: 'loud' is not one of trace, debug, info, warning, error."
    ]


def test_changes_that_need_a_restart():
    before = load("server: {bind_address: 127.0.0.1:1}\nlogging: {level: info}", {})
    after = load("server: {bind_address: 127.0.0.1:2, root_path: /x, allowed_hosts: [y]}\nlogging: {level: debug}", {})
    assert static_changes(before, after) == ("server.bind_address", "server.root_path")
    assert static_changes(before, before) == ()


# Complaints


def test_every_problem_is_reported_at_once_with_path_and_line_in_order():
    text = """server:
  bind_adress: x
backends:
  - {name: a, type: ollama, weight: 101}
  - name: a
    type: ollama
    weight: heavy
  - {name: a/b, type: ollama}
timeouts: {connect: soon}
timeouts: {}
colour: red
local_only: perhaps
"""
    with pytest.raises(ConfigError) as caught:
        load(text, {}, file="my.yaml")
    assert str(caught.value).splitlines() == [
        "my.yaml:2: server.bind_adress: unknown key; did you mean bind_address?",
        "my.yaml:4: backends.0.weight: expected a whole number from 1 to 100, got '101'",
        "my.yaml:5: backends.1.name: another backend has the name 'a', in line 4",
        "my.yaml:7: backends.1.weight: expected a whole number from 1 to 100, got 'heavy'",
        "my.yaml:8: backends.2.name: a name is 1 to 100 printable ASCII characters, without a slash",
        "my.yaml:9: timeouts.connect: expected a duration such as 30s, 500ms, 1h30m, or a number of seconds",
        "my.yaml:10: timeouts: this key is given twice; the first is in line 9",
        "my.yaml:11: colour: unknown key; known keys are "
        + ", ".join(name for name in notes(Config) if name != "warnings"),
        "my.yaml:12: local_only: expected true or false, got 'perhaps'",
    ]
    assert caught.value.problems[0].path == "server.bind_adress"
    assert caught.value.problems[0].line == 2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a:\n\tb: c", "2 there is a tab; indent YAML with spaces"),
        ("server: [1, 2", "1 the file ends before the bracket, brace or quote that starts in line 1 is closed"),
        (
            "server:\n  root_path: 'x\n",
            "2 the file ends before the bracket, brace or quote that starts in line 2 is closed",
        ),
        ("a: b: c", '1 there is one ":" too many, or the indentation is wrong; text that contains ": " needs quotes'),
        (
            " server: {}\nlogging: {}",
            "2 the indentation of this line does not match, or the line above is incomplete",
        ),
        ("server: *other", "1 server: an alias (*name) has no anchor (&name) before it"),
        ("server: &a [*a]", "1 server.0: an alias (*name) has no anchor (&name) before it"),
        (
            "server: !!python/object/apply:os.system [ls]",
            "1 server: tags (!name) are not supported; put quotes around it if it is text",
        ),
        ("server: {}\n---\nserver: {}", "2 a second document starts here; a config is one document"),
        ("- server", "1 expected a mapping (key: value), got a list"),
        ("server", "1 expected a mapping (key: value), got text"),
        ("server: 7", "1 server: expected a mapping (key: value), got text"),
        ("backends: {name: a}", "1 backends: expected a list, got a mapping"),
        ("? [a]\n: b", "1 a key must be text, not a list or mapping"),
        ("server: {}\n\x00", "2 there is a character that YAML does not allow"),
        ("x: \ud800", "1 the text is not UTF-8"),
        ('x: "\\UFFFFFFFF"', "1 this is not valid YAML"),
    ],
)
def test_a_text_that_is_not_a_config_is_rejected(text, value):
    assert problems(text) == [value]


def test_anchors_and_merges_work():
    text = """
backends:
  - &first {name: a, type: vllm, url: "http://10.0.0.1:1", weight: 3}
  - {<<: *first, name: b, url: "http://10.0.0.2:1"}
"""
    assert [(value.name, value.url, value.weight) for value in load(text, {}).backends] == [
        ("a", "http://10.0.0.1:1", 3),
        ("b", "http://10.0.0.2:1", 3),
    ]


_TENFOLD = "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20))
_WIDE = f"x: &s {{{','.join(f'k{n}: 1' for n in range(1000))}}}\n"


@pytest.mark.parametrize(
    "text",
    [
        f"a: &a [x,x,x,x,x,x,x,x,x]\n{_TENFOLD}",
        f"{_WIDE}backends: [{','.join(['*s'] * 200)}]",
        f"{_WIDE}backends: [{','.join(['{<<: *s}'] * 200)}]",
        f"model_aliases:\n  a: &a [{'x,' * 5000}]\n" + "".join(f"  b{n}: *a\n" for n in range(100)),
        "[" * 30_000,
        "{a: " * 30_000,
        "- " * 200_000,
        "? " * 200_000,
        "- a\n" * 30_000,
        "x" * (600 << 10),
    ],
    ids=["tenfold", "unknown", "merges", "lists", "brackets", "braces", "dashes", "questions", "long", "huge"],
)
def test_a_config_with_too_many_values_is_refused_before_it_is_read_whole(text):
    with pytest.raises(ConfigError):
        load(text, {})


def test_a_config_may_have_as_many_values_as_the_error_names():
    assert MAX_VALUES >= 20_000
    models = ", ".join(f"m{n}" for n in range(5000))
    assert len(backend(f"type: ollama, models: [{models}]").models) == 5000


SECRET = "hunter2-never-shown"
MUTABLE = REFERENCE.replace("${BACKEND_API_KEY}", SECRET).replace("${ADMIN_TOKEN}", f"{SECRET} {SECRET}").encode()


def refused_or_loaded(text: str) -> None:
    """`load` gives a Config or a ConfigError whose words are a line each; anything else fails the test."""
    try:
        load(text, ENVIRON)
    except ConfigError as error:
        assert error.problems
        assert all(problem.message and "\n" not in problem.message for problem in error.problems)
        assert str(error)


def test_mutated_configs_raise_nothing_but_config_errors():
    dice = random.Random(1)
    for _ in range(examples(300)):
        data = bytearray(MUTABLE)
        for _ in range(dice.randint(1, 4)):
            match dice.randrange(4):
                case 0:
                    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
                case 1:
                    del data[dice.randrange(len(data)) :]
                    data += b" "
                case 2:
                    at = dice.randrange(len(data))
                    del data[at : at + dice.randint(1, 20)]
                case _:
                    data[dice.randrange(len(data)) : 0] = dice.choice(
                        [b"\t", b"\n", b"'", b"{", b"[", b": ", b"&a ", b"*a"]
                    )
        refused_or_loaded(data.decode("utf-8", "surrogateescape"))


@settings(max_examples=examples(150), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,?\n\t \\\r\0\ufeff\ud800é<~${}1."), max_size=80))
def test_any_text_is_loaded_or_refused(text):
    refused_or_loaded(text)


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["${NO}", "a/b", "30s"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*notes(Config), *notes(BackendSettings), *notes(KeySettings)]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=examples(150), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*notes(Config)]), _VALUES, max_size=5))
def test_any_values_in_any_setting_are_loaded_or_refused(tree):
    # JSON is YAML, nearly.
    refused_or_loaded(msgspec.json.encode(tree).decode())


@settings(max_examples=examples(60), deadline=None, derandomize=True)
@given(st.sampled_from(["api_key", "token", "password", "key", "headers", "proxy"]), st.integers(0, 7))
def test_no_error_contains_a_secret(field, shape):
    value = [SECRET, f"{SECRET} x", f"[{SECRET}]", f"{{{SECRET}: 1}}", f"{{x: {SECRET}\u00e9}}", f"'{SECRET}\n\n  x'"][
        shape % 6
    ]
    for text in (
        f"backends: [{{type: ollama, {field}: {value}}}]",
        f"backends: [{{type: ollama, {field}:{value}}}]",
        f"api_keys: {{api_keys: [{{{field}: {value}}}]}}",
        f"admin: {{auth: {{{field}: {value}}}}}",
        f"backends:\n  - type: ollama\n    {field}:{value}\n    weight: 1\n",
        f"backends:\n  - {field}: {value}\n   weight: 1\n",
    ):
        assert SECRET not in "\n".join(problems(text))
