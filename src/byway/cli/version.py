"""`byway version`."""

import platform

import click

from byway import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(as_json: bool) -> None:
    """Print the versions of Byway and Python."""
    if as_json:
        import json

        versions = {"version": __version__, "python": platform.python_version(), "system": platform.system()}
        click.echo(json.dumps({**versions, "machine": platform.machine()}, indent=2))
        return
    click.echo(version_line())


def version_line() -> str:
    """The versions of Byway, Python and the system."""
    return f"byway {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})"
