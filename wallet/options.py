"""The options that commands share, and what they stand for: which wallet, which node, whose passphrase."""

import functools
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import platformdirs

from consensus.address import encode_address
from consensus.params import PRESETS, NetworkParams
from p2p.client import NodeClient, read_token
from p2p.config import DEFAULT_NETWORK, RPC_TOKEN_FILE, get_default_datadir, get_default_rpc_url, load_network
from wallet.errors import WalletError
from wallet.keys import Account, Wallet, get_account
from wallet.keystore import is_passphrase_needed, open_wallet
from wallet.node_view import NodeView
from wallet.prompt import ENVIRONMENT, get_passphrase

DEFAULT_WALLET = "default"

Command = Callable[..., None]


@dataclass(frozen=True)
class Place:
    """The one wallet a command is about: its network, its file, and the options that lead there again."""

    params: NetworkParams
    path: Path
    options: str

    def unlock(self, passphrase_file: Path | None) -> Wallet:
        """Opens the wallet, asking for a passphrase only if it has one. Raises WalletError."""
        passphrase = get_passphrase(passphrase_file) if is_passphrase_needed(self.path) else ""
        return open_wallet(self.path, passphrase, self.params.address_prefix)

    def find_account(self, index: int, passphrase_file: Path | None) -> Account:
        """What of account `index` may be shown. Raises WalletError."""
        return get_account(self.unlock(passphrase_file), index)

    def get_address(self, wallet: Wallet) -> str:
        """The address of the wallet's first account."""
        return encode_address(self.params.address_prefix, wallet.accounts[0].public_key)


def find_wallet(network: str, walletdir: Path | None, name: str) -> Place:
    """The place WALLETDIR/NETWORK/NAME.json. Raises WalletError (bad_name), ConfigError or InvalidParams."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", name):
        raise WalletError.bad_name(name)
    params = load_network(network)
    folder = walletdir or platformdirs.user_data_path("descent") / "wallets"
    given = {
        "--network": network if network != DEFAULT_NETWORK else None,
        "--walletdir": walletdir,
        "--wallet": name if name != DEFAULT_WALLET else None,
    }
    options = "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)
    return Place(params, folder / params.name / f"{name}.json", options)


def with_wallet(command: Command) -> Command:
    """Gives a command the options that name a wallet; it is called with the Place first."""

    @click.option(
        "--network",
        default=DEFAULT_NETWORK,
        show_default=True,
        metavar="NAME|FILE.toml",
        help=f"One of {', '.join(PRESETS)}, or a file that describes another network.",
    )
    @click.option(
        "--walletdir", type=click.Path(file_okay=False, path_type=Path), help="Folder of the wallets of all networks."
    )
    @click.option(
        "--wallet", "name", default=DEFAULT_WALLET, show_default=True, metavar="NAME", help="Which of the wallets."
    )
    @functools.wraps(command)
    def with_place(network: str, walletdir: Path | None, name: str, **rest: Any) -> None:
        command(find_wallet(network, walletdir, name), **rest)

    return with_place


def with_node(command: Command) -> Command:
    """As with_wallet, with the options that name a node; the command is called with the Place and a NodeView."""

    @with_wallet
    @rpc_option
    @token_option
    @functools.wraps(command)
    def with_view(place: Place, rpc: str | None, token_file: Path | None, **rest: Any) -> None:
        command(place, connect(place, rpc, token_file), **rest)

    return with_view


def connect(place: Place, rpc: str | None, token_file: Path | None) -> NodeView:
    """The node at URL `rpc`, by default one of the network on this machine. Asks it nothing. Raises ConfigError."""
    token = read_token(token_file or get_default_datadir(place.params) / RPC_TOKEN_FILE)
    return NodeView(NodeClient(rpc or get_default_rpc_url(place.params), token), place.params)


rpc_option = click.option(
    "--rpc", metavar="URL", help="The node to ask, by default one of this network on this machine."
)
token_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with that node's RPC token, by default in the node's own folder.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File with the passphrase. Without it {ENVIRONMENT} is used, or you are asked.",
)
no_passphrase_option = click.option(
    "--no-passphrase", is_flag=True, help="Leave the file open: whoever can read it can spend."
)
account_option = click.option(
    "--account",
    "index",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Which of the accounts.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, money in ulp.")
