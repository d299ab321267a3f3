"""The process that parses one document: job and bytes on stdin, title and text on stdout.

`pool.py` starts it as `python -m byway.parsing.worker`. Parsers of HTML and PDF, and the patterns of models, handle hostile
input here: without secrets in the environment, with limits on memory and CPU time, and with a parent that kills the process.
"""

from __future__ import annotations

import sys
from typing import Final

import msgspec

from byway import platform
from byway.parsing.html import decode_text, parse_html
from byway.parsing.job import Parsed, ParseJob
from byway.parsing.patterns import PatternError, matching
from byway.parsing.pdf import parse_base64, parse_pdf

_MEMORY: Final = 1 << 30
_CPU_SECONDS: Final = 30


def parse(job: ParseJob, data: bytes) -> Parsed:
    """Parse one document; all that can be wrong with it is in the result."""
    try:
        match job.kind:
            case "html":
                return parse_html(decode_text(data, job.charset, html=True), job.url)
            case "pdf":
                return parse_pdf(data)
            case "pdf_base64":
                return parse_base64(data)
            case "pattern":
                return Parsed(matches=matching(job.pattern, msgspec.json.decode(data, type=list[list[str]])))
    except ImportError as error:
        return Parsed(missing=error.name or str(error))
    except PatternError as error:
        return Parsed(problem=str(error))
    except MemoryError:
        return Parsed(problem="it takes too much memory to parse")


def main() -> None:
    """Parse one document and exit."""
    platform.end_with_parent()
    platform.lower_priority()
    platform.limit_resources(_MEMORY, _CPU_SECONDS)
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=ParseJob)
    result = parse(job, sys.stdin.buffer.read())
    sys.stdout.buffer.write(msgspec.json.encode(result))
    sys.stdout.buffer.flush()
    # No clean-up: freeing a deeply nested tree takes long.
    platform.exit_now(0)


if __name__ == "__main__":
    main()
