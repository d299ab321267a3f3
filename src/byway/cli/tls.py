"""`byway tls`: the certificate of https, and what clients have to trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from byway.cli.options import CONFIG, DATA_DIR, JSON, data_folder
from byway.cli.output import Failure, Misuse, note, print_json
from byway.display import moment

if TYPE_CHECKING:
    from byway.tls.certificates import Authority

_NONE = (
    "Byway has no certificate authority yet. Set `server.tls: local` and start Byway: byway config set server.tls local"
)


@click.group()
def command() -> None:
    """Show the certificate of https and what clients have to trust."""


@command.command()
@CONFIG
@DATA_DIR
@JSON
def show(file: str | None, folder: str | None, as_json: bool) -> None:
    """Show names, dates and fingerprint of the certificate, and the setting with which Claude Code trusts it."""
    from byway.cli.configfile import find, read
    from byway.clientfiles.variables import EXTRA_CAS
    from byway.config import ServerTlsSettings
    from byway.tls.trust import trust_file

    data = data_folder(folder)
    server = read(find(file, os.environ, folder)).server
    if server.tls is None:
        raise Failure("Byway serves http. To serve https: byway config set server.tls local")
    own = server.tls if isinstance(server.tls, ServerTlsSettings) and not server.local_ca else None
    info = _certificate(data, own.cert_file if own else "")
    trusted = "" if own else str(trust_file(data))
    if as_json:
        print_json({**info, "local_ca": own is None, "trust": trusted})
        return
    click.echo(f"Names        {', '.join((*info['names'], *info['addresses']))}")
    click.echo(f"Valid        {moment(info['starts'])} to {moment(info['ends'])}")
    click.echo(f"Fingerprint  {info['fingerprint']}  (SHA-256)")
    click.echo(f"Issuer       {info['issuer']}")
    if own:
        click.echo(f"File         {own.cert_file}")
        return
    click.echo(f"Trust        {trusted}")
    click.echo("\nClaude Code on this machine: byway connect, or in ~/.claude/settings.json")
    click.echo(f'  "env": {{"{EXTRA_CAS}": "{trusted}"}}')
    click.echo("On other machines: copy the output of `byway tls export` into a file, and name that file there.")


@command.command()
@DATA_DIR
def export(folder: str | None) -> None:
    """Print the certificate of the local authority in PEM format: what clients have to trust. It contains no secret."""
    click.echo(_authority(data_folder(folder)).pem.decode(), nl=False)


@command.command("replace-ca")
@click.option("--yes", is_flag=True, help="Do not prompt.")
@CONFIG
@DATA_DIR
@JSON
def replace_ca(yes: bool, file: str | None, folder: str | None, as_json: bool) -> None:
    """Make a new local authority. Every client then has to trust it, and people who are signed in run /login again."""
    _need_cryptography()
    from byway.cli.clientchange import confirm
    from byway.cli.configfile import find, read
    from byway.tls.authority import AuthorityError, make_authority
    from byway.tls.names import served_names
    from byway.tls.serving import utc_now
    from byway.tls.trust import trust_file

    data = data_folder(folder)
    server = read(find(file, os.environ, folder)).server
    if not server.local_ca:
        raise Misuse("The config does not use the local authority: byway config set server.tls local")
    question = "Every client has to trust the new authority, and to sign in again. Replace it?"
    if not confirm(question, yes=yes):
        raise click.exceptions.Exit(Failure.exit_code)
    try:
        make_authority(data, served_names(server, ()).names, utc_now())
    except AuthorityError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json({"trust": str(trust_file(data))})
    else:
        click.echo(f"Replaced {trust_file(data)}.")
    note("A running Byway uses it within seconds. Clients of other machines need the new file: byway tls export")


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        from byway.tls.trust import NO_CRYPTOGRAPHY

        raise Failure(NO_CRYPTOGRAPHY) from None


def _authority(data: Path) -> Authority:
    _need_cryptography()
    from byway.tls.authority import AuthorityError, load_authority

    try:
        authority = load_authority(data)
    except AuthorityError as error:
        raise Failure(str(error)) from None
    if authority is None:
        raise Failure(_NONE)
    return authority


def _certificate(data: Path, file: str) -> dict[str, Any]:
    """What the certificate contains: that of `file`, or without one that of the local authority."""
    _need_cryptography()
    from byway.tls.authority import CERTIFICATE_FILE
    from byway.tls.certificates import CertificateError, describe, read_chain
    from byway.tls.trust import FOLDER

    if not file:
        _authority(data)
    path = Path(file) if file else data / FOLDER / CERTIFICATE_FILE
    try:
        return describe(read_chain(path.read_bytes())[0])._asdict()
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}. Start Byway: byway up") from None
    except CertificateError as error:
        raise Failure(f"{path} cannot be used: {error}.") from None
