"""Every recorded request of the real client, translated for every server: the rules of chat hold, and nothing said is lost."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from papers import with_pdfs

from byway.backends.openai.completions import request
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages.request import Request, parse
from byway.problems import Problem

FOLDER = Path(__file__).parent / "recorded" / "prefix"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json") if not path.stem.startswith("openings"))
CHAT = [vendor for vendor in VENDORS.values() if vendor.protocol == "openai"]


class Recorded(NamedTuple):
    """The body of a request, and what the user and the assistant say in it."""

    data: bytes
    spoken: list[str]


@cache
def requests(name: str) -> list[Recorded]:
    bodies = [value["body"] for value in json.loads((FOLDER / f"{name}.json").read_text())["requests"]]
    return [Recorded(json.dumps(body).encode(), spoken_texts(body)) for body in bodies]


@cache
def received_as(data: bytes) -> Request:
    return parse(data, {}, "msg_1")


def sent(data: bytes, target: Target) -> dict[str, Any]:
    received = received_as(data)
    parsed: dict[str, Any] = json.loads(request(received, with_pdfs(received, target)).body)
    return parsed


def texts(content: Any) -> list[str]:
    """The texts of a message's content, in either API."""
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or () if part.get("type") == "text"]


def spoken_texts(body: dict[str, Any]) -> list[str]:
    """What user and assistant say, without what the client adds for itself."""
    results = [text for turn in body["messages"] if turn["role"] != "system" for text in texts(turn["content"])]
    for turn in body["messages"]:
        for block in turn["content"] if isinstance(turn["content"], list) else ():
            if block["type"] == "tool_result":
                results += texts(block.get("content", ""))
    return [text for text in results if text.strip() and not text.startswith("<system-reminder>")]


@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("vendor", CHAT, ids=lambda vendor: vendor.name)
def test_the_rules_of_chat_hold(vendor: Any, vision: bool) -> None:
    translated = 0
    for name in NAMES:
        for data, spoken in requests(name):
            target = Target("here", "some-model", vendor, vision=vision)
            try:
                out = sent(data, target)
            except Problem as problem:
                assert problem.kind == "invalid_request", name
                refused = problem.message.split(":")[0]
                assert refused.endswith(".type") and "web_search" in problem.message, name
                continue
            translated += 1
            messages = out["messages"]
            roles = [message["role"] for message in messages]
            assert "system" not in roles[1:], name
            assert ("user", "user") not in pairwise(roles), name
            waiting: list[str] = []
            for message in messages:
                if message["role"] == "tool":
                    waiting.remove(message["tool_call_id"])
                else:
                    assert not waiting, f"{name}: a call has no result right behind it"
                    waiting = [call["id"] for call in message.get("tool_calls", ())]
            everything = "\n".join(text for message in messages for text in texts(message.get("content")))
            assert [text for text in spoken if text not in everything] == [], name
            assert not any(len(word) > 5000 for word in everything.split()), f"{name}: base64 as text"
            parts = [
                part for message in messages if isinstance(message.get("content"), list) for part in message["content"]
            ]
            if not vision:
                assert not any(part["type"] != "text" for part in parts), name
    assert translated > 60


def test_images_and_files_arrive() -> None:
    kinds: set[str] = set()
    for data, _ in requests("read_media"):
        for message in sent(data, Target("here", "gpt-5", VENDORS["openai"]))["messages"]:
            if isinstance(message.get("content"), list):
                kinds |= {part["type"] for part in message.get("content")}
    assert kinds == {"text", "image_url", "file"}
