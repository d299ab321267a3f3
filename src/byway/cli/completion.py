"""`byway completion`."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell. To install it:

    \b
    bash  byway completion bash > ~/.local/share/bash-completion/completions/byway
    zsh   byway completion zsh > ~/.zfunc/_byway       (a folder of your $fpath)
    fish  byway completion fish > ~/.config/fish/completions/byway.fish
    """
    completion = get_completion_class(shell)
    if completion is not None:
        click.echo(completion(ctx.find_root().command, {}, "byway", "_BYWAY_COMPLETE").source())
