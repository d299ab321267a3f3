"""Checks and compares base URLs of endpoints, and proposes a corrected form. Pure: no lookup and no connection."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from byway import urls
from byway.upstream.address import is_self_hosted

#: Quotes that editors, shells and web pages add around a value.
_QUOTES: Final = "\"'`\u2018\u2019\u201c\u201d\u00ab\u00bb"
_ASSIGNMENT: Final = re.compile(r"(?i)(?:export\s+|set\s+|\$env:)?ANTHROPIC_BASE_URL\s*=\s*")
_SCHEME: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://")
#: `http:/host` and `http:host`: a scheme with too few slashes.
_FEW_SLASHES: Final = re.compile(r"(?i)(https?):/?(?=[^/])")
_OTHER_SCHEME: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*):(?!\d|\[)")
#: Paths that clients append themselves. A base URL that contains one leads to `/v1/v1/messages`.
_API_PATH: Final = re.compile(r"(?:/v1(?:/(?:messages(?:/count_tokens)?|models))?)+\Z")
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
#: Characters of a base URL. Longer input is not a URL.
_LONGEST: Final = 2_000


class AddressCheck(NamedTuple):
    """The result of checking a base URL."""

    given: str
    url: str
    """The usable URL, without a slash at its end; empty when the input is refused."""
    repairs: tuple[str, ...] = ()
    """What differs from the input, one remark each; empty when the input is usable as it is."""
    problem: str = ""
    """Why the input is refused."""
    warning: str = ""

    @property
    def state(self) -> Literal["ok", "fixable", "refused"]:
        """`fixable`: `url` is a suggestion that a user has to accept."""
        return "refused" if self.problem else "fixable" if self.repairs else "ok"

    @property
    def objection(self) -> str:
        """Why the input cannot be used as it is; empty when it can."""
        if self.problem or not self.repairs:
            return self.problem
        return f"{'; '.join(self.repairs)}. Correct form: {self.url}"


def check_address(given: str) -> AddressCheck:
    """Check a base URL that a user typed or a file contains."""
    if len(given) > _LONGEST:
        return AddressCheck(given[:100], "", problem=f"It has more than {_LONGEST:,} characters.")
    repairs: list[str] = []
    text = _without_wrapping(given, repairs)
    if not text:
        return AddressCheck(given, "", problem="It is empty. Enter a URL such as http://127.0.0.1:8766.")
    text, problem = _with_scheme(text, repairs)
    if problem:
        return AddressCheck(given, "", problem=problem)
    text = _without_query(text, repairs)
    try:
        url = urls.parse(text)
    except ValueError as error:
        return AddressCheck(given, "", problem=f"It {error}. Enter a URL such as http://127.0.0.1:8766.")
    origin = url.origin
    if url.host in _WILDCARDS:
        host = _WILDCARDS[url.host]
        origin = origin.replace("[::]" if ":" in url.host else url.host, host, 1)
        repairs.append(f"{url.host} is an address to listen at, not to connect to: use {host}")
    path = url.path.rstrip("/")
    if shorter := _API_PATH.search(path):
        repairs.append(f"clients append {shorter[0]} themselves: leave it out")
        path = path[: shorter.start()].rstrip("/")
    result = origin + path
    warning = ""
    if url.scheme == "http" and not is_self_hosted(result):
        warning = "Plain http to a public host: every network in between can read the prompts and the key. Use https."
    return AddressCheck(given, result, tuple(repairs), warning=warning)


def same_url(left: str, right: str) -> bool:
    """Do two base URLs lead to the same place? `localhost` is 127.0.0.1."""
    return _comparable(left) == _comparable(right)


def same_server(left: str, right: str) -> bool:
    """Do two base URLs have the same host and port?"""
    return _comparable(left)[1] == _comparable(right)[1]


def _comparable(url: str) -> tuple[str, str, str]:
    """The scheme, the host with its port, and the path. Text that is not a URL counts as a host."""
    text = (check_address(url).url or url.strip()).lower()
    try:
        parts = urlsplit(text)
    except ValueError:
        return "", text, ""
    return parts.scheme, parts.netloc.replace("localhost", "127.0.0.1"), parts.path.rstrip("/")


def shown_url(url: str) -> str:
    """A base URL without a user name and password."""
    try:
        login, mark, _ = urlsplit(url).netloc.rpartition("@")
    except ValueError:
        return "a value that is not a URL"
    return (url.replace(login, "***") if mark else url)[:200] or "an empty value"


def _without_wrapping(given: str, repairs: list[str]) -> str:
    """The text without an assignment, quotes and spaces around or inside it."""
    text = given.strip()
    if text != given:
        repairs.append("remove the spaces around it")
    if assignment := _ASSIGNMENT.match(text):
        text = text[assignment.end() :]
        repairs.append("leave out the name of the variable")
    if text.strip(_QUOTES + " ") != text:
        text = text.strip(_QUOTES + " ")
        repairs.append("remove the quotes")
    joined = "".join(text.split())
    if joined != text:
        repairs.append("remove the spaces inside it")
    return joined


def _with_scheme(text: str, repairs: list[str]) -> tuple[str, str]:
    """The text with http:// or https:// in front; or a problem."""
    if match := _SCHEME.match(text):
        if match[1].lower() not in ("http", "https"):
            return "", f"It starts with {match[1]}://. Claude Code supports http:// and https:// only."
        return text, ""
    if match := _FEW_SLASHES.match(text):
        repairs.append("two slashes belong behind the scheme")
        return f"{match[1]}://{text[match.end() :]}", ""
    if (match := _OTHER_SCHEME.match(text)) and "@" not in text:
        return "", f"It starts with {match[1]}:. Claude Code supports http:// and https:// only."
    rest = text.removeprefix("//")
    # A public host is expected to have a certificate.
    scheme = "http" if is_self_hosted(f"http://{rest}") else "https"
    repairs.append(f"the scheme is missing: add {scheme}://")
    return f"{scheme}://{rest}", ""


def _without_query(text: str, repairs: list[str]) -> str:
    """The text without `?` and `#` parts: clients append a path, which would become a part of them."""
    cut = re.split(r"[?#]", text, maxsplit=1)[0]
    if cut != text:
        repairs.append("leave out the part from ? or # on")
    return cut
