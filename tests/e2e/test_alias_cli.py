"""`byway alias` beside a running Byway: a changed alias takes effect at once."""

from __future__ import annotations

import json

from beside import command
from gateway import Gateway, config
from scripted import Say, Scripted


def test_a_running_byway_loads_a_changed_alias() -> None:
    with Scripted(lambda request: Say("Hi")) as server:
        settings = config(server)
        settings["model_aliases"] = {"haiku": "one/local"}
        with Gateway(settings) as gateway:
            sent = {"model": "blue", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
            assert gateway.post(sent).status == 404
            done = command(gateway, "alias", "set", "blue", "one/local")
            assert done.returncode == 0 and "running Byway loads the change" in done.stderr
            gateway.wait(lambda: gateway.post(sent).status == 200, what="the alias leads")
            listed = command(gateway, "alias").stdout
    assert "ready" in listed and "blue" in listed


def test_a_local_model_that_the_running_byway_does_not_run_answers_nothing() -> None:
    with Gateway({"backends": [{"name": "own", "type": "builtin"}]}) as gateway:
        aliases = {alias["name"]: alias for alias in json.loads(command(gateway, "alias", "--json").stdout)["aliases"]}
    assert aliases["default"]["targets"] == ["own/smollm2-135m-instruct"]
    assert (aliases["default"]["resolved"], aliases["default"]["state"]) == ([], "no backend")
