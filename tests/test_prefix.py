"""What is sent of one request is the beginning of what is sent of the next, and of another conversation's: docs/prefix.md.

`recorded/prefix` has the real client's requests, their texts and schemas shortened to marks like `[812 characters, 3f0a21]`.
"""

from __future__ import annotations

import http.client
import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from growth import assert_linear
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from papers import with_pdfs
from waiting import wait_until

from bench import prefix as bench
from bench import tap
from byway.backends.openai.request import request
from byway.backends.protocol import Target
from byway.backends.vendors import VENDORS
from byway.messages import claudecode
from byway.messages.request import Turn, parse
from byway.messages.systemtext import system_text

FOLDER = Path(__file__).parent / "recorded" / "prefix"
CONVERSATIONS = sorted(path.stem for path in FOLDER.glob("*.json") if not path.stem.startswith("openings"))
TARGET = Target("here", "local", VENDORS["llamacpp"])

#: Requests that do not begin as the one before them does, and why: nothing that Byway could change.
COMPACTED = "the client has put a summary in the place of the conversation, or tries another request for one"
LOADED = "a tool was loaded: tools stand in front of everything"
NO_SEARCH = "a 400 made the client give up tool search: it offers other tools"
NOTED = "an answer without text: the client adds a note to the user's last words"
FOLDED = "a 400 made the client write its system messages as the user's"
HOOK = "a hook's agent: it has other tools"
EXCEPTIONS = {
    ("c_autocompact", 2): COMPACTED,
    ("c_autocompact", 3): COMPACTED,
    ("c_toolong", 3): COMPACTED,
    ("c_toolong", 4): COMPACTED,
    ("e400", 2): NO_SEARCH,
    ("e_rolesys", 1): FOLDED,
    ("empty", 1): NOTED,
    ("hook_prompt", 3): HOOK,
    ("mcp_default", 1): LOADED,
    ("only_thinking", 1): NOTED,
}


class Sent:
    """One request as it goes to a server."""

    def __init__(self, body: dict[str, Any]) -> None:
        sent = parse(json.dumps(body).encode(), {}, "msg_1")
        call = request(sent, with_pdfs(sent, TARGET))
        fields = msgspec.json.decode(call.body, type=dict[str, Raw])
        self.tools = bytes(fields.get("tools", Raw(b"[]")))
        self.prompt = self.tools + bytes(fields["messages"])
        self.messages: list[dict[str, Any]] = json.loads(bytes(fields["messages"]))

    @property
    def system(self) -> str:
        assert self.messages[0]["role"] == "system"
        return str(self.messages[0]["content"])

    @property
    def common(self) -> str:
        """The system text up to the conversation's first own word."""
        return self.system.partition("# This conversation\n")[0]

    @property
    def question(self) -> str:
        first = next(message for message in self.messages if message["role"] == "user")
        assert isinstance(first["content"], str)
        return first["content"]

    def begins(self, later: Sent) -> bool:
        return later.prompt.startswith(self.prompt[:-1])


@cache
def recorded(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return body


def lanes(name: str) -> list[list[tuple[int, Sent]]]:
    """The requests of a recording with their numbers: of the main agent, then of each subagent. Helper calls (titles,
    classifiers, summaries of pages) offer no tools and are conversations of one request."""
    table: dict[str, list[tuple[int, Sent]]] = {}
    for number, value in enumerate(recorded(name)["requests"]):
        if value["body"].get("tools"):
            table.setdefault(value["agent"], []).append((number, Sent(value["body"])))
    return list(table.values())


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_request_is_a_byte_prefix_of_the_next(name: str) -> None:
    broken = {
        (name, at) for lane in lanes(name) for (_, before), (at, after) in pairwise(lane) if not before.begins(after)
    }
    assert broken == {known for known in EXCEPTIONS if known[0] == name}


@pytest.mark.parametrize(("name", "at"), [known for known, why in EXCEPTIONS.items() if why == LOADED])
def test_a_loaded_tool_comes_after_the_earlier_ones(name: str, at: int) -> None:
    (before, after) = (Sent(recorded(name)["requests"][number]["body"]) for number in (at - 1, at))
    assert after.tools != before.tools
    assert after.tools.startswith(before.tools[:-1] + b",")
    assert after.messages[: len(before.messages)] == before.messages


@pytest.mark.parametrize(("name", "at"), [known for known, why in EXCEPTIONS.items() if why == NOTED])
def test_a_note_of_the_client_comes_after_the_text_it_refers_to(name: str, at: int) -> None:
    (before, after) = (Sent(recorded(name)["requests"][number]["body"]) for number in (at - 1, at))
    assert (after.tools, after.system) == (before.tools, before.system)
    assert after.question.startswith(before.question)


@pytest.mark.parametrize(("name", "at"), [known for known, why in EXCEPTIONS.items() if why == COMPACTED])
def test_a_compacted_conversation_keeps_its_tools(name: str, at: int) -> None:
    (before, after) = (Sent(recorded(name)["requests"][number]["body"]) for number in (at - 1, at))
    assert after.tools == before.tools


# ------------------------------------------------------------------------------------------------- across conversations

VERSIONS = ("2.1.329", "2.1.197")
#: Two conversations of the same tools and instructions, in different folders, states of the repository, and questions.
PAIRS = (
    ("plain", "repository"),
    ("repository", "branch"),
    ("plain", "branch"),
    ("unknown model, plain", "unknown model, branch"),
    ("bare, plain", "bare, branch"),
    ("own system prompt, plain", "own system prompt, branch"),
    ("own subagent 1", "own subagent 2"),
    ("general subagent 1", "general subagent 2"),
    ("general subagent 1", "general subagent elsewhere"),
)
OPENINGS = [(version, name) for version in VERSIONS for name in recorded(f"openings-{version}")["openings"]]


def opening(version: str, name: str) -> dict[str, Any]:
    result: dict[str, Any] = recorded(f"openings-{version}")["openings"][name]
    return result


def texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [block["text"] for block in content]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("value", "other"), PAIRS)
def test_two_conversations_share_everything_before_their_first_own_word(version: str, value: str, other: str) -> None:
    first, second = Sent(opening(version, value)), Sent(opening(version, other))
    assert first.prompt != second.prompt
    assert first.tools == second.tools
    shorter, longer = sorted((first.common, second.common), key=len)
    assert longer.startswith(shorter)
    # 2.1.197 says the date in a reminder of its own only where there is no CLAUDE.md.
    assert longer == shorter or longer[len(shorter) :].startswith("<system-reminder>\nAs you answer")
    # Nothing that is for every conversation stands behind it.
    for sent in (first, second):
        for mark in (
            "Available agent types",
            "The following skills",
            "Platform: ",
            "Attribution for",
            "You are powered",
        ):
            assert mark not in sent.prompt.decode().partition("# This conversation")[2]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["own", "general"])
def test_two_subagents_share_everything_before_their_task(version: str, kind: str) -> None:
    first, second = (Sent(opening(version, f"{kind} subagent {number}")) for number in (1, 2))
    task = "Look at the folder number "
    assert (first.tools, first.system) == (second.tools, second.system)
    assert first.question.partition(task)[0] == second.question.partition(task)[0]
    assert first.question.endswith(f"{task}1 and say what there is in it.")


@pytest.mark.parametrize(("version", "name"), OPENINGS)
def test_no_line_is_lost_and_the_question_comes_last(version: str, name: str) -> None:
    body = opening(version, name)
    sent = Sent(body)
    assert len(sent.messages) == 2
    output = "\n".join(message["content"] for message in sent.messages)
    for text in [*texts(body["system"]), *(text for turn in body["messages"] for text in texts(turn["content"]))]:
        if text.startswith("x-anthropic-billing-header"):
            assert text not in output
            continue
        for line in text.splitlines():
            before, memory, path = line.partition("file-based memory at `")
            assert before in output
            if memory:
                path = path.partition("`")[0]
                assert output.count(path) == 1
                assert f" - <memory folder> stands for {path}" in output
    assert sent.question.endswith(texts(body["messages"][0]["content"])[-1])
    assert output.count("<system-reminder>") == output.count("</system-reminder>")


@pytest.mark.parametrize(("version", "name"), OPENINGS)
def test_the_shared_text_has_no_folder_date_or_repository(version: str, name: str) -> None:
    sent = Sent(opening(version, name))
    for own in ("/home/u/", "2026-11-21", "gitStatus", "git repo", "Status:"):
        assert own not in sent.common


# ------------------------------------------------------------------------------------------------------- the pure parts


def split(system: list[str], *messages: tuple[str, Any]) -> tuple[list[str], list[Turn]]:
    body = {
        "model": "m",
        "max_tokens": 1,
        "system": [{"type": "text", "text": text} for text in system],
        "messages": [{"role": role, "content": content} for role, content in messages],
    }
    return claudecode.opening(parse(json.dumps(body).encode(), {}, "msg_1"))


US = "You are Claude Code, Anthropic's official CLI for Claude."


def test_texts_of_another_client_are_not_changed() -> None:
    texts, turns = split(["CWD: /a\nDate: today"], ("user", "Hi"), ("system", "Today's date is 2026-11-21."))
    assert texts == ["CWD: /a\nDate: today"]
    assert [turn.role for turn in turns] == ["user", "system"]


def test_the_attribution_of_another_request_changes_nothing() -> None:
    for digits in ("abc", "def"):
        texts, _ = split(
            [f"x-anthropic-billing-header: cc_version=2.1.197.{digits};", "Be brief.\nCWD: /a"], ("user", "Hi")
        )
        assert texts == ["Be brief.", "# This conversation\nCWD: /a"]
    texts, _ = split(["Be brief.\nCWD: /a"], ("user", "Hi"))
    assert texts == ["Be brief.\nCWD: /a"], "the same text of another client"


def test_a_system_text_is_made_once_for_the_requests_that_repeat_it() -> None:
    first, second = (system_text(["Ä" * 10, "", f"{'b' * 10}"]) for _ in range(2))
    assert first == "Ä" * 10 + "\n\n" + "b" * 10
    assert second is first
    assert (system_text([]), system_text(["", "a"])) == ("", "a")


def test_unknown_wordings_stay_in_place() -> None:
    before = "# Where you are\n - Folder: /a\n - Day: 2026-11-21\n\ngit: clean"
    texts, turns = split([US, before], ("user", "Hi"), ("system", "The folder is /a."), ("assistant", "Yes?"))
    assert texts == [US, before]
    assert [turn.role for turn in turns] == ["user", "system", "assistant"]
    assert turns[0].content == "Hi"


def test_all_questions_before_the_first_answer_are_kept_in_order() -> None:
    _, turns = split([US], ("user", "one"), ("user", "two"), ("user", "three"), ("assistant", "Yes?"))
    assert [turn.content for turn in turns] == ["one", "two", "three", "Yes?"]


def test_a_system_message_after_the_first_answer_stays_in_place() -> None:
    late = "Today's date is 2026-11-22."
    texts, turns = split([US], ("user", "Hi"), ("assistant", "Yes?"), ("user", "Go"), ("system", late))
    assert texts == [US]
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "system"]
    assert turns[-1].content == late


def test_an_environment_of_many_lines_is_moved_as_a_whole() -> None:
    where = (
        "# Environment\n - Primary working directory: C:\\src\\a\n - This is a git worktree: stay here.\n"
        " - Is a git repository: true\n - Additional working directories:\n   - D:\\b\n   - D:\\c\n"
        " - Platform: win32\n - Scratchpad directory: C:\\tmp\\4711 for what is temporary\n\nBe kind."
    )
    texts, turns = split([US, where], ("user", "Hi"))
    assert texts[:-1] == [US, "# Environment\n - Platform: win32\n\nBe kind."]
    assert (
        "\n   - D:\\c\n" in texts[-1] and "C:\\src\\a" in texts[-1] and "4711" in texts[-1] and "worktree" in texts[-1]
    )
    assert turns[0].content == "Hi"


def test_both_folders_of_a_team_memory_get_names() -> None:
    memory = (
        "A persistent, file-based memory system with a private folder at `/a/x/` and another at `/a/y/`.\nIn `/a/x/`"
    )
    texts, _ = split([US, memory], ("user", "Hi"))
    assert texts[1].endswith("at `<memory folder>` and another at `<memory folder 2>`.\nIn `<memory folder>`")
    assert texts[2].endswith("\n - <memory folder> stands for /a/x/\n - <memory folder 2> stands for /a/y/")


def test_texts_of_the_user_are_never_moved() -> None:
    words = "Today's date is 2026-11-21.\nCWD: /a\n - Primary working directory: /b\ngitStatus: This is the git status"
    texts, turns = split([US, "CWD: /c"], ("user", words))
    assert texts == [US, "", "# This conversation\nCWD: /c"]
    assert turns[0].content == words


def test_shared_reminders_join_the_system_text_and_others_stay() -> None:
    agents, memory, hook = (
        f"<system-reminder>\n{text}\n</system-reminder>"
        for text in ("Available agent types for the Agent tool:", "Contents of /a/CLAUDE.md:", "A hook says hello.")
    )
    later = "<system-reminder>\nThe following skills are for you.\n</system-reminder>"
    blocks = [{"type": "text", "text": text} for text in (memory, agents, hook, "Hi", later)]
    texts, turns = split([US], ("user", blocks))
    assert texts == [US, agents]
    assert [block.text for block in turns[0].blocks] == [memory, hook, "Hi", later]  # type: ignore[union-attr]


def test_a_turn_is_never_left_empty() -> None:
    agents = "<system-reminder>\nAvailable agent types for the Agent tool:\n</system-reminder>"
    texts, turns = split([US], ("user", [{"type": "text", "text": agents}]))
    assert texts == [US]
    assert turns[0].blocks[0].text == agents  # type: ignore[union-attr]


def test_a_very_long_text_is_not_changed() -> None:
    long = "CWD: /a\n\n" + "x" * 200_000
    assert split([US, long], ("user", "Hi"))[0] == [US, long]


@given(
    st.lists(st.sampled_from(["CWD: /a", "Date: 1", "x", "", "# Environment", " - Is a git repository: true", "  - y"]))
)
def test_every_line_is_in_one_of_the_two_parts(lines: list[str]) -> None:
    common, own = claudecode._split("\n".join(lines))
    parts = [*common.splitlines(), *(line for text in own for line in text.splitlines())]
    assert sorted(line for line in parts if line) == sorted(line for line in lines if line)


@given(st.text(alphabet="CWD:Date gitStatus\n-`/<>.T'oys", max_size=300))
def test_splitting_a_text_again_changes_nothing(text: str) -> None:
    common, own = claudecode._split(text)
    assert sum(map(len, own)) + len(common) <= len(text) + 40
    assert claudecode._split(text) == (common, own)


# --------------------------------------------------------------------------------------------------------- the benchmark


def test_the_own_part_of_a_request_is_what_no_earlier_request_had() -> None:
    first = {"system": "Be brief.", "messages": [{"role": "user", "content": "One\nTwo"}]}
    result = [{"type": "tool_result", "content": [{"type": "text", "text": "Three"}]}, {"type": "text", "text": "Two"}]
    second = {"system": [{"type": "text", "text": "Be brief."}], "messages": [{"role": "user", "content": result}]}
    assert bench.new_lines([first, second]) == ["Be brief.\nOne\nTwo", "Three"]


def test_the_counts_of_either_protocol_are_read() -> None:
    chat = (
        b'data: {"choices":[]}\n\ndata: {"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}}\n\n'
    )
    start = b'data: {"message":{"usage":{"input_tokens":5,"cache_read_input_tokens":4}}}'
    messages = start + b'\n\ndata: {"usage":{"output_tokens":1}}'
    assert tap.counted(chat) == tap.counted(messages) == (9, 4)
    assert tap.counted(b"nothing") == (0, 0)


def test_the_table_judges_byway_only() -> None:
    results = [
        bench.Turn(peer, "across", number, 100, cached, 90 if number > 1 else 0, 1.0)
        for peer, later in (("byway", 89), ("litellm", 5))
        for number, cached in ((1, 0), (2, later))
    ]
    text = bench.table(results)
    assert "98.9%" in text and "ok" in text and "below" not in text
    assert bench.result(results)["reused"] == {"across": {"byway": 0.9889, "litellm": 0.0556}}


def test_the_recording_proxy_records_cuts_and_answers() -> None:
    script = tap.message("msg_1", "Hello", {"prompt": "Look"})
    with tap.Tap(script=lambda headers, body: script) as behind, tap.Tap(behind.url, key="k", short=True) as front:
        body = {"model": "m", "max_tokens": 9000, "system": "", "messages": [{"role": "user", "content": "Hi"}]}
        status, outcome = _post(front.port, "/v1/messages", body)
        assert status == 200 and outcome == script.replace(b'"max_tokens"', b'"end_turn"')
        assert [value["max_tokens"] for value in front.requests] == [9000]
        # It writes down what it saw after the client has it.
        wait_until(lambda: front.seen)
        assert [(item.prompt, item.cached) for item in front.seen] == [(1, 0)]


def _post(port: int, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("quoted", ["`a/b` ", "`" + "/" * 40, "`a` "])
def test_the_folders_of_a_long_line_are_found_in_linear_time(quoted: str) -> None:
    """A client chooses this text: nothing in it may make the search slow."""
    assert_linear(lambda size: f"You have a file-based memory {quoted * size}\n", claudecode._split)
