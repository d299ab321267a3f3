"""Turns the errors of config, store, secrets and files into Problem, the one error that the admin services raise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from byway.config import ConfigError
from byway.config.editing import ConfigChanged, EditError
from byway.problems import Problem
from byway.secrets.vault import InvalidSecret, KeychainUnavailable, VaultError
from byway.store import StoreError

T = TypeVar("T")


async def run(service: Callable[[], T]) -> T:
    """Call a service in a thread, because it reads and writes files. Raises Problem."""

    def call() -> T:
        with as_problems():
            return service()

    return await asyncio.to_thread(call)


def invalid(field: str, message: str) -> Problem:
    """The Problem for an invalid value of `field` in a request. The message begins with the field's name."""
    return Problem("invalid_request", f"{field}: {message}", facts={"field": field})


def too_many(what: str, wait: float) -> Problem:
    """The Problem for too many attempts (`what`), of which the next is possible in `wait` seconds."""
    minutes = max(1, round(wait / 60))
    return Problem("rate_limit", f"Too many {what}. Try again in {minutes} minutes.", retry_after=wait)


@contextlib.contextmanager
def as_problems() -> Iterator[None]:
    """Raise each known error of the services below as a Problem with the same text."""
    try:
        yield
    except ConfigError as error:
        raise Problem("invalid_request", f"The config would be invalid, so nothing was changed.\n{error}") from None
    except EditError as error:
        raise Problem("invalid_request", f"The config file cannot be changed. {error.problem}") from None
    except ConfigChanged as error:
        conflicts = msgspec.json.encode([conflict._asdict() for conflict in error.conflicts]).decode()
        raise Problem("stale", str(error), facts={"etag": error.etag, "conflicts": conflicts}) from None
    except KeychainUnavailable as error:
        raise Problem("invalid_request", str(error), facts={"field": "accept_file"}) from None
    except InvalidSecret as error:
        raise Problem("invalid_request", str(error), facts={"field": "value"}) from None
    except (VaultError, StoreError) as error:
        raise Problem("internal", str(error)) from None
    except (KeyError, IndexError):
        # These are mistakes in the code. The services raise a plain LookupError for a missing resource.
        raise
    except LookupError as error:
        raise Problem("not_found", str(error.args[0] if error.args else error)) from None
    except ValueError as error:
        raise Problem("invalid_request", str(error)) from None
    except RecursionError:
        raise Problem("invalid_request", "The changes are nested too deeply.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise Problem("invalid_request", "A name or path is longer than this system allows.") from None
        file = error.filename or "A file"
        raise Problem("internal", f"{file} cannot be used: {error.strerror or error}. Nothing was changed.") from None
