"""The ids of tool calls on both sides: unique and well-formed for the client, in the vendor's own form for the backend.

An id that a client cannot take as it is (`functions.Read:0`, or one that the conversation already has) is written into an id
of Byway's own, from which the backend's id is read back without stored state. A short piece of reasoning that the backend
wants back with the call, such as Gemini's thought signature, is written into the id too.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from typing import Final

from byway.backends.protocol import Target
from byway.backends.vendors import ToolIdForm
from byway.messages.reasoning import Reasoning, unpack

#: The official API takes `[a-zA-Z0-9_-]+`; 64 characters is what clients and other servers take.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_PREFIX: Final = "toolu_byway"
#: Prefix, a mark of the backend, how often the conversation has the id, and the backend's id with escapes.
_WRAPPED: Final = re.compile(rf"{_PREFIX}([0-9a-f]{{3}})_(\d{{1,4}})_((?:[A-Za-z0-9_]|-[0-9a-f]{{2}})+)\Z")
_ESCAPED: Final = re.compile(r"-([0-9a-f]{2})")
_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_]")
_LONGEST: Final = 64
#: An id that carries reasoning, for clients that drop the thinking block which carries it too: prefix, digest, the length of the
#: reasoning, the reasoning, and the id without it.
CARRIER: Final = f"{_PREFIX}r_"
_CARRIED: Final = re.compile(rf"{CARRIER}([A-Za-z0-9_-]{{20}})(\d{{3}})([A-Za-z0-9_-]+)\Z")
#: Claude Code names files for ids, and a file name has at most 255 characters.
_LONGEST_CARRIER: Final = 200
_REPEATS_MOST: Final = 9999


#: An id that Byway has made for a call without one: the model wrote the call as text, or its server gives no ids.
_MADE: Final = re.compile(r"toolu_[0-9a-f]{24}_\d+\Z")


def is_made(id: str) -> bool:
    """Return whether Byway has made the id of a call that had none."""
    return _MADE.match(id) is not None


def _mark(backend: str) -> str:
    """Tells backends apart: an id goes back in its own form only to the backend that made it."""
    return blake2b(backend.encode("utf-8", "surrogatepass"), digest_size=2).hexdigest()[:3]


class ClientIds:
    """Gives each tool call of one answer an id that is new in the conversation."""

    __slots__ = ("_answer", "_backend", "_number", "_repeats", "_taken")

    def __init__(self, answer: str, backend: str, taken: set[str]) -> None:
        """`answer`: the id of the answer (`msg_...`). `taken`: the ids of all earlier calls of the conversation."""
        self._answer = answer
        self._backend = backend
        self._taken = taken
        self._repeats: dict[str, int] = {}
        self._number = 0

    def new(self, native: str | None, reasoning: str = "", key: bytes = b"") -> str:
        """The client's id of a call for which the backend's id is `native`.

        `reasoning`: what the backend wants back with the call, as `messages.reasoning.pack` makes it; carried when it is short.
        `key`: that of the backend, with which the id is signed.
        """
        id = self._plain(native)
        if reasoning and len(carrier := _carrier(id, reasoning, key)) <= _LONGEST_CARRIER:
            self._taken.add(carrier)
            return carrier
        return id

    def _plain(self, native: str | None) -> str:
        if native and native not in self._taken and _PLAIN.match(native) and not native.startswith(_PREFIX):
            id = native
        else:
            id = (self._wrapped(native) if native else None) or self._made()
        self._taken.add(id)
        return id

    def _made(self) -> str:
        while (id := f"toolu_{self._answer[4:]}_{self._number}") in self._taken:
            self._number += 1
        self._number += 1
        return id

    def _wrapped(self, native: str) -> str | None:
        """`native` inside an id of Byway's own; None where that would be too long."""
        if len(native) > _LONGEST or not native.isprintable():
            return None
        escaped = _UNSAFE.sub(lambda match: b"-%02x" % match[0][0], native.encode("utf-8", "surrogatepass")).decode()
        number = self._repeats.get(native, 0)
        while number < _REPEATS_MOST:
            number += 1
            id = f"{_PREFIX}{_mark(self._backend)}_{number}_{escaped}"
            if len(id) > _LONGEST:
                return None
            if id not in self._taken:
                self._repeats[native] = number
                return id
        return None


def _carrier(id: str, reasoning: str, key: bytes) -> str:
    digest = blake2b(f"{id} {reasoning}".encode(), digest_size=15, key=key).digest()
    return f"{CARRIER}{base64.urlsafe_b64encode(digest).decode()}{len(reasoning):03d}{reasoning}{id}"


def carried(id: str, key: bytes) -> Reasoning | None:
    """The reasoning in an id that `ClientIds` has made for the backend of `key`; None for any other id."""
    match = _CARRIED.match(id) if id.startswith(CARRIER) else None
    if match is None:
        return None
    size = int(match[2])
    reasoning, plain = match[3][:size], match[3][size:]
    return unpack(reasoning) if compare_digest(_carrier(plain, reasoning, key).encode(), id.encode()) else None


def native_id(id: str, backend: str) -> str:
    """The backend's own form of an id that `ClientIds` has made for it; any other id without the reasoning in it."""
    if not id.startswith(_PREFIX):
        return id
    if carrier := _CARRIED.match(id):
        id = carrier[3][int(carrier[2]) :] or id
    match = _WRAPPED.match(id)
    if match is None or match[1] != _mark(backend):
        return id
    plain = _ESCAPED.sub(lambda escape: chr(int(escape[1], 16)), match[3])
    try:
        return plain.encode("latin-1").decode()
    except UnicodeError:
        return id


#: Families whose templates or servers want ids of one form, wherever they are served: by the model's name.
_KIMI: Final = re.compile(r"kimi|moonshot", re.IGNORECASE)
_MISTRAL: Final = re.compile(r"mi[sx]tral|magistral|ministral|devstral|codestral|pixtral", re.IGNORECASE)
_KIMI_ID: Final = re.compile(r"functions\.[\w.-]+:\d+\Z")
_NINE: Final = re.compile(r"[A-Za-z0-9]{9}\Z")
_ALPHANUMERIC: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORTY: Final = 40


def in_form(id: str, form: ToolIdForm) -> str:
    """An id in the form that a server requires: unchanged when it has it, else made from it, the same each time."""
    match form:
        case "nine":
            return id if _NINE.match(id) else _hashed(id)
        case "forty" if len(id) > _FORTY:
            return f"call_{blake2b(id.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}"
        case _:
            return id


@lru_cache(256)
def _form(form: ToolIdForm, model: str) -> ToolIdForm:
    """The form of a backend's ids. Where its vendor has no form of its own, the name of the model decides."""
    if form == "native":
        if _KIMI.search(model):
            return "kimi"
        if _MISTRAL.search(model):
            return "nine"
    return form


class BackendIds:
    """Gives the calls of one conversation the ids that its backend takes. Calls are passed in order, results after them.

    The id of a call depends on it and the calls before it, never on later ones, so a prompt stays a prefix of the next.
    """

    __slots__ = ("_backend", "_count", "_form", "in_message", "sent")

    def __init__(self, target: Target) -> None:
        self._form = _form(target.vendor.tool_ids, target.like or target.model)
        self._backend = target.backend
        self._count = 0
        self.sent: dict[str, str] = {}
        """The backend's id of each call so far, by its id in the conversation."""
        self.in_message: set[str] = set()
        """The ids in the message that is being built; to be cleared before the next one."""

    def call(self, id: str, name: str) -> str:
        """The backend's id of a call."""
        native = native_id(id, self._backend) if id.startswith(_PREFIX) else id
        if native is not id or self._form != "native":
            native = self._in_form(id, native, name)
        if native in self.in_message:
            # The same id twice in one message: results would be paired wrongly.
            native = _hashed(id) if self._form == "nine" else id
        self._count += 1
        self.in_message.add(native)
        self.sent[id] = native
        return native

    def _in_form(self, id: str, native: str, name: str) -> str:
        match self._form:
            case "native":
                if native != id and _KIMI_ID.match(native):
                    # A model that writes such ids wants all calls of its history to have them.
                    self._form = "kimi"
            case "kimi":
                # https://huggingface.co/moonshotai/Kimi-K2-Instruct/blob/main/docs/tool_call_guidance.md: the counter
                # runs over the whole conversation. K2 stops calling tools where its history has other ids.
                if not _KIMI_ID.match(native):
                    native = f"functions.{name}:{self._count}"
            case "nine":
                if not _NINE.match(native):
                    native = in_form(id, "nine")
            case "forty":
                if len(native) > _FORTY:
                    native = in_form(id, "forty")
        return native

    def result(self, id: str) -> str:
        """The backend's id of the call that a result answers."""
        return self.sent.get(id) or native_id(id, self._backend)


def _hashed(id: str) -> str:
    """Nine letters and digits, the same for the same id."""
    number = int.from_bytes(blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    letters = []
    for _ in range(9):
        number, at = divmod(number, len(_ALPHANUMERIC))
        letters.append(_ALPHANUMERIC[at])
    return "".join(letters)
