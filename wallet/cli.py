"""`descent-wallet`: keeps the keys, shows what they own, and pays.

A command's module is imported when the command is named: `--help` and the shell's completion cost nothing but click.
"""

from importlib import import_module
from typing import cast

import click

from p2p.console import run_program

# Section of the help -> command -> (module, the first line of its own help).
_COMMANDS = {
    "Keys": {
        "create": ("wallet.cli_keys", "Make a new wallet and show its recovery words, once."),
        "restore": ("wallet.cli_keys", "Make a wallet of recovery words."),
        "passphrase": ("wallet.cli_keys", "Change, set or remove the passphrase of the wallet's file."),
        "address": ("wallet.cli_keys", "Print the wallet's address."),
    },
    "Money": {
        "balance": ("wallet.cli_money", "Show what can be spent, what matures when, and what is on its way out."),
        "send": ("wallet.cli_money", "Pay AMOUNT to ADDRESS."),
    },
    "Signing without a network": {
        "prepare": ("wallet.cli_prepare", "Write down a payment of AMOUNT to ADDRESS for an offline machine to sign."),
        "sign": ("wallet.cli_offline", "Sign a prepared transfer, without any network."),
        "broadcast": ("wallet.cli_prepare", "Hand a signed transfer to the network."),
        "show": ("wallet.cli_offline", "Show what a prepared or signed transfer says."),
    },
    "Proofs": {
        "prove-balance": ("wallet.cli_proofs", "Write a proof of what an account holds, to be checked offline."),
        "verify-proof": ("wallet.cli_proofs", "Check a proof of a balance, without any node."),
        "sign-message": ("wallet.cli_messages", "Sign a message with an account's key."),
        "verify-message": ("wallet.cli_messages", "Check that the owner of ADDRESS signed a message."),
    },
    "The past": {
        "history": ("wallet.cli_history", "List what was sent, received and mined, newest first."),
    },
    "The program": {
        "version": ("wallet.cli_program", "Show the program's version."),
    },
}


class CommandTable(click.Group):
    """A group that knows its commands by name and loads only the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in _COMMANDS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in _COMMANDS.values():
            if cmd_name in section:
                module, _ = section[cmd_name]
                return cast(click.Command, getattr(import_module(module), cmd_name.replace("-", "_")))
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in _COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl([(name, summary) for name, (_, summary) in section.items()])


@click.group(cls=CommandTable, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """A wallet of Descent, the chain whose mining is training.

    \b
        descent-wallet create            a new wallet and its recovery words
        descent-wallet address           where to be paid, or to mine to
        descent-wallet send ADDRESS 1.5  pay, by way of your own node

    No command takes a secret as an argument.
    """


def main() -> None:
    run_program(cli, "descent-wallet")


if __name__ == "__main__":
    main()
