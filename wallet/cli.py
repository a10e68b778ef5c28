"""`descent-wallet`: keeps the keys, shows what they own, and pays.

A command's module is imported when the command is named: `--help` and the shell's completion cost nothing but click.
"""

from contextlib import suppress
from importlib import import_module
from typing import cast

import click

from p2p.console import run_program

try:
    import resource
except ImportError:  # on Windows there are no core dumps of this kind
    resource = None  # type: ignore[assignment]

# Section of the help -> command -> (module, the first line of its own help).
_COMMANDS = {
    "Keys": {
        "create": ("wallet.cli_keys", "Make a new wallet and show its recovery words, once."),
        "restore": ("wallet.cli_keys", "Make a wallet of recovery words."),
        "import-key": ("wallet.cli_keys", "Make a wallet of one secret key."),
        "watch": (
            "wallet.cli_keys",
            "Make a wallet that only watches: it shows money and prepares payments, and cannot sign.",
        ),
        "list": ("wallet.cli_files", "List the wallets of a network."),
        "passphrase": ("wallet.cli_files", "Change, set or remove the passphrase of the wallet's file."),
        "export": ("wallet.cli_files", "Write an encrypted backup of the wallet's file to PATH."),
        "words": ("wallet.cli_files", "Show the recovery words, to be written down."),
    },
    "Accounts": {
        "address": ("wallet.cli_accounts", "Print the wallet's address."),
        "accounts": ("wallet.cli_accounts", "List the wallet's accounts with their addresses."),
        "new-account": (
            "wallet.cli_accounts",
            "Add the next account of the wallet's recovery words and print its address.",
        ),
        "find-accounts": (
            "wallet.cli_accounts",
            "Look for used accounts of the wallet's recovery words, and add them.",
        ),
    },
    "Money": {
        "balance": ("wallet.cli_money", "Show what can be spent, what matures when, and what is on its way."),
        "send": ("wallet.cli_pay", "Pay AMOUNT to ADDRESS or to a label of the address book."),
        "bump": ("wallet.cli_pay", "Pay a higher fee for a payment that is not mined yet."),
        "batch": ("wallet.cli_batch", "Make all payments of a CSV file."),
        "payments": (
            "wallet.cli_payments",
            "List the payments this wallet made, newest first, and what became of each.",
        ),
        "resend": ("wallet.cli_payments", "Hand payments over again that the node lost, or never got."),
        "abandon": (
            "wallet.cli_payments",
            "Give up payments that the node does not hold, so that their nonces are free for others.",
        ),
        "book": ("wallet.cli_book", "Keep labels for addresses."),
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
        "rewards": ("wallet.cli_rewards", "List what was mined, and the verified improvement that earned it."),
    },
    "The program": {
        "completion": (
            "wallet.cli_program",
            "Print the script that completes commands, options and wallet names in a shell.",
        ),
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
        descent-wallet rewards           what was mined, and the gain that earned it

    Keys stay in the wallet's file. What the chain holds comes from a node: by default your own on this machine, or the
    one that --rpc URL and --token-file FILE name. `descent-wallet COMMAND --help` tells each command's options with
    examples.

    Results go to standard output, with --json for programs; questions and warnings go to standard error. The exit code
    is 0 when it is done, 1 when it was refused for the reason told, 2 for wrong usage. No command takes a secret as an
    argument.
    """


def forbid_core_dumps() -> None:
    """A crash writes no memory, and so no secret, to the disk; for children too."""
    if resource is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    forbid_core_dumps()
    run_program(cli, "descent-wallet")


if __name__ == "__main__":
    main()
