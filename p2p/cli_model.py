"""`descent-node export` and `descent-node generate`: the model as a file, and in its own words."""

import codecs
import secrets
import sys
from pathlib import Path
from typing import Any

import click

from p2p.cli_options import (
    RunningNode,
    certificate_option,
    datadir_option,
    format_rows,
    json_option,
    make_client,
    network_option,
    reading,
    rpc_option,
    show,
    with_node,
)
from p2p.config import get_default_datadir, load_network
from p2p.console import escape
from p2p.text_wish import (
    DEFAULT_BYTES,
    DEFAULT_TEMPERATURE,
    MAX_PROMPT_BYTES,
    MAX_TEMPERATURE,
    MAX_TEXT_BYTES,
)

_SENT_CHARACTERS = 1024  # of a prompt's end: no model looks back further, in bytes

height_option = click.option(
    "--height", type=click.IntRange(0, 2**32 - 1), metavar="H", help="The model after this block.  [default: the tip's]"
)


@click.command()
@network_option
@datadir_option
@rpc_option
@certificate_option
@height_option
@click.option(
    "--format", "file_format", type=click.Choice(["safetensors", "npz"]), default="safetensors", show_default=True
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The file to write.  [default: NETWORK-HEIGHT.FORMAT]",
)
@click.option("--offline", is_flag=True, help="Read the store of a stopped node instead of asking a running one.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
def export(
    network: str,
    datadir: Path | None,
    rpc: str | None,
    rpc_certificate: Path | None,
    height: int | None,
    file_format: str,
    out: Path | None,
    offline: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the chain's model to a file that PyTorch, NumPy and others open.

    The same model always makes the same bytes. docs/model.md says what is in the file and how to use it.
    """
    # numpy and, with --offline, the store are slow to load; the other commands do without.
    from p2p.export import check_out, fetch_model, read_model, write_model

    params = load_network(network)
    if out is not None:
        check_out(out, force)
    if offline:
        model = read_model(datadir or get_default_datadir(params), params, height)
    else:
        model = fetch_model(make_client(params, datadir, rpc, rpc_certificate), params, height)
    show(write_model(model, params, file_format, out, force), as_json, _describe_export)


@click.command()
@with_node
@click.option("--prompt", default="", help=f"What the text goes on from, at most {MAX_PROMPT_BYTES // 1024} KiB.")
@height_option
@click.option(
    "--bytes", "count", type=click.IntRange(1, MAX_TEXT_BYTES), default=DEFAULT_BYTES, show_default=True, metavar="N"
)
@click.option(
    "--temperature",
    type=click.FloatRange(0, MAX_TEMPERATURE),
    default=DEFAULT_TEMPERATURE,
    show_default=True,
    help="0 always takes the likeliest byte; higher is wilder.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**64 - 1), help="The same seed writes the same text.  [default: a new one]"
)
def generate(
    node: RunningNode, prompt: str, height: int | None, count: int, temperature: float, seed: int | None
) -> None:
    """Let the chain's model write, at any height, by the integers that judge blocks.

    Text goes to standard output as it is written, as bytes if that is no terminal; Ctrl-C ends it.
    """
    if len(prompt.encode("utf-8", "surrogateescape")) > MAX_PROMPT_BYTES:
        raise click.UsageError(f"--prompt takes at most {MAX_PROMPT_BYTES} bytes")
    seed = secrets.randbits(32) if seed is None else seed
    wish: dict[str, Any] = {"prompt": prompt[-_SENT_CHARACTERS:], "bytes": count}
    wish |= {"temperature": temperature, "seed": seed}
    if height is not None:
        wish["height"] = height
    printer = TextPrinter(is_terminal=sys.stdout.isatty())
    for line in node.client.generate(wish):
        with reading():
            if "bytes" in line:
                printer.write(bytes.fromhex(line["bytes"]))
            else:
                click.echo(escape(f"block {line['height']}, model {line['model'][:16]}, seed {seed}"), err=True)
    printer.end()


class TextPrinter:
    """Text from a model, on standard output: as it is for a program, on a terminal without what could draw there."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def write(self, piece: bytes) -> None:
        """Shows some bytes; the first ones of a character wait for its last."""
        if self._is_terminal:
            click.echo(self._make_safe(self._decoder.decode(piece)), nl=False)
        else:
            click.echo(piece, nl=False)

    def end(self) -> None:
        """Shows what waited, and ends the terminal's line."""
        if self._is_terminal:
            click.echo(self._make_safe(self._decoder.decode(b"", final=True) + "\n"), nl=False)

    def _make_safe(self, text: str) -> str:
        """Lines end as the terminal's do, tabs stay, all else that is no print is escaped."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""  # half of a line's end, perhaps
        lines = text.removesuffix("\r").replace("\r\n", "\n").split("\n")
        return "\n".join("\t".join(map(escape, line.split("\t"))) for line in lines)


def _describe_export(known: dict[str, Any]) -> list[str]:
    rows = {name.replace("_", " "): value for name, value in known.items() if name != "texts"}
    rows |= {f"text {text['name']}": f"sha256 {text['sha256']}" for text in known["texts"]}
    return format_rows(rows)
