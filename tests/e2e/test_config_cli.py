"""`byway config` beside a running Byway, with many writers, a full disk and kill -9."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from beside import command
from configfolder import SECRET, TEXT, ConfigFolder
from configfolder import config_folder as config_folder
from gateway import SOURCE, Gateway, config
from scripted import Say, Scripted

from byway.config import load
from byway.config.file import ConfigFile
from byway.store import Store


def test_a_running_byway_loads_a_changed_setting() -> None:
    with Scripted(lambda request: Say("Hi")) as server, Gateway(config(server)) as gateway:
        done = command(gateway, "config", "set", "model_aliases.blue", "one/local")
        assert done.returncode == 0 and "running Byway loads the change" in done.stderr
        gateway.wait(lambda: "Config loaded" in gateway.text, what="it takes the change")
        sent = command(gateway, "config", "set", "server.bind_address", "127.0.0.1:1", "--json")
        changed = json.loads(sent.stdout)
        assert changed["running"] is True and changed["restart"] == ["server.bind_address"]
        assert "after a restart" in command(gateway, "config", "rollback", "2").stderr
        other = gateway.home / "other.yaml"
        other.write_text("local_only: false\n")
        elsewhere = command(gateway, "config", "set", "timeouts.drain", "1", "--config", str(other), "--json")
        assert json.loads(elsewhere.stdout)["running"] is False, "that one has another file"


FULL = """
import resource, sys
from pathlib import Path
from byway.config import load
from byway.config.editing import Set
from byway.config.file import ConfigFile
from byway.store import Store
folder = Path(sys.argv[1])
with Store(folder) as store:
    filing = ConfigFile(folder / "byway.yaml", lambda text: load(text, {}), store, folder)
    filing.read()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
    try:
        filing.change([Set(("local_only",), False)], "Ada", "x")
    except OSError as error:
        print(error.strerror)
"""


def script(text: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}
    words = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, text=True, **options)


def test_a_full_disk_keeps_the_old_file(config_folder: ConfigFolder, tmp_path: Path) -> None:
    out, _ = script(FULL, tmp_path).communicate(timeout=120)
    assert "large" in out
    assert config_folder.text == TEXT and not list(tmp_path.glob(".byway.yaml.*")), "no draft stays"
    full = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20)); {MAIN}"
    child = script(
        full, "config", "set", "local_only", "false", "--config", config_folder.file, "--data-dir", tmp_path, stderr=-1
    )
    out, value = child.communicate(timeout=120)
    assert (child.returncode, out) == (1, "") and "The disk may be full" in value and "Traceback" not in value
    assert config_folder.text == TEXT


MAIN = "import sys; from byway.cli.main import main; main()"


def test_changes_of_many_concurrent_writers_are_all_kept(config_folder: ConfigFolder) -> None:
    environ = {
        **{"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        **{"BYWAY_CONFIG": str(config_folder.file), "BYWAY_HOME": str(config_folder.data)},
    }
    writers = []
    for number in range(12):
        # Half of them extend the same list.
        words = (
            [f"model_aliases.a{number}", "work/big"] if number % 2 else ["backends.0.models", f"m{number}", "--append"]
        )
        words = [sys.executable, "-m", "byway", "config", "set", *words]
        writers.append(
            subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    messages = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 12, messages
    result = load(config_folder.text, {"WORK_KEY": SECRET})
    assert set(result.model_aliases) == {"gpt-4.1", *(f"a{number}" for number in range(1, 12, 2))}
    assert set(result.backends[0].models) == {"gpt-4.1", "big", *(f"m{number}" for number in range(0, 12, 2))}
    assert re.findall("#.*", config_folder.text) == re.findall("#.*", TEXT)
    who = [version["who"] for version in config_folder.json("config", "history")["versions"]]
    assert len(who) == 13 and who[-1] == "outside Byway" and "outside Byway" not in who[:-1]


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from byway.config import load
from byway.config.editing import Set
from byway.config.file import ConfigFile
from byway.store import Store

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
file = folder / "byway.yaml"
template = file.read_text()
chance = random.Random(7)

def save_for_ever(number):
    with Store(folder) as store:
        filing = ConfigFile(file, lambda text: load(text, {}), store, folder)
        while True:
            number += 1
            filing.change([Set(("timeouts", "connect"), number)], "Ada", "one more")

def some_saves():
    with Store(folder) as store:
        filing = ConfigFile(file, lambda text: load(text, {}), store, folder)
        for connect in (2, 3, 1):
            filing.change([Set(("timeouts", "connect"), connect)], "Ada", "to see how fast this machine is")
    os._exit(0)

began = time.monotonic()
child = os.fork()
if not child:
    some_saves()
assert os.waitpid(child, 0)[1] == 0
pace = time.monotonic() - began

number, cut, advanced = 1, 0, 0
for _ in range(kills):
    child = os.fork()
    if not child:
        save_for_ever(number)
    time.sleep(chance.uniform(0.1, 1.5) * pace)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    cut += 1
    text = file.read_text()
    now = int(load(text, {}).timeouts.connect)
    assert text == template.replace("connect: 1 ", f"connect: {now} "), text
    assert now >= number, (now, number)
    advanced += now > number
    number = now
print(cut, advanced, number)
"""


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_save_that_is_killed_leaves_the_old_file_or_the_new_one(tmp_path: Path, kills: int) -> None:
    text = "# mine\ntimeouts:\n  connect: 1 # counts up\n" + "# and more\n" * 300
    (tmp_path / "byway.yaml").write_text(text)
    child = script(KILLED, tmp_path, kills, stderr=-1)
    out, value = child.communicate(timeout=300)
    assert child.returncode == 0, value
    cut, advanced, number = map(int, out.split())
    assert cut == kills and advanced >= kills // 10 and number > advanced, (
        "it was really killed between saves and in them"
    )
    for draft in tmp_path.glob(".byway.yaml.*"):
        os.utime(draft, (time.time() - 120,) * 2)
    with Store(tmp_path) as store:
        assert kills // 10 < len(store.versions(str(tmp_path / "byway.yaml"))) <= 100
        ConfigFile(tmp_path / "byway.yaml", lambda text: load(text, {}), store, tmp_path).write(text, "Ada", "at rest")
    assert not list(tmp_path.glob(".byway.yaml.*")), "what the killed ones left is swept up"
