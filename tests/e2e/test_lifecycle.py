"""The life of a process: what happens once, after its start."""

import subprocess
import sys

_START = """
import asyncio, gc
from byway.server.lifecycle import _finish_start

async def ready():
    pass

made_before = []
asyncio.run(_finish_start(ready))
made_after = []
walked = [id(thing) for thing in gc.get_objects()]
assert id(made_before) not in walked
assert id(made_after) in walked
"""


def test_collections_of_garbage_leave_out_what_was_made_at_the_start() -> None:
    # In a process of its own, because nothing thaws these objects.
    subprocess.run([sys.executable, "-c", _START], check=True)
