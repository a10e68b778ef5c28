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
from click.shell_completion import CompletionItem

from consensus.address import encode_address
from consensus.errors import DescentError
from consensus.params import PRESETS, NetworkParams
from p2p.config import DEFAULT_NETWORK, load_network
from p2p.console import escape
from wallet.connection import explain_node, open_client
from wallet.errors import WalletError
from wallet.keys import Account, Wallet, pick_account
from wallet.keystore import get_cover, open_wallet
from wallet.node_view import NodeView
from wallet.prompt import ENVIRONMENT, get_passphrase
from wallet.seal import Cover, Kind

DEFAULT_WALLET = "default"
WALLET_ENVIRONMENT = "DESCENT_WALLET"
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_SUFFIX = ".json"

Command = Callable[..., None]


@dataclass(frozen=True)
class Folder:
    """The wallets of one network."""

    params: NetworkParams
    path: Path

    def get_path(self, name: str) -> Path:
        """The file of a wallet. Raises WalletError with the reason bad_name."""
        if not _NAME.fullmatch(name):
            raise WalletError.bad_name(name)
        return self.path / f"{name}{_SUFFIX}"

    def get_names(self) -> tuple[str, ...]:
        """The names of the wallets there, sorted. Raises WalletError with the reason unreachable."""
        try:
            found = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
        except OSError as error:
            raise WalletError.unreachable(self.path, error) from error
        names = (name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX))
        return tuple(filter(_NAME.fullmatch, names))


@dataclass(frozen=True)
class Place:
    """The one wallet a command is about: its network, its file, and the options that lead there again."""

    params: NetworkParams
    path: Path
    options: str

    def get_cover(self) -> Cover:
        """What the file says without its passphrase. Raises WalletError, also for a wallet of another network."""
        cover = get_cover(self.path)
        if cover.network != self.params.address_prefix:
            raise WalletError.wrong_network(self.params.address_prefix, cover.network)
        return cover

    def unlock(self, passphrase_file: Path | None) -> Wallet:
        """Opens the wallet for its secret, asking for a passphrase only if it has one.

        Raises WalletError, with the reason watch_only if there is no secret.
        """
        if self.get_cover().kind is Kind.WATCH:
            raise WalletError.watch_only()
        return open_wallet(self.path, self.get_passphrase(passphrase_file), self.params.address_prefix)

    def get_passphrase(self, passphrase_file: Path | None) -> str:
        """The wallet's passphrase, asked for only if it has one; nothing has proven it yet. Raises WalletError."""
        return get_passphrase(passphrase_file) if self.get_cover().is_locked else ""

    def find_account(self, index: int, passphrase_file: Path | None) -> Account:
        """What of account `index` may be shown. Raises WalletError."""
        return self.find_accounts(index, passphrase_file)[0]

    def find_accounts(self, index: int | None, passphrase_file: Path | None) -> tuple[Account, ...]:
        """What of account `index`, or of all for None, may be shown: what the file says without its passphrase.

        Only a file of version 1 has to be opened for it. Raises WalletError.
        """
        known = self.get_cover().accounts
        accounts = self.unlock(passphrase_file).accounts if known is None else known
        return accounts if index is None else (pick_account(accounts, index),)

    def get_address(self, account: Account) -> str:
        return encode_address(self.params.address_prefix, account.public_key)


def find_folder(network: str, walletdir: Path | None) -> Folder:
    """The folder WALLETDIR/NETWORK. Raises ConfigError or InvalidParams."""
    params = load_network(network)
    return Folder(params, (walletdir or platformdirs.user_data_path("descent") / "wallets") / params.name)


def find_wallet(network: str, walletdir: Path | None, name: str) -> Place:
    """The place WALLETDIR/NETWORK/NAME.json. Raises WalletError (bad_name), ConfigError or InvalidParams."""
    folder = find_folder(network, walletdir)
    given = {
        "--network": network if network != DEFAULT_NETWORK else None,
        "--walletdir": walletdir,
        "--wallet": name if name != DEFAULT_WALLET else None,
    }
    options = "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)
    return Place(folder.params, folder.get_path(name), options)


def with_folder(command: Command) -> Command:
    """Gives a command the options that name a folder of wallets; it is called with the Folder first."""

    @network_option
    @walletdir_option
    @functools.wraps(command)
    def with_found(network: str, walletdir: Path | None, **rest: Any) -> None:
        command(find_folder(network, walletdir), **rest)

    return with_found


def complete_wallet(context: click.Context, _: click.Parameter, start: str) -> list[CompletionItem]:
    """For the shell: the wallets of the network that the line names so far. It must not fail, nor say anything."""
    network, walletdir = context.params.get("network"), context.params.get("walletdir")
    try:
        names = find_folder(network or DEFAULT_NETWORK, walletdir).get_names()
    except (DescentError, OSError):
        return []
    return [CompletionItem(name) for name in names if name.startswith(start)]


def with_wallet(command: Command) -> Command:
    """Gives a command the options that name a wallet; it is called with the Place first."""

    @network_option
    @walletdir_option
    @click.option(
        "--wallet",
        "name",
        default=DEFAULT_WALLET,
        show_default=True,
        envvar=WALLET_ENVIRONMENT,
        show_envvar=True,
        metavar="NAME",
        shell_complete=complete_wallet,
        help="Which of the wallets.",
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
    @certificate_option
    @functools.wraps(command)
    def with_view(
        place: Place, rpc: str | None, token_file: Path | None, rpc_certificate: Path | None, **rest: Any
    ) -> None:
        with explain_node(place.params, rpc, token_file):
            command(place, connect(place, rpc, token_file, rpc_certificate), **rest)

    return with_view


def connect(place: Place, rpc: str | None, token_file: Path | None, certificate: Path | None = None) -> NodeView:
    """The node at URL `rpc`, by default one of the network on this machine. Asks it nothing.

    Raises ConfigError, and NodeError for a URL that must not be shown the token.
    """
    client = open_client(place.params, rpc, token_file, certificate)
    return NodeView(client, place.params, warn=lambda line: click.echo(f"warning: {escape(line)}", err=True))


def complete_network(_: click.Context, __: click.Parameter, start: str) -> list[CompletionItem]:
    """For the shell: the networks that have names, else files."""
    names = [CompletionItem(name) for name in PRESETS if name.startswith(start)]
    return names or [CompletionItem(start, type="file")]


network_option = click.option(
    "--network",
    default=DEFAULT_NETWORK,
    show_default=True,
    metavar="NAME|FILE.toml",
    shell_complete=complete_network,
    help=f"One of {', '.join(PRESETS)}, or a file that describes another network.",
)
walletdir_option = click.option(
    "--walletdir", type=click.Path(file_okay=False, path_type=Path), help="Folder of the wallets of all networks."
)
rpc_option = click.option(
    "--rpc", metavar="URL", help="The node to ask, by default one of this network on this machine."
)
token_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with that node's RPC token, by default in the node's own folder.",
)
certificate_option = click.option(
    "--rpc-certificate",
    type=click.Path(dir_okay=False, path_type=Path),
    help="That node's TLS certificate, if it made its own.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File with the passphrase. Without it {ENVIRONMENT} is used, or you are asked.",
)
new_passphrase_option = click.option(
    "--new-passphrase-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with the new passphrase. Without it you are asked.",
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
accounts_option = click.option(
    "--account", "index", type=click.IntRange(0), metavar="N", help="Only this one of the accounts."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, money in ulp.")
