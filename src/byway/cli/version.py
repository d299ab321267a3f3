"""`byway version`."""

import platform

import click

from byway import __version__


@click.command()
def command() -> None:
    """Print the version of Byway, and of the Python that runs it."""
    click.echo(f"byway {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
