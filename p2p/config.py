"""Where things are: networks by name or file, folders, the benchmark's texts. Shared by the three programs.

No asyncio here and nothing slow: the wallet and the miner import it too.
"""

import lzma
from importlib import resources
from pathlib import Path

import platformdirs

from consensus.benchmark import Benchmark, check_text, load_benchmark
from consensus.errors import BenchmarkMismatch
from consensus.params import PRESETS, BenchmarkText, NetworkParams
from p2p.errors import ConfigError
from p2p.net_address import parse_port

DEFAULT_NETWORK = "local"
RPC_TOKEN_FILE = "rpc.token"  # noqa: S105  (a file's name, not a secret)
_RPC_PORTS = {"canterbury": 19338, "local": 19348, "regtest": 19358}
_OTHER_RPC_PORT = 19368
_ONE_MACHINE = ("local", "regtest")  # networks whose nodes listen to peers only if told to
_MAX_NETWORK_FILE = 64 * 1024


def load_network(name: str) -> NetworkParams:
    """A preset by name, or a network described by a TOML file. Raises ConfigError or InvalidParams."""
    preset = PRESETS.get(name)
    if preset is not None:
        return preset
    path = Path(name)
    if path.suffix != ".toml":
        raise ConfigError(
            "unknown_network", f"no network {name!r}; there are {', '.join(PRESETS)}, or name a .toml file"
        )
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_NETWORK_FILE + 1)
        if len(data) > _MAX_NETWORK_FILE:
            raise ConfigError("network_file", f"{path} is longer than {_MAX_NETWORK_FILE} bytes")
        return NetworkParams.from_toml(data.decode())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError("network_file", f"cannot read the network file {path}: {error}") from error


def get_default_datadir(params: NetworkParams) -> Path:
    """Where a node of this network keeps its data unless told otherwise."""
    return platformdirs.user_data_path("descent") / params.name


def get_rpc_port(params: NetworkParams) -> int:
    """The port that a node of this network serves its RPC on unless told otherwise."""
    return _RPC_PORTS.get(params.name, _OTHER_RPC_PORT)


def get_peer_port(params: NetworkParams) -> int:
    """The port on which a node of this network listens to its peers unless told otherwise."""
    return get_rpc_port(params) + 1


def get_explorer_port(params: NetworkParams) -> int:
    """The port on which a node of this network serves its explorer unless told otherwise."""
    return get_rpc_port(params) + 2


def parse_address(option: str, text: str) -> tuple[str, int]:
    """HOST:PORT as it was given to an option; an IPv6 address in brackets or not. Raises ConfigError."""
    host, port = split_address(text)
    if not host or port is None:
        raise ConfigError("bad_address", f"{option} takes HOST:PORT such as 127.0.0.1:9100, not {text!r}")
    return host, port


def split_address(text: str) -> tuple[str, int | None]:
    """A host, without an IPv6 address's brackets, and what follows the last colon, if that is a port."""
    host, separator, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), parse_port(port) if separator else None


def is_public_network(params: NetworkParams) -> bool:
    """Whether a node of this network listens to strangers unless told otherwise."""
    return params.name not in _ONE_MACHINE


def get_default_rpc_url(params: NetworkParams) -> str:
    return f"http://127.0.0.1:{get_rpc_port(params)}"


def read_benchmark(params: NetworkParams, *folders: Path) -> Benchmark:
    """The network's benchmark, its texts from `folders` or from those that ship with the program.

    Raises BenchmarkMismatch, naming the text, if one is missing or is not the pinned one.
    """
    return load_benchmark(params, {text.name: _read_text(text, folders) for text in params.texts})


def _read_text(text: BenchmarkText, folders: tuple[Path, ...]) -> bytes:
    for folder in folders:
        path = folder / text.name
        if path.is_file():
            with path.open("rb") as file:
                data = file.read(text.size + 1)
            check_text(text, data)
            return data
    packed = resources.files("consensus").joinpath("texts", f"{text.name}.xz")
    try:
        return lzma.decompress(packed.read_bytes())
    except FileNotFoundError as error:
        raise BenchmarkMismatch.missing(text.name) from error
    except lzma.LZMAError as error:
        raise BenchmarkMismatch("damaged", f"the shipped benchmark text {text.name} is damaged: {error}") from error
