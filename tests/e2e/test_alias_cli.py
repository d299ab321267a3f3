"""`byway alias` beside a running Byway: a changed alias takes effect at once."""

from __future__ import annotations

import json

from beside import command
from gateway import Gateway, config
from scripted import Say, Scripted


def test_a_running_byway_follows() -> None:
    with Scripted(lambda asked: Say("Hi")) as server:
        settings = config(server)
        settings["model_aliases"] = {"haiku": "one/local"}
        with Gateway(settings) as gateway:
            asked = {"model": "blue", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
            assert gateway.post(asked).status == 404
            done = command(gateway, "alias", "set", "blue", "one/local")
            assert done.returncode == 0 and "running Byway takes it" in done.stderr
            gateway.wait(lambda: gateway.post(asked).status == 200, what="the alias leads")
            listed = command(gateway, "alias").stdout
    assert "ready" in listed and "blue" in listed


def test_a_model_of_our_own_is_told_of_by_the_byway_that_runs_it() -> None:
    with Gateway({"backends": [{"name": "own", "type": "builtin"}]}) as gateway:
        found = {one["name"]: one for one in json.loads(command(gateway, "alias", "--json").stdout)}
        assert found["default"]["answers"] == "own/smollm2-135m-instruct" and found["default"]["state"] != "ready"
        gateway.stop()
    assert found["sonnet"]["by"] == "default"
