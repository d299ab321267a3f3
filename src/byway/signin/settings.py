"""The document of `GET /managed/settings`: its checksum is the one that Claude Code computes (2.1.329, measured 2026-11-29)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn

from byway.signin.contract import SAFE_KEYS, SAFE_PERMISSIONS, SAFE_VARIABLES

_NAMESPACE: Final = uuid.UUID("6f4f7f0e-7c3f-4f7b-9c55-0a6c1f2f6b51")


#: Characters of the settings that one entry of the config can have as JSON.
_LONGEST: Final = 64 << 10
#: Fractions between these are written by JavaScript as Python writes them. Whole numbers are exact up to 2 ** 53.
_SMALLEST, _LARGEST = 1e-4, 1e15
_EXACT: Final = 1 << 53

#: Byway's MCP server in Claude Code, and the rule that allows its search without a question.
MCP_SERVER: Final = "byway"
SEARCH_RULE: Final = f"mcp__{MCP_SERVER}__web_search"


def mcp_entry(url: str, token: str) -> dict[str, Any]:
    """Byway's MCP server as Claude Code configures one."""
    return {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {token}"}}


def web_search_settings(url: str, token: str) -> dict[str, Any]:
    """The settings that allow the search of Byway's MCP server without a question, and add the server unless `url` is empty."""
    settings: dict[str, Any] = {"permissions": {"allow": [SEARCH_RULE]}}
    if url:
        settings["managedMcpServers"] = {MCP_SERVER: mcp_entry(url, token)}
    return settings


def checksum(settings: Mapping[str, Any]) -> str:
    """`sha256:` and the hash of the settings as JSON with sorted keys and without spaces.

    Numbers must be integers or have a fraction: JavaScript writes 1.0 as 1.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def document(settings: Mapping[str, Any], sum: str) -> bytes:
    """The body of the answer. `sum` is the checksum of `settings`."""
    body = {"uuid": str(uuid.uuid5(_NAMESPACE, sum)), "checksum": sum, "settings": settings}
    return json.dumps(body, ensure_ascii=False).encode()


def matches(if_none_match: str, sum: str) -> bool:
    """Whether a client has the document with this checksum, by its header `If-None-Match`."""
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_none_match.split(",")]
    return sum in tags or "*" in tags


@lru_cache(64)
def read_settings(text: str) -> Mapping[str, Any]:
    """The settings in a JSON text of the config. Raises ValueError for what no client could read, or would hash otherwise."""
    if len(text) > _LONGEST:
        raise ValueError(f"these are {len(text):,} characters; {_LONGEST:,} are allowed")
    try:
        value = json.loads(text, parse_float=_fraction, parse_int=_whole, parse_constant=_no_number)
        # A lone surrogate cannot be sent.
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from None
    except UnicodeEncodeError:
        raise ValueError("it contains half a character (a surrogate)") from None
    if not isinstance(value, dict):
        raise ValueError('expected a JSON object: {"permissions": {"deny": ["WebFetch"]}}')
    return value


def _fraction(text: str) -> float | int:
    number = float(text)
    if number and not _SMALLEST <= abs(number) < _LARGEST:
        raise ValueError(f"the number {text[:30]} is too large or too small")
    return int(number) if number == int(number) else number


def _whole(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > _EXACT:
        raise ValueError(f"the number {text[:30]} is too large")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def unsafe_names(settings: Mapping[str, Any]) -> Iterator[str]:
    """The names in a document of settings that are outside the safe list, such as `env.PATH` and `hooks`."""
    for key, value in settings.items():
        if key == "env" and isinstance(value, Mapping):
            yield from (f"env.{name}" for name in value if name not in SAFE_VARIABLES)
        elif key == "permissions" and isinstance(value, Mapping):
            yield from (f"{key}.{name}" for name in value if name not in SAFE_PERMISSIONS)
        elif key not in SAFE_KEYS:
            yield key


def merged(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """One document of several: later values replace earlier ones, mappings and lists below a key are joined at one level."""
    settings: dict[str, Any] = {}
    for document in documents:
        for key, value in document.items():
            before = settings.get(key)
            if isinstance(before, dict) and isinstance(value, Mapping):
                settings[key] = before | {name: _joined(before.get(name), part) for name, part in value.items()}
            else:
                settings[key] = dict(value) if isinstance(value, Mapping) else value
    return settings


def _joined(before: Any, value: Any) -> Any:
    """The lists of permissions of two documents, without repetitions; any other value replaces the one before."""
    if isinstance(before, list) and isinstance(value, list):
        return [*before, *(part for part in value if part not in before)]
    return value
