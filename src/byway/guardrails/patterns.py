"""Built-in patterns of secrets and personal data. Each takes linear time: no repetition can be tried in many ways. Pure.

Forms of keys are those that the vendors document, most of them in GitHub's list of supported secrets
(https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns, seen 2026-11-30).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, get_args

PatternName = Literal["api_key", "credit_card", "email", "iban", "jwt", "phone", "private_key", "us_ssn"]
PATTERN_NAMES: Final[tuple[PatternName, ...]] = get_args(PatternName)
#: Characters of a text that one match takes, at most. An answer is held back as far.
LONGEST_MATCH: Final = 256
#: Characters behind a match that a pattern looks at, at most.
LOOKAHEAD: Final = 2
_DIGITS: Final = re.compile(r"\D")
#: Lengths of IBANs begin at 15 (Norway) and end at 34 (the standard).
_IBAN_LENGTHS: Final = range(15, 35)
_PHONE_DIGITS: Final = range(8, 16)


class Pattern(NamedTuple):
    """A pattern and what it finds, in words."""

    title: str
    expression: re.Pattern[str]
    confirms: Callable[[str], bool] | None = None
    """Tells a real one from text of the same form, by its check digits for example."""
    steps: int = 0
    """Steps of its search at one character, at most; 0 for a few."""


def luhn(text: str) -> bool:
    """Return whether the digits of `text` have the check digit of payment cards (ISO/IEC 7812)."""
    digits = [int(digit) for digit in _DIGITS.sub("", text)]
    odd, even = digits[-1::-2], digits[-2::-2]
    return len(set(digits)) > 1 and (sum(odd) + sum(sum(divmod(2 * digit, 10)) for digit in even)) % 10 == 0


def is_iban(text: str) -> bool:
    """Return whether `text` has the check digits of an IBAN (ISO 13616)."""
    text = text.replace(" ", "")
    if len(text) not in _IBAN_LENGTHS:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def _is_phone(text: str) -> bool:
    return len(_DIGITS.sub("", text)) in _PHONE_DIGITS


_KEY_FORMS: Final = (
    # Anthropic, OpenAI, Byway, and others with the same form.
    r"sk-(?:ant-|proj-|svcacct-|or-|byway-)?[A-Za-z0-9_-]{20,200}+",
    # Amazon Web Services.
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    # GitHub, GitLab.
    r"gh[pousr]_[A-Za-z0-9]{36,200}+",
    r"github_pat_[A-Za-z0-9_]{22,200}+",
    r"glpat-[A-Za-z0-9_-]{20,100}+",
    # Google.
    r"AIza[A-Za-z0-9_-]{35}",
    # Slack, Stripe, SendGrid.
    r"xox[abeoprs]-[A-Za-z0-9-]{10,200}+",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,200}+",
    r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    # Hugging Face, npm, PyPI, Groq, xAI.
    r"hf_[A-Za-z0-9]{30,100}+",
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,200}+",
    r"gsk_[A-Za-z0-9]{40,100}+",
    r"xai-[A-Za-z0-9]{40,100}+",
)

PATTERNS: Final[dict[PatternName, Pattern]] = {
    "api_key": Pattern("an API key", re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_KEY_FORMS)})")),
    "credit_card": Pattern(
        "a number of a payment card",
        re.compile(
            r"(?<![\d.,-])(?:[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{1,7}+|3[47]\d{2}([ -])\d{6}\2\d{5}|[2-6]\d{12,18}+)(?![\d-]|\.\d)"
        ),
        luhn,
    ),
    "email": Pattern(
        "an email address",
        re.compile(r"(?<=[A-Za-z0-9])@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}+)\.){1,3}[A-Za-z]{2,24}+(?![A-Za-z0-9-])"),
    ),
    "iban": Pattern(
        "an IBAN",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}+(?: ?[A-Z0-9]{1,3})?+(?![A-Za-z0-9])"),
        is_iban,
    ),
    "jwt": Pattern(
        "a JSON web token",
        re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,120}+\.eyJ[A-Za-z0-9_-]{10}"),
    ),
    "phone": Pattern(
        "a phone number",
        re.compile(r"(?<![\w+.])\+\d{1,4}+(?:[ .-]?\(\d{1,4}\))?+(?:[ .-]?\d{1,5}+){2,5}+(?![\d-])"),
        _is_phone,
    ),
    "private_key": Pattern(
        "a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
    ),
    "us_ssn": Pattern(
        "a US social security number",
        re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"),
    ),
}
