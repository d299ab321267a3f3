"""What we can ask of others: one module per wire protocol, no I/O in any of them.

A *module* satisfies `Backend`; mypy checks it where `PROTOCOLS` is made. The signatures are the whole contract.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

import msgspec

from byway.backends.vendors import Vendor
from byway.call import Call
from byway.messages.events import Part
from byway.messages.pdf import PdfText
from byway.messages.request import Request
from byway.problems import Problem


class Target(msgspec.Struct, frozen=True, gc=False):
    """Backend and model that we ask: what an alias leads to."""

    backend: str
    """The configured backend's name."""
    model: str
    """The name that the backend knows the model by."""
    vendor: Vendor
    window: int | None = None
    """Context window in tokens, where it is known."""
    tools: bool | None = None
    """Does the model's template render tools? None: nobody said."""
    vision: bool | None = None
    """Does the model see images? None: nobody said."""
    max_output: int | None = None
    """The most tokens that one answer may have, where it is known."""
    pdfs: Mapping[str, PdfText] | None = None
    """The texts of the request's PDFs by their base64 data, for a backend that takes no files."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """The facts of one attempt to answer a request at one target."""

    estimate: int = 0
    """Byway's guess at the tokens of the prompt; 0: none was made."""
    room: int | None = None
    """The tokens that the context window has left for the answer, where a refusal has named the numbers."""
    judged: bool = False
    """Byway itself adds the verdicts that the request's `safeguards` want."""
    repairs: tuple[str, ...] = ()
    """Changes of the call's body that refusals have named: see `backends.repairs`."""


FIRST: Final = Attempt()


class ModelFacts(msgspec.Struct, frozen=True):
    """What a backend says of one model. None: it did not say."""

    window: int | None = None
    tools: bool | None = None
    vision: bool | None = None
    max_output: int | None = None
    """The most tokens that one answer may have."""
    source: Literal["", "config", "backend", "learned"] = ""
    """Who said the window: the config, the backend when it was asked, or a refusal of a prompt that did not fit."""

    def over(self, other: ModelFacts) -> ModelFacts:
        """These, and what `other` says where these say nothing."""
        known = self if self.window is not None else other
        return ModelFacts(
            known.window,
            other.tools if self.tools is None else self.tools,
            other.vision if self.vision is None else self.vision,
            other.max_output if self.max_output is None else self.max_output,
            known.source,
        )


class AnswerReader(Protocol):
    """Eats the bytes of one answer and gives events. `close` raises Problem when the answer was cut short or failed."""

    @property
    def finished(self) -> bool:
        """Nothing more is wanted from the backend: time to `close`, even if it goes on sending."""

    @property
    def estimated(self) -> bool:
        """After `close`: the backend said nothing of usage, so the counts are guesses."""

    def feed(self, data: bytes) -> Sequence[Part]: ...

    def close(self) -> Sequence[Part]: ...

    def read_error(self, body: bytes) -> bool:
        """Read the body of an error response. True: it holds an answer, which `close` returns."""


class BackendProtocol(Protocol):
    """A wire protocol: builds calls and reads answers, without I/O. A module satisfies it."""

    @property
    def NATIVE(self) -> bool:
        """The protocol is the Messages API itself: requests and answers pass through unchanged."""

    def request(self, request: Request, target: Target, attempt: Attempt = FIRST) -> Call: ...

    def reader(self, request: Request, target: Target, attempt: Attempt = FIRST) -> AnswerReader: ...

    def problem(self, status: int, headers: Mapping[str, str], body: bytes, target: Target) -> Problem: ...

    def count(self, request: Request, target: Target) -> Call | None:
        """The call that counts tokens; None: estimate here."""

    def read_count(self, body: bytes) -> int: ...

    def models(self) -> Call: ...

    def read_models(self, body: bytes) -> dict[str, ModelFacts]:
        """The models, and what the list says of each."""

    def describe(self, target: Target) -> tuple[Call, ...]:
        """The pages that say more of one model, the one that knows best first."""

    def read_description(self, body: bytes, target: Target) -> ModelFacts: ...
