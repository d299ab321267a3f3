"""Hides the secrets of a config's text while a person edits it, and puts them back when it is saved. Pure.

A mark stands for each secret. It depends on the secret and on a key of this Byway, so it stays the same when lines move.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from byway.config.document import Node, YamlError, read
from byway.config.editing import EditError, Path, meaning, replace_scalars
from byway.config.masking import URL_LOGIN
from byway.config.secretuses import Receiver, secret_uses, values
from byway.config.settings import ConfigProblem
from byway.scrub import Scrubber

#: What a mark begins with; eight hexadecimal digits follow.
PREFIX: Final = "SECRET-NOT-SHOWN-"
_MARK: Final = re.compile(re.escape(PREFIX) + "[0-9a-f]{8}")
#: Comments of a text. A `#` in quotes or in a block of text is one too, so a change is made only where the meaning stays.
_COMMENT: Final = re.compile(r"(?:^|(?<=[ \t]))#[^\n]*", re.MULTILINE)
#: Comments that are examined one by one, when one of them turned out to be part of a value.
_MOST_COMMENTS: Final = 50
_NAMES: Final = "(?:api_?key|key|token|secret|password|authorization)"
_LINE: Final = re.compile(rf"""(?i)^([ \t#-]*["']?\w*{_NAMES}["']?[ \t]*:[ \t]*)(\S.*)$""", re.MULTILINE)
_INLINE: Final = re.compile(rf"""(?i)(\b\w*{_NAMES}["']?[ \t]*[:=][ \t]*["']?)([^,}}\s"'][^,}}\n"']*)""")
_PASSWORD: Final = re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)")
#: The words after which a hidden value ends in a comment: `# key: abc  old one`.
_WORD: Final = re.compile(r"\S+")


class HiddenSecret(NamedTuple):
    """A secret that a mark stands for."""

    value: str
    receivers: frozenset[Receiver | None] | None
    """The servers that it was entered for; None when it is in a comment, or in a file that is not YAML."""


class HiddenText(NamedTuple):
    """A text with marks, and the secret of each mark."""

    text: str
    secrets: dict[str, HiddenSecret]
    is_yaml: bool = True


def hide_secrets(text: str, key: bytes) -> HiddenText:
    """Replace each secret in a config, and in its comments, by a mark. A text that is not YAML is treated line by line."""
    secrets: dict[str, HiddenSecret] = {}

    def hide(value: str, receivers: frozenset[Receiver | None] | None = None) -> str:
        mark = PREFIX + hmac.digest(key, value.encode("utf-8", "replace"), hashlib.sha256).hex()[:8]
        known = secrets.get(mark)
        if known is not None and known.receivers is not None:
            receivers = known.receivers | (receivers or frozenset())
        secrets[mark] = HiddenSecret(value, receivers)
        return mark

    try:
        uses = [use for use in secret_uses(meaning(text)) if use.literal]
        replaced: dict[Path, str] = {}
        words: set[str] = set()
        for use in uses:
            receivers = frozenset((use.receiver,))
            words.update(use.text.split())
            if login := URL_LOGIN.search(use.text):
                replaced[use.path] = URL_LOGIN.sub(hide(login[0], receivers), use.text, count=1)
            else:
                replaced[use.path] = hide(use.text, receivers)
        shown = replace_scalars(text, replaced) if replaced else text
        return HiddenText(change_comments(shown, words, hide), secrets)
    except EditError:
        return HiddenText(_hide_lines(text, hide), secrets, is_yaml=False)


def change_comments(text: str, words: set[str], replace: Callable[[str], str]) -> str:
    """Replace what is a secret, or looks like one, in the comments of a YAML text. `words`: secrets that are known."""
    scrubber = Scrubber(word for word in words if not word.startswith("${"))

    def changed(match: re.Match[str]) -> str:
        return _in_comment(match[0], scrubber, replace)

    result = _COMMENT.sub(changed, text)
    if result == text or meaning(result) == meaning(text):
        return result
    # A value contains what looks like a comment. Each comment is changed on its own, and values stay.
    places = [match for match in _COMMENT.finditer(text) if changed(match) != match[0]]
    if len(places) > _MOST_COMMENTS:
        raise EditError("too many comments contain what looks like a secret")
    before = meaning(text)
    for match in reversed(places):
        attempt = text[: match.start()] + changed(match) + text[match.end() :]
        if meaning(attempt) == before:
            text = attempt
    return text


def _in_comment(comment: str, scrubber: Scrubber, replace: Callable[[str], str]) -> str:
    def word(match: re.Match[str]) -> str:
        value = match[2].strip("\"' ")
        first = _WORD.match(value)
        if first is None or value.startswith(("${", PREFIX, "***")):
            return match[0]
        return match[1] + match[2].replace(first[0].strip("\"'"), replace(first[0].strip("\"'")), 1)

    return scrubber.replace(_PASSWORD.sub(word, _INLINE.sub(word, comment)), replace)


def _hide_lines(text: str, hide: Callable[[str], str]) -> str:
    """Hide values by the names before them: the text is not YAML."""

    def value(match: re.Match[str]) -> str:
        given = match[2].strip()
        plain = given[1:-1] if given[:1] in "\"'" and given[-1:] == given[:1] and len(given) > 1 else given
        if not plain or plain.startswith(("${", PREFIX)) or plain in ("|", ">", "{", "["):
            return match[0]
        return match[1] + match[2].replace(plain, hide(plain), 1)

    return Scrubber().replace(_PASSWORD.sub(value, _INLINE.sub(value, _LINE.sub(value, text))), hide)


class RevealedText(NamedTuple):
    """A typed text with its secrets again. With problems it must not be used."""

    text: str
    problems: tuple[ConfigProblem, ...]


def reveal_secrets(typed: str, current: HiddenText) -> RevealedText:
    """Put the secrets back. A mark counts only as a secret, and for a server that the secret was entered for.

    Raises EditError when the text has marks and is not YAML.
    """
    if PREFIX not in typed:
        return RevealedText(typed, ())
    tree = meaning(typed)
    uses = {use.path: use for use in secret_uses(tree)}
    problems: list[ConfigProblem] = []
    replaced: dict[Path, str] = {}
    for value in values(tree):
        for mark in _MARK.findall(value.text):
            secret = current.secrets.get(mark)
            use = uses.get(value.path)
            if secret is None:
                problems.append(_problem(typed, value.path, _UNKNOWN))
            elif use is None and current.is_yaml:
                problems.append(_problem(typed, value.path, _MISPLACED))
            elif use is not None and secret.receivers is not None and use.receiver not in secret.receivers:
                problems.append(_problem(typed, value.path, _OTHER_SERVER))
            else:
                replaced[value.path] = replaced.get(value.path, value.text).replace(mark, secret.value)
    if problems:
        return RevealedText(typed, tuple(problems))
    shown = replace_scalars(typed, replaced) if replaced else typed

    def comment(match: re.Match[str]) -> str:
        secret = current.secrets.get(match[0])
        return secret.value if secret is not None else match[0]

    text = _MARK.sub(comment, shown)
    if text != shown and meaning(text) != meaning(shown):
        return RevealedText(typed, (ConfigProblem("", None, _MISPLACED),))
    return RevealedText(text, ())


_UNKNOWN: Final = "the hidden secret is not in the file any more. Enter ${VARIABLE} or the secret again"
_MISPLACED: Final = "a hidden secret cannot be used here"
_OTHER_SERVER: Final = "the hidden secret was entered for another server. Enter the secret for this server again"


def _problem(text: str, path: Path, message: str) -> ConfigProblem:
    return ConfigProblem(".".join(map(str, path)), line_of(text, path), message)


def line_of(text: str, path: Path) -> int | None:
    """The line of the value at `path`; None when there is none."""
    try:
        node: Any = read(text.removeprefix("\ufeff"))[0]
    except YamlError:
        return None
    for key in path:
        if not isinstance(node, Node):
            return None
        inner = node.value
        if isinstance(inner, dict) and isinstance(key, str):
            node = inner.get(key)
        elif isinstance(inner, list) and isinstance(key, int) and 0 <= key < len(inner):
            node = inner[key]
        else:
            return None
    return node.line if isinstance(node, Node) else None
