"""`byway version`."""

import platform

import click

from byway import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(as_json: bool) -> None:
    """Print the version of Byway, and of the Python that runs it."""
    if as_json:
        import json

        told = {"version": __version__, "python": platform.python_version(), "system": platform.system()}
        click.echo(json.dumps({**told, "machine": platform.machine()}, indent=2))
        return
    click.echo(f"byway {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})")
