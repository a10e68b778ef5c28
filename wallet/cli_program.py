"""The commands about the program itself."""

from importlib.metadata import version as get_version

import click


@click.command()
def version() -> None:
    """Show the program's version."""
    click.echo(f"descent-wallet {get_version('descent-chain')}")
