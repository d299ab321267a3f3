"""The life of a process: what happens once, after its start."""

import subprocess
import sys

_START = """
import asyncio, gc
from byway.server.lifecycle import _finish_start

async def ready():
    pass

before = len(gc.get_objects())
asyncio.run(_finish_start(ready))
assert gc.get_freeze_count() > 0.9 * before, (gc.get_freeze_count(), before)
assert len(gc.get_objects()) < 0.1 * before, (len(gc.get_objects()), before)
"""


def test_collections_of_garbage_leave_out_what_was_made_at_the_start() -> None:
    # In a process of its own, because nothing thaws these objects.
    subprocess.run([sys.executable, "-c", _START], check=True)
