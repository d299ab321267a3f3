"""The config file: finds it, and loads it with the key file that it names and the secrets behind both."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from byway import platform
from byway.cli.output import Failure, Misuse, note
from byway.config import Config, ConfigError, ConfigProblem, ServerTlsSettings, load, load_keys
from byway.config.editing import EditError, meaning
from byway.config.promptsettings import GlobalPromptSettings, PromptSettings
from byway.config.secretuses import secret_uses
from byway.config.watch import SETTLE_SECONDS, FileStamp, looks_complete
from byway.display import count
from byway.secrets.vault import Vault

VARIABLE: Final = "BYWAY_CONFIG"
#: How often a file that changes while it is read is read again, and the seconds between two reads.
_READS: Final = 20
_PAUSE: Final = 0.05
#: Bytes of a file with a prompt.
_PROMPT_LIMIT: Final = 256 << 10


class ConfigSource:
    """A config file, or the path where one would be."""

    def __init__(self, path: Path, vault: Vault, *, needed: bool) -> None:
        """`needed`: the user named this file, so it has to exist. `vault` contains the values of `${NAME}`."""
        self.path = path
        self.vault = vault
        self._needed = needed
        self._keys: Path | None = None
        self._prompts: tuple[Path, ...] = ()
        """The files of prompts."""
        self._read = False
        self._loaded_stamps: dict[Path, FileStamp] = {}
        """The state of each file that was loaded last."""

    @property
    def there(self) -> bool:
        return self.path.is_file()

    def read(self) -> Config:
        """The config as it is now, with the keys of `api_keys_file`. Raises ConfigError or OSError.

        It blocks while the system's keychain answers.
        """
        try:
            if self._read and self.path.exists() and not self.there:
                # At the start it may be a pipe. Later no process writes to that pipe, and reading it would block.
                raise OSError(0, "it is not a regular file any more", str(self.path))
            data = self._bytes(self.path)
        except FileNotFoundError:
            if self._needed:
                raise
            return Config()
        # From now on a missing file is an error: it does not mean that the built-in model is wanted.
        self._needed = self._read = True
        text = _text(data, self.path)
        config = _warned(self._loaded(text), _exposed_secrets(self.path, text))
        self._keys = self._key_file(config)
        self._prompts = self._prompt_files(config.global_prompts)
        return self._with_keys(config, self._keys) if self._keys else config

    def check(self, text: str) -> Config:
        """The config that `text` would give. Raises ConfigError. It may block as `read` does."""
        config = self._loaded(text)
        file = self._key_file(config)
        return self._with_keys(config, file) if file else config

    def _loaded(self, text: str) -> Config:
        self.vault.fetch(text)
        config = self._with_prompts(self._with_paths(load(text, self.vault, file=str(self.path))))
        if self.vault.problems:
            problems = (ConfigProblem("", None, problem, "warning") for problem in self.vault.problems)
            config = msgspec.structs.replace(config, warnings=(*problems, *config.warnings))
        return config

    def _key_file(self, config: Config) -> Path | None:
        file = config.api_keys.api_keys_file
        return self.path.parent / platform.expand_user(file) if file else None

    def _with_paths(self, config: Config) -> Config:
        """The config with absolute paths of model files and of certificates. In the file they are relative to its folder."""

        def rooted(path: str) -> str:
            return str(self.path.parent.absolute() / platform.expand_user(path))

        backends = tuple(
            msgspec.structs.replace(backend, path=rooted(backend.path)) if backend.path else backend
            for backend in config.backends
        )
        paths = tuple(map(rooted, config.local_models.paths))
        local = msgspec.structs.replace(config.local_models, paths=paths)
        server = config.server
        if isinstance(server.tls, ServerTlsSettings):
            files = {name: getattr(server.tls, name) for name in ("cert_file", "key_file")}
            rooted_files = {name: rooted(file) for name, file in files.items() if file}
            server = msgspec.structs.replace(server, tls=msgspec.structs.replace(server.tls, **rooted_files))
        return msgspec.structs.replace(config, server=server, backends=backends, local_models=local)

    def _with_prompts(self, config: Config) -> Config:
        """The config with the texts of its files of prompts. Raises ConfigError."""
        prompts = config.global_prompts
        folder = self._prompt_folder(prompts)

        def text_of(file: str, path: str) -> str:
            return self._prompt(folder / platform.expand_user(file), f"global_prompts.{path}")

        changes: dict[str, Any] = {}
        if prompts.default_file:
            changes["default"] = text_of(prompts.default_file, "default_file")
        for name in ("backends", "models"):
            entries: dict[str, PromptSettings] = getattr(prompts, name)
            changes[name] = {
                key: msgspec.structs.replace(entry, prompt=text_of(entry.prompt_file, f"{name}.{key}.prompt_file"))
                if entry.prompt_file
                else entry
                for key, entry in entries.items()
            }
        return msgspec.structs.replace(config, global_prompts=msgspec.structs.replace(prompts, **changes))

    def _prompt_folder(self, prompts: GlobalPromptSettings) -> Path:
        folder = self.path.parent.absolute()
        return folder / platform.expand_user(prompts.prompts_dir) if prompts.prompts_dir else folder

    def _prompt_files(self, prompts: GlobalPromptSettings) -> tuple[Path, ...]:
        """The files of prompts, which are read again when they change."""
        entries = (*prompts.backends.values(), *prompts.models.values())
        files = (prompts.default_file, *(entry.prompt_file for entry in entries))
        folder = self._prompt_folder(prompts)
        return tuple(folder / platform.expand_user(file) for file in files if file)

    def _prompt(self, file: Path, path: str) -> str:
        """The text of a file of a prompt. Raises ConfigError."""
        try:
            if file.exists() and not file.is_file():
                raise OSError(0, "it is not a regular file")
            if file.stat().st_size > _PROMPT_LIMIT:
                raise OSError(0, f"it is over {_PROMPT_LIMIT >> 10} KiB")
            return _text(self._bytes(file), file).strip()
        except OSError as error:
            problem = ConfigProblem(
                path, None, f"{file} cannot be read: {error.strerror}. Create it, or remove the setting"
            )
            raise ConfigError([problem], str(self.path)) from None

    def _with_keys(self, config: Config, path: Path) -> Config:
        try:
            if path.exists() and not path.is_file():
                raise OSError(0, "it is not a regular file")
            data = self._bytes(path)
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}. Create it, or remove `api_keys_file`"
            raise ConfigError([ConfigProblem("api_keys.api_keys_file", None, message)], str(self.path)) from None
        text = _text(data, path)
        keys = (*config.api_keys.api_keys, *load_keys(text, self.vault, file=str(path)))
        config = _warned(config, _exposed_secrets(path, text))
        return msgspec.structs.replace(config, api_keys=msgspec.structs.replace(config.api_keys, api_keys=keys))

    def _bytes(self, path: Path) -> bytes:
        """The content of a file. One that changes while it is read is read again; raises OSError when it keeps changing."""
        for _ in range(_READS):
            before = _stamp(path)
            data = path.read_bytes()
            if before == _stamp(path):
                if before is not None:
                    self._loaded_stamps[path] = before
                return data
            time.sleep(_PAUSE)
        raise OSError(0, "it keeps changing while it is read", str(path))

    def stamp(self) -> tuple[Hashable, ...]:
        """The state of each file that was read, None for one that does not exist, and the changes of the vault."""
        files = (self.path, self.vault.mark, self._keys, *self._prompts)
        return (self.vault.late, *(_stamp(path) for path in files if path is not None))

    def looks_complete(self) -> bool:
        """Return False while one of the files may be in the middle of a save. Raises nothing."""
        return all(self._is_complete(path) for path in (self.path, self._keys) if path is not None)

    def _is_complete(self, path: Path) -> bool:
        stamp = _stamp(path)
        if stamp is None or not path.is_file():
            # There is nothing to wait for: reading reports it.
            return True
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(max(0, stamp.size - 1))
            return looks_complete(stamp, file.read(1), self._loaded_stamps.get(path))
        return True

    def wait_until_complete(self) -> None:
        """Wait while the config file looks as if it was being saved now: incomplete, and changed a moment ago."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline and not self._is_complete(self.path):
            stamp = _stamp(self.path)
            if stamp is None or not 0 <= time.time() - stamp.modified / 1e9 < SETTLE_SECONDS:
                return
            time.sleep(_PAUSE)


def find(given: str | None, environ: Mapping[str, str], folder: str | None = None) -> ConfigSource:
    """The file that `--config` or `$BYWAY_CONFIG` names, else the one in the user's config folder. `folder` is the data folder.

    Never `./byway.yaml`: a cloned repository must not choose where keys go.
    """
    vault = Vault(platform.data_folder(folder, environ), environ)
    named = given or environ.get(VARIABLE)
    if named:
        return ConfigSource(platform.expand_user(named), vault, needed=True)
    return ConfigSource(platform.config_folder() / platform.CONFIG_NAME, vault, needed=False)


def read(source: ConfigSource) -> Config:
    """The config. Prints every error of an invalid one and ends the command with exit code 2."""
    try:
        return source.read()
    except ConfigError as error:
        errors = sum(problem.severity == "error" for problem in error.problems)
        note(str(error))
        raise Misuse(f"{source.path}: {count(errors, 'error')}, see above") from None
    except FileNotFoundError:
        raise Misuse(f"There is no config file at {source.path}. Correct the path, or create the file.") from None
    except OSError as error:
        raise Failure(f"{source.path} cannot be read: {error.strerror}") from None


def warnings(source: ConfigSource, config: Config) -> list[str]:
    """The warnings of a valid config, one line each: file, line and text."""
    return [f"{source.path}{f':{warning.line}' if warning.line else ''}: {warning}" for warning in config.warnings]


def glimpse(ctx: click.Context) -> Config:
    """The config that an incomplete command line would use, for completion; an empty one when it is invalid."""
    source = find(ctx.params.get("file"), os.environ, ctx.params.get("folder"))
    try:
        # Without the vault: completion must not prompt for a password.
        return load(source.path.read_text("utf-8"), os.environ)
    except (ConfigError, OSError, UnicodeDecodeError):
        return Config()


def ignored_file(source: ConfigSource) -> str | None:
    """A note that the `byway.yaml` in the working directory was not loaded; None when there is none, or when it was."""
    here = Path(platform.CONFIG_NAME)
    if not here.is_file() or (source.there and os.path.samefile(here, source.path)):
        return None
    return "./byway.yaml was not loaded: its folder may belong to another user. To use it: --config byway.yaml"


def _exposed_secrets(path: Path, text: str) -> str:
    """Return a warning when every user of this machine can read secrets in the file, else ""."""
    try:
        if not platform.readable_by_others(path):
            return ""
        tree = meaning(text)
    except (EditError, OSError):
        return ""
    if not isinstance(tree, dict) or isinstance(tree.get("api_keys"), list):
        # A file of keys is a list, alone or under `api_keys`.
        tree = {"api_keys": {"api_keys": tree["api_keys"] if isinstance(tree, dict) else tree}}
    paths = [".".join(map(str, use.path)) for use in secret_uses(tree) if use.literal]
    if not paths:
        return ""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"every user of this machine can read the secrets in {path} ({paths[0]}{more}). Close it: chmod 600 {path}"


def _warned(config: Config, warning: str) -> Config:
    if not warning:
        return config
    problem = ConfigProblem("", None, warning, "warning")
    return msgspec.structs.replace(config, warnings=(problem, *config.warnings))


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([ConfigProblem("", line, "the file is not UTF-8 text")], str(path)) from None


def _stamp(path: Path) -> FileStamp | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return FileStamp(facts.st_mtime_ns, facts.st_size, facts.st_ino)
