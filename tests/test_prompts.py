"""System prompts of the operator: how they are merged, which one applies, and their files."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any, cast

import pytest
from batching import BatchBackend, ask, batching
from test_targets import Network

from byway import config
from byway.cli.configfile import find
from byway.config.promptsettings import GlobalPromptSettings, PromptSettings
from byway.config.reading import ConfigError, load
from byway.fronts import chat
from byway.gateway import Gateway
from byway.messages import request as messages
from byway.prompts import GlobalPrompts, make_prompts
from byway.runtime import Runtime
from byway.server.app import App

BLOCK = {"type": "text", "text": "client", "cache_control": {"type": "ephemeral"}}
SYSTEMS = {
    ("prepend", "none"): (None, "own"),
    ("prepend", "text"): ("client", "own\n--\nclient"),
    ("prepend", "list"): ([BLOCK], [{"type": "text", "text": "own\n--\n"}, BLOCK]),
    ("append", "none"): (None, "own"),
    ("append", "text"): ("client", "client\n--\nown"),
    ("append", "list"): ([BLOCK], [BLOCK, {"type": "text", "text": "\n--\nown"}]),
    ("replace", "none"): (None, "own"),
    ("replace", "text"): ("client", "own"),
    ("replace", "list"): ([BLOCK], "own"),
}


def prompts(strategy: Any = "prepend", **more: Any) -> GlobalPrompts:
    return GlobalPrompts(
        GlobalPromptSettings(**{"default": "own", "merge_strategy": strategy, "separator": "\n--\n", **more})
    )


def body(**more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "unknown": [1], **more}


@pytest.mark.parametrize(("strategy", "kind"), SYSTEMS)
def test_the_prompt_is_merged_with_that_of_a_messages_request(strategy: str, kind: str) -> None:
    system, wanted = SYSTEMS[strategy, kind]
    sent = body() if system is None else body(system=system)
    request = messages.parse(json.dumps(sent).encode(), {"anthropic-version": "x"}, "msg_1")
    changed = prompts(strategy).apply(request, "b", "m")
    assert json.loads(changed.body) == {**sent, "system": wanted}
    assert (changed.id, changed.headers) == (request.id, request.headers)
    assert "own" in "".join(changed.system)


@pytest.mark.parametrize(
    ("strategy", "sent", "wanted"),
    [
        ("prepend", [], [{"role": "system", "content": "own"}]),
        ("append", [], [{"role": "system", "content": "own"}]),
        ("prepend", [("system", "client")], [{"role": "system", "content": "own\n--\nclient"}]),
        ("append", [("developer", "client")], [{"role": "developer", "content": "client\n--\nown"}]),
        ("replace", [("system", "client"), ("system", "more")], [{"role": "system", "content": "own"}]),
    ],
)
def test_the_prompt_is_merged_with_that_of_a_chat_completion(strategy: str, sent: Any, wanted: Any) -> None:
    user = {"role": "user", "content": "Hi"}
    content = {
        "model": "m",
        "messages": [*({"role": role, "content": text} for role, text in sent), user],
        "logit_bias": {},
    }
    request, _ = chat.read(json.dumps(content).encode(), {}, "msg_1")
    changed = prompts(strategy).apply(request, "b", "m")
    assert json.loads(changed.chat) == {**content, "messages": [*wanted, user]}
    assert "own" in "".join(changed.system)


def test_the_most_specific_prompt_applies() -> None:
    settings = {
        "backends": {"b": PromptSettings(prompt="of the backend", merge_strategy="replace")},
        "models": {"m": PromptSettings(prompt="of the model"), "b/x": PromptSettings(prompt="of the target")},
    }
    chosen = prompts(**settings)
    request = messages.parse(json.dumps(body(system="client")).encode(), {}, "msg_1")

    def system(backend: str, model: str) -> str:
        return "".join(chosen.apply(request, backend, model).system)

    assert system("b", "y") == "of the backend"
    assert system("b", "x") == "of the target\n--\nclient"
    assert system("b", "m") == system("c", "m") == "of the model\n--\nclient"
    assert system("c", "y") == "own\n--\nclient"


def test_a_request_without_a_prompt_is_not_changed() -> None:
    request = messages.parse(json.dumps(body()).encode(), {}, "msg_1")
    only = prompts(default=None, models={"other": PromptSettings(prompt="x")})
    assert only.apply(request, "b", "m") is request
    assert make_prompts(GlobalPromptSettings()) is None


@pytest.mark.parametrize("type", ["generic", "anthropic"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
def test_a_backend_receives_the_prompt(type: str, path: str) -> None:
    settings = {
        "backends": [{"name": "here", "type": type, "url": "http://127.0.0.1:1", "models": ["m"]}],
        "global_prompts": {"default": "Answer in French."},
    }
    runtime = Runtime(config.load(json.dumps(settings), {}))
    network = Network((400, {"error": {"message": "no"}}))
    runtime.backends["here"].upstream = cast(Any, network)
    bodies = [json.dumps(body(model="here/m")).encode()]

    async def receive() -> dict[str, Any]:
        if not bodies:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": bodies.pop(), "more_body": False}

    async def send(message: Any) -> None: ...

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"127.0.0.1")],
        "server": ("127.0.0.1", 38080), "client": ("127.0.0.1", 5),
    }  # fmt: skip
    asyncio.run(App(Gateway(runtime))(scope, receive, send))
    assert b"Answer in French." in network.calls[0].body and b"Hi" in network.calls[0].body


def test_requests_of_a_batch_have_the_prompt(tmp_path: Path) -> None:
    bodies: list[bytes] = []

    class Backend(BatchBackend):
        async def open(self, call: Any) -> Any:
            bodies.append(call.body)
            return await super().open(call)

    async def main() -> None:
        async with batching(tmp_path, global_prompts={"default": "Answer in French."}) as place:
            backend = Backend(place.backend.answers)
            place.gateway.runtime.backends["here"].upstream = cast(Any, backend)
            batch = await place.anthropic().messages.batches.create(requests=[ask("a")])  # type: ignore[list-item]
            await place.ended(batch.id)

    asyncio.run(main())
    assert json.loads(bodies[0])["system"] == "Answer in French."


def test_prompts_come_from_files_that_are_read_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/all.md").write_text("For all.\n")
    (tmp_path / "texts/small.md").write_text("For the small one.")
    file = tmp_path / "byway.yaml"
    file.write_text(
        "global_prompts:\n  default: x\n  default_file: all.md\n  prompts_dir: texts\n"
        "  models:\n    small: {prompt: y, prompt_file: small.md}\n    other: {prompt: z}\n"
    )
    file.chmod(0o600)
    source = find(str(file), os.environ, str(tmp_path / "data"))
    settings = source.read().global_prompts
    assert settings.default == "For all."
    assert {name: entry.prompt for name, entry in settings.models.items()} == {
        "small": "For the small one.",
        "other": "z",
    }
    before = source.stamp()
    (tmp_path / "texts/small.md").write_text("Changed text.")
    assert source.stamp() != before
    assert source.read().global_prompts.models["small"].prompt == "Changed text."
    (tmp_path / "texts/all.md").unlink()
    with pytest.raises(ConfigError, match=r"global_prompts\.default_file: .*all\.md cannot be read"):
        source.read()


def test_a_prompt_for_an_unknown_backend_is_a_warning() -> None:
    def warnings(name: str) -> list[str]:
        sections = {"global_prompts": {"backends": {name: {"prompt": "Be brief."}}}}
        backends = [{"name": "box", "type": "generic", "url": "http://127.0.0.1:9", "models": ["local"]}]
        return [str(text) for text in config.load(json.dumps({"backends": backends, **sections}), {}).warnings]

    assert warnings("box") == []
    [warning] = warnings("bxo")
    assert "global_prompts.backends.bxo" in warning and "The backends are box" in warning


BACKENDS = "backends:\n  - {name: gpu, type: vllm, url: 'http://127.0.0.1:1', models: [small, org/large]}\n"


@pytest.mark.parametrize(
    ("model", "warning"),
    [
        ("small", ""),
        ("gpu/small", ""),
        ("org/large", ""),
        ("smal", "no backend lists the model 'smal'"),
        ("gpu/smal", "backend 'gpu' does not list the model 'smal'"),
        (
            "gpus/small",
            "no backend has the name 'gpus' or lists the model 'gpus/small'; did you mean gpu/small?",
        ),
    ],
)
def test_a_prompt_for_a_model_that_no_backend_serves_gets_a_warning(model: str, warning: str) -> None:
    text = f"{BACKENDS}global_prompts:\n  models:\n    {model}: {{prompt: be kind}}\n"
    warnings = load(text, {}).warnings
    assert len(warnings) == bool(warning)
    if warning:
        assert (warnings[0].path, warnings[0].line) == (f"global_prompts.models.{model}", 5)
        assert warnings[0].message == f"this prompt has no effect: {warning}"
    other = "  - {name: open, type: vllm, url: 'http://127.0.0.1:2'}\n"
    warnings = load(text.replace(BACKENDS, BACKENDS + other), {}).warnings
    assert bool(warnings) == ("/" in model and bool(warning)), "a backend without a list may serve any name"
