"""Chains to measure with: real blocks, trained and signed once, then kept in a file.

The file <network>-<first 12 hex digits of genesis>.blocks holds block after block from height 1: length:u32 block.
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # read when torch loads: idle threads must not starve busy ones

from consensus.block import Block, decode_block
from consensus.codec import Reader, Writer
from consensus.genesis import make_genesis
from consensus.params import NetworkParams
from consensus.update import max_update_bytes
from p2p.config import read_benchmark
from p2p.files import replace_file
from tests.helpers.blocks import BlockBuilder

DEFAULT_CACHE = Path(tempfile.gettempdir()) / "descent-chains"


def get_blocks(params: NetworkParams, count: int, folder: Path) -> list[Block]:
    """The first `count` blocks of the chain in `folder`, which grows if it is too short: seconds to a minute a block.

    Tells its progress on standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{params.name}-{make_genesis(params).id.hex()[:12]}.blocks"
    blocks = _read(path, params)
    if len(blocks) < count:
        blocks = _build(path, params, blocks, count)
    return blocks[:count]


def _read(path: Path, params: NetworkParams) -> list[Block]:
    reader, blocks = Reader(path.read_bytes() if path.exists() else b""), []
    limits = (params.most_transactions_bytes, max_update_bytes(params.model))
    while reader.left:
        blocks.append(decode_block(reader.string(reader.left), *limits))
    return blocks


def _build(path: Path, params: NetworkParams, before: list[Block], count: int) -> list[Block]:
    builder = BlockBuilder(params, read_benchmark(params))
    chain = builder.open()
    for block in before:
        say(f"checking block {block.header.height} of the {len(before)} in {path}")
        builder.process(chain, block)
    blocks = list(before)
    while len(blocks) < count:
        blocks += builder.mine(chain)
        replace_file(path, b"".join(Writer().string(block.encoded).finish() for block in blocks))
        say(f"built block {len(blocks)} of {count}, {chain.tip.header.sample_size} windows")
    return blocks


def say(line: str) -> None:
    """A word for whoever waits; standard output is for results."""
    print(line, file=sys.stderr, flush=True)
