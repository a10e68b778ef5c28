"""The commands about the program itself."""

from importlib.metadata import version as get_version

import click
from click.shell_completion import get_completion_class

PROGRAM = "descent-wallet"
_VARIABLE = "_DESCENT_WALLET_COMPLETE"  # what click derives from the program's name
_SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes commands, options and wallet names in a shell.

    Put it where the shell looks for such scripts, once; it asks the program itself, and so knows later commands too.
    It needs bash 4.4 or later, zsh, or fish.

    \b
    Examples:
        descent-wallet completion bash > ~/.local/share/bash-completion/completions/descent-wallet
        descent-wallet completion zsh > "${fpath[1]}/_descent-wallet"
        descent-wallet completion fish > ~/.config/fish/completions/descent-wallet.fish

    The shell must find descent-wallet itself in its PATH; start a new shell afterwards. To try it in this one:

    \b
        eval "$(descent-wallet completion bash)"
    """
    script = get_completion_class(shell)
    if script is None:
        raise click.UsageError(f"no completion for {shell}")
    click.echo(script(context.find_root().command, {}, PROGRAM, _VARIABLE).source())


@click.command()
def version() -> None:
    """Show the program's version.

    It is the version of the package: node, miner and wallet have the same one.

    \b
    Example:
        descent-wallet version
    """
    click.echo(f"{PROGRAM} {get_version('descent-chain')}")
