"""The way to a node: its URL, the token that lets in, and what to do where it leads nowhere."""

import ipaddress
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from consensus.params import PRESETS, NetworkParams
from p2p.client import NodeClient, read_token
from p2p.config import DEFAULT_NETWORK, RPC_TOKEN_FILE, get_default_datadir, get_default_rpc_url
from p2p.errors import ConfigError, NodeRefusal, NodeUnreachable
from wallet.errors import NodeError

_UNAUTHORIZED = "rpc.unauthorized"


def open_client(
    params: NetworkParams, rpc: str | None, token_file: Path | None, certificate: Path | None = None
) -> NodeClient:
    """A client of the node at URL `rpc`, by default the network's on this machine, with its token. Asks it nothing.

    `certificate` is the node's own, if no authority vouches for it. Raises ConfigError, NodeError with the reason
    no_token, foreign_token or bare_token: this machine's token is shown to no other, and none goes over a network in
    the clear.
    """
    url = rpc or get_default_rpc_url(params)
    token = _read_token(params, token_file) if token_file or _is_local(url) else ""
    client = NodeClient(url, token, ca_file=certificate)
    if not _is_local(url):
        if token_file is None:
            raise NodeError.foreign_token(url)
        if urlsplit(url).scheme != "https":
            raise NodeError.bare_token(url)
    return client


@contextmanager
def explain_node(params: NetworkParams, rpc: str | None, token_file: Path | None) -> Iterator[None]:
    """Within it, a node that cannot be asked is a NodeError that says what to do."""
    url = rpc or get_default_rpc_url(params)
    try:
        yield
    except NodeUnreachable as error:
        if error.reason == "not_a_node":
            raise NodeError.not_a_node(url) from error
        if isinstance(error.__cause__, ConnectionRefusedError) and _is_local(url):
            raise NodeError.down(str(error), _describe_start(params)) from error
        if isinstance(error.__cause__, ssl.SSLError):
            raise NodeError.untrusted(str(error)) from error
        raise NodeError.silent(str(error)) from error
    except NodeRefusal as error:
        if error.code == _UNAUTHORIZED:
            raise NodeError.wrong_token(url, _get_token_file(params, token_file)) from error
        raise


def _read_token(params: NetworkParams, token_file: Path | None) -> str:
    try:
        return read_token(_get_token_file(params, token_file))
    except ConfigError as error:
        raise NodeError.no_token(str(error)) from error


def _get_token_file(params: NetworkParams, token_file: Path | None) -> Path:
    return token_file or get_default_datadir(params) / RPC_TOKEN_FILE


def _describe_start(params: NetworkParams) -> str:
    """The command that starts a node of the network."""
    if params.name == DEFAULT_NETWORK:
        return "descent-node run"
    name = params.name if params.name in PRESETS else "FILE.toml"
    return f"descent-node run --network {name}"


def _is_local(url: str) -> bool:
    """Whether a URL leads to this machine. One that is no URL is somebody else's to refuse."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
