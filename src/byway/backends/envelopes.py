"""Finds the human sentence, the error codes and the wait in the error body of any server. Nothing is classified here.

The forms are those of OpenAI, Anthropic, Google, OpenRouter, Azure, AWS, Cloudflare, MiniMax, Baidu, Apigee, FastAPI, LiteLLM,
new-api and others (seen 2026-11-29), and every nesting of them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from byway.decoding import DECODE_ERRORS
from byway.wordings import Wording

#: Levels and members that are looked at. Real errors have three levels.
_MAX_DEPTH: Final = 8
_MAX_MEMBERS: Final = 4
_MAX_TEXTS: Final = 24
#: Characters of a text in which JSON is looked for, and of a body that is shown when it has no known field.
_MAX_NESTED: Final = 8000
_MAX_SHOWN: Final = 200
#: Fields that contain the sentence, or lead to it, in order. `param` is a sentence at MiMo only.
_FIELDS: Final = (
    *("message", "error", "error_description", "detail", "details", "Message", "msg", "error_msg", "error_message"),
    *(
        "errorMessage",
        "errors",
        "base_resp",
        "status_msg",
        "fault",
        "faultstring",
        "response",
        "param",
        "title",
        "reason",
        "inner_error",
        "innererror",
    ),
)
#: At the top, `error` comes before `message`.
_TOP_FIELDS: Final = ("error", *(field for field in _FIELDS if field != "error"))
_CODE_FIELDS: Final = (
    *("code", "type", "status", "error_type", "error_code", "reason", "status_code", "http_code", "provider_code"),
    *("__type", "errorcode", "errorCode", "quotaId"),
)
_NUMBER_FIELDS: Final = ("n_prompt_tokens", "n_ctx")
#: A sentence has a blank in it, or is Chinese. These have one and mean nothing.
_SENTENCE: Final = Wording(r"\s|[\u3000-\u9fff]")
_GENERIC: Final = Wording(
    r"(?:error[: ]*)?(?:http )?(?:status )?(?:code[: ]*)?\d{3}(?: [a-z ]{0,30})?(?:\(no body\))?"
    r"|(?:the )?(?:upstream |provider |api |model |server |internal |unknown |backend )*(?:provider |request )?"
    r"(?:returned (?:an )?error|request failed|server error|api error|error|failed|error occurred)"
    r"|param incorrect|bad request|invalid request|forbidden|unauthorized|not found|access denied|permission denied"
    r"|too many requests|service unavailable|bad gateway|gateway time-?out|payment required|unprocessable entity"
    r"|internal server error|no body|something went wrong|an error occurred|openai_error|bad response status code \d+"
)
#: Prefixes and suffixes that gateways add.
_PREFIX: Final = Wording(
    r"(?:litellm\.\w+: (?:\w+Exception - )?|Error code: \d{3} - |Error: |data: ?|event: ?error\s+data: ?)+"
)
_REQUEST_ID: Final = Wording(r"\s*\(?\brequest[ _]id: ?[\w-]+\)?\s*$", re.IGNORECASE)
_PAGE: Final = Wording(r"<!doctype html|<html", re.IGNORECASE)
_XML_MESSAGE: Final = Wording(r"<(message|code)>\s*([^<]{1,2000})<", re.IGNORECASE)


class ErrorBody:
    """What an error body says: `message` (a sentence, or empty), `codes` in lower case, `status`, and numbers by name."""

    __slots__ = ("codes", "is_page", "numbers", "parameter", "retry_delay", "status", "texts")

    def __init__(self) -> None:
        self.codes: set[str] = set()
        self.status = 0
        """A status that the body names; 0: none."""
        self.numbers: dict[str, int] = {}
        self.parameter = ""
        """The field of the request that the error names in `param`, or at the beginning of `loc`."""
        self.retry_delay = ""
        """Google's `RetryInfo.retryDelay`, such as `34s`."""
        self.is_page = False
        """The body is a web page."""
        self.texts: list[str] = []
        """All texts of the error, the best one first."""

    @property
    def message(self) -> str:
        """The first text that is a sentence; without one, the first text."""
        sentence = next((text for text in self.texts if _is_sentence(text)), "")
        return sentence or next(iter(self.texts), "")

    @property
    def has_sentence(self) -> bool:
        """A text explains the error."""
        return any(map(_is_sentence, self.texts))

    def read(self, value: Any, depth: int = 0) -> None:
        """Add the texts and codes of `value`, the best text first."""
        if depth > _MAX_DEPTH or len(self.texts) >= _MAX_TEXTS:
            return
        if isinstance(value, str):
            self._read_text(value, depth)
        elif isinstance(value, list):
            for member in value[:_MAX_MEMBERS]:
                self.read(member, depth + 1)
        elif isinstance(value, dict):
            self._read_object(value, depth)

    def _read_object(self, value: dict[str, Any], depth: int) -> None:
        for name in _CODE_FIELDS:
            self._add_code(name, value.get(name))
        for name in _NUMBER_FIELDS:
            if type(value.get(name)) is int:
                self.numbers.setdefault(name, value[name])
        parameter = value.get("param")
        if isinstance(parameter, str) and not _SENTENCE.search(parameter):
            self.parameter = self.parameter or parameter[:100]
        if isinstance(value.get("retryDelay"), str):
            self.retry_delay = value["retryDelay"][:32]
        if isinstance(value.get("violations"), list):
            self.read(value["violations"], depth + 1)
        metadata = value.get("metadata")
        if isinstance(metadata, dict):
            self.read(metadata.get("raw"), depth + 1)
            for name in _CODE_FIELDS:
                self._add_code(name, metadata.get(name))
        location = value.get("loc")
        if isinstance(location, list | tuple) and isinstance(value.get("msg"), str):
            # FastAPI: the field that is wrong, and why.
            path = ".".join(str(part) for part in location[:_MAX_DEPTH])
            names = [part for part in location[:_MAX_DEPTH] if isinstance(part, str) and part != "body"]
            self.parameter = self.parameter or "".join(names[:1])[:100]
            self.texts.append(f"{path}: {value['msg']}" if path else value["msg"])
            return
        for name in _FIELDS if depth else _TOP_FIELDS:
            inner = value.get(name)
            if isinstance(inner, str) and name in _CODE_FIELDS and not _is_sentence(inner):
                continue
            if name == "param" and not (isinstance(inner, str) and _is_sentence(inner)):
                continue
            self.read(inner, depth + 1)
        for name in ("code", "type"):
            # xAI writes a sentence there.
            if isinstance(value.get(name), str) and _is_sentence(value[name]):
                self.read(value[name], depth + 1)

    def _add_code(self, name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int | str) or value in (0, ""):
            return
        text = str(value)[:100]
        if name == "__type":
            # AWS puts the namespace of the service in front.
            text = text.rpartition("#")[2]
        # MiniMax's numbers mean other things than those of GLM.
        self.codes.add(f"status_code:{text}" if name == "status_code" else text.lower())
        number = int(text) if re.fullmatch(r"[45]\d\d", text) else 0
        if number and not self.status and name in ("code", "status", "status_code", "http_code", "provider_code"):
            self.status = number

    def _read_text(self, text: str, depth: int) -> None:
        text = _PREFIX.compiled.sub("", text[:_MAX_NESTED].strip(), count=1).strip()
        if _PAGE.compiled.match(text):
            self.is_page = True
            return
        opening, closing = ("[", "]") if text.startswith("[") else ("{", "}")
        start = text.find(opening)
        if start >= 0:
            inner = decode(text[start : text.rfind(closing) + 1])
            if inner is not None:
                before = len(self.texts)
                self.read(inner, depth + 1)
                if any(map(_is_sentence, self.texts[before:])):
                    return
        text = _REQUEST_ID.compiled.sub("", text)
        if any(letter.isalnum() for letter in text):
            self.texts.append(text)


def parse(body: bytes) -> ErrorBody:
    """Read the body of an error. Raises nothing."""
    error = ErrorBody()
    text = body[: 4 * _MAX_NESTED].decode(errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("<"):
        matches = [] if _PAGE.compiled.match(text) else _XML_MESSAGE.compiled.findall(text)
        error.is_page = not matches
        for name, words in matches[:_MAX_MEMBERS]:
            if name.lower() == "code":
                error.codes.add(words.strip().lower()[:100])
            else:
                error.read(words.strip(), 1)
        return error
    value = decode(body)
    if value is None:
        # Plain text, or server-sent events. A long text is a log or noise.
        error.read(text if len(body) <= 2000 or "{" in text[:200] else text[:_MAX_SHOWN], 1)
        if len(error.message) > 2000:
            error.texts = [error.message[:_MAX_SHOWN]]
        return error
    error.read(value)
    shown = "" if error.message else msgspec.json.encode(value).decode()
    if any(letter.isalnum() for letter in shown) and value is not None:
        error.texts.append(shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}...")
    return error


def from_value(value: Any) -> ErrorBody:
    """Read an error object, or a text, that stood in an answer."""
    error = ErrorBody()
    error.read({"error": value} if isinstance(value, dict) and "error" not in value else value)
    return error


def failure_in_success(body: Mapping[str, Any]) -> bool:
    """Return whether an answer with status 200 reports a failure: MiniMax's `base_resp`, and gateways of GLM and others."""
    status = body.get("base_resp")
    if isinstance(status, dict) and status.get("status_code") not in (None, 0, "0"):
        return True
    if body.get("success") is False or body.get("error") or body.get("errors"):
        return True
    code = body.get("code")
    return code not in (None, 0, "0", 200, "200", "", "success") and any(
        isinstance(body.get(name), str) and body[name] for name in ("message", "msg", "error_msg", "Message")
    )


def _is_sentence(text: str) -> bool:
    return _SENTENCE.search(text) is not None and _GENERIC.fullmatch(text.strip(" .!:").lower()) is None


def decode(text: str | bytes) -> Any:
    """Return the JSON value of a text, or the Python literal that the SDKs of OpenAI print; None when it is neither."""
    try:
        return msgspec.json.decode(text)
    except (UnicodeError, *DECODE_ERRORS):
        pass
    if isinstance(text, str) and text.startswith(("{'", "[{'")):
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
    return None
