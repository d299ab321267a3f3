"""`byway version`."""

import platform

import click

from byway import __version__


@click.command()
@click.option("--changes", is_flag=True, help="Print what is new in the installed version, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(changes: bool, as_json: bool) -> None:
    """Print the versions of Byway and Python."""
    if changes:
        _print_changes(as_json=as_json)
        return
    if as_json:
        import json

        versions = {"version": __version__, "python": platform.python_version(), "system": platform.system()}
        click.echo(json.dumps({**versions, "machine": platform.machine()}, indent=2))
        return
    click.echo(version_line())


def _print_changes(*, as_json: bool) -> None:
    from byway.admin.releases import read_releases
    from byway.cli.output import print_json

    releases = read_releases()
    if as_json:
        print_json({"version": __version__, "releases": releases})
        return
    click.echo(version_line())
    for release in releases[:1]:
        click.echo(f"\n{click.style(f'{release.version} {release.date}'.strip(), bold=True)}")
        for note in release.notes:
            click.echo(f"\n{note.heading}")
            for change in note.changes:
                click.echo(click.wrap_text(change, 100, "- ", "  "))


def version_line() -> str:
    """The versions of Byway, Python and the system."""
    return f"byway {__version__} (Python {platform.python_version()}, {platform.system()} {platform.machine()})"
