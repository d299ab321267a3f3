"""The config file: where it is found, and what it, the key file that it names, and the secrets behind both say."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Final

import click
import msgspec

from byway import platform
from byway.config import Config, ConfigError, ConfigProblem, load, load_keys
from byway.secrets.vault import Vault

VARIABLE: Final = "BYWAY_CONFIG"

CONFIG: Final = click.option(
    "--config", "file", metavar="FILE", help="The config file. [default: $BYWAY_CONFIG, else the user's own]"
)
JSON: Final = click.option("--json", "as_json", is_flag=True, help="For programs.")
data_dir = click.option(
    "--data-dir",
    "folder",
    metavar="DIR",
    help="Where Byway keeps its data. [default: $BYWAY_HOME, else the user's own]",
)


class Source:
    """A config file, or the place where one would be."""

    def __init__(self, path: Path, vault: Vault, *, needed: bool) -> None:
        """`needed`: somebody named this file, so it has to be there. `vault` gives the values of `${NAME}`."""
        self.path = path
        self.vault = vault
        self._needed = needed
        self._keys: Path | None = None
        self._read = False

    @property
    def there(self) -> bool:
        return self.path.is_file()

    def read(self) -> Config:
        """The config as it is now, with the keys of `api_keys_file`. Raises ConfigError, or OSError.

        It may wait for the system's keychain: not for an event loop.
        """
        try:
            if self._read and self.path.exists() and not self.there:
                # At the start a pipe may stand here; later nobody writes into it, and to read it would be to wait.
                raise OSError(0, "it is no file any more", str(self.path))
            data = self.path.read_bytes()
        except FileNotFoundError:
            if self._needed:
                raise
            return Config()
        # From now on it is a file that somebody wrote: when it vanishes, that is no wish for the built-in model.
        self._needed = self._read = True
        config = self._loaded(_text(data, self.path))
        self._keys = self._key_file(config)
        return self._with_keys(config, self._keys) if self._keys else config

    def check(self, text: str) -> Config:
        """What `text` in the place of the file would come to; raises ConfigError. It may wait as `read` does."""
        config = self._loaded(text)
        file = self._key_file(config)
        return self._with_keys(config, file) if file else config

    def _loaded(self, text: str) -> Config:
        self.vault.fetch(text)
        config = self._with_paths(load(text, self.vault, file=str(self.path)))
        if self.vault.problems:
            told = (ConfigProblem("", None, one, "warning") for one in self.vault.problems)
            config = msgspec.structs.replace(config, warnings=(*told, *config.warnings))
        return config

    def _key_file(self, config: Config) -> Path | None:
        file = config.api_keys.api_keys_file
        return self.path.parent / platform.expanded(file) if file else None

    def _with_paths(self, config: Config) -> Config:
        """The config with the files of local models where they are: relative to this file."""

        def rooted(path: str) -> str:
            return str(self.path.parent.absolute() / platform.expanded(path))

        backends = tuple(
            msgspec.structs.replace(one, path=rooted(one.path)) if one.path else one for one in config.backends
        )
        paths = tuple(map(rooted, config.local_models.paths))
        local = msgspec.structs.replace(config.local_models, paths=paths)
        return msgspec.structs.replace(config, backends=backends, local_models=local)

    def _with_keys(self, config: Config, path: Path) -> Config:
        try:
            if path.exists() and not path.is_file():
                raise OSError(0, "it is no file")
            data = path.read_bytes()
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}. Create it, or take `api_keys_file` out"
            raise ConfigError([ConfigProblem("api_keys.api_keys_file", None, message)], str(self.path)) from None
        keys = (*config.api_keys.api_keys, *load_keys(_text(data, path), self.vault, file=str(path)))
        return msgspec.structs.replace(config, api_keys=msgspec.structs.replace(config.api_keys, api_keys=keys))

    def stamp(self) -> tuple[Hashable, ...]:
        """Time, size and identity of each file that was read, None for one that is not there; and the vault's changes."""
        files = (self.path, self.vault.mark, self._keys)
        return (self.vault.late, *(_stamp(path) for path in files if path is not None))


def find(given: str | None, environ: Mapping[str, str], folder: str | None = None) -> Source:
    """The file that `--config` or `$BYWAY_CONFIG` names, else the user's own; the secrets are those of the data `folder`.

    Never `./byway.yaml`: a cloned repository must not choose where keys go.
    """
    vault = Vault(platform.data_folder(folder, environ), environ)
    named = given or environ.get(VARIABLE)
    if named:
        return Source(platform.expanded(named), vault, needed=True)
    return Source(platform.config_folder() / platform.CONFIG_NAME, vault, needed=False)


def glimpse(ctx: click.Context) -> Config:
    """The config that a command line, not finished yet, would use; an empty one when it is not good. For completion."""
    source = find(ctx.params.get("file"), os.environ, ctx.params.get("folder"))
    try:
        # The vault stays shut: nobody who types wants to be asked for a password.
        return load(source.path.read_text("utf-8"), os.environ)
    except (ConfigError, OSError, UnicodeDecodeError):
        return Config()


def left_out(source: Source) -> str | None:
    """What to say when a `byway.yaml` lies in the working directory and is not the one that was loaded."""
    here = Path(platform.CONFIG_NAME)
    if not here.is_file() or (source.there and os.path.samefile(here, source.path)):
        return None
    return "./byway.yaml was not loaded: what lies in a folder may be anybody's. To use it: --config byway.yaml"


def _text(data: bytes, path: Path) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([ConfigProblem("", line, "this is not UTF-8 text")], str(path)) from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
