"""`byway config`."""

import os

import click

from byway.cli import Failure, Misuse
from byway.cli.source import Source, data_dir, find
from byway.config import Config, ConfigError


@click.group()
def command() -> None:
    """Check a config file."""


@command.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@data_dir
def check(file: str | None, folder: str | None) -> None:
    """Read FILE as `byway up` would, and say everything that is wrong with it. Without FILE: the one that is used."""
    source = find(file, os.environ, folder)
    if not file and not source.there:
        raise Misuse(f"There is no config file at {source.path}. Name one: byway config check FILE")
    config = read(source)
    for line in warnings(source, config):
        click.echo(line, err=True)
    click.echo(f"{source.path}: ok")
    click.echo()
    for name, value in summary(config):
        click.echo(f"  {name:<12}{value}")


def read(source: Source) -> Config:
    """The config, or the end of the command with every complaint (exit code 2)."""
    try:
        return source.read()
    except ConfigError as error:
        count = sum(one.severity == "error" for one in error.complaints)
        click.echo(str(error), err=True)
        raise Misuse(f"{source.path}: {count} error{'s' if count != 1 else ''}, see above") from None
    except FileNotFoundError:
        raise Misuse(f"There is no config file at {source.path}") from None
    except OSError as error:
        raise Failure(f"{source.path} cannot be read: {error.strerror}") from None


def warnings(source: Source, config: Config) -> list[str]:
    """What is odd about a good config, one line each, in the form of complaints."""
    return [f"{source.path}{f':{one.line}' if one.line else ''}: {one}" for one in config.warnings]


def summary(config: Config) -> list[tuple[str, str]]:
    """What the config comes to, as lines of name and value."""
    lines = [("listens at", ", ".join(config.server.bind_address))]
    for at, one in enumerate(config.backends):
        models = ", ".join(one.models) if one.models else "asked of it"
        place = f" at {one.url}" if one.url else ""
        state = f" (off: {one.off})" if one.off else ""
        lines.append(("" if at else "backends", f"{one.name} ({one.type}{place}): {models}{state}"))
    for at, (alias, leads) in enumerate(config.model_aliases.items()):
        lines.append(("" if at else "aliases", f"{alias} -> {', then '.join(leads)}"))
    keys = len(config.api_keys.api_keys)
    open_door = "not asked for" if config.api_keys.mode == "permissive" else "asked for once `byway key` has made one"
    asked = "asked for" if config.api_keys.closed else open_door
    lines.append(("keys", f"{keys or 'none'}, {asked}"))
    return lines
