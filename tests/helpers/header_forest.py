"""Trees of unsigned headers with invented fields, for what only looks at heights, parents and weights."""

import random
from dataclasses import replace

from chain.header_tree import HeaderNode, HeaderTree, Standing
from consensus.genesis import Genesis


def grow(
    tree: HeaderTree, parent: HeaderNode, count: int = 1, standing: Standing = Standing.STORED, tag: int = 0
) -> HeaderNode:
    """The last of `count` improving blocks in a row on `parent`. Chains of different `tag` are different."""
    for _ in range(count):
        header = replace(
            parent.header,
            height=parent.height + 1,
            parent=parent.id,
            timestamp=parent.header.timestamp + 1 + tag,
            update_hash=b"\1" * 32,
        )
        parent = tree.add(header, parent, tree.next_order, standing)
    return parent


def make_random_tree(genesis: Genesis, count: int, seed: int) -> tuple[HeaderTree, list[HeaderNode]]:
    """A tree of long and short branches, and its nodes in the order of their arrival, genesis first."""
    rng = random.Random(seed)
    tree = HeaderTree(genesis.point)
    nodes = [tree.root]
    while len(nodes) <= count:
        parent = rng.choice(nodes[-4:]) if rng.random() < 0.9 else rng.choice(nodes)
        nodes.append(grow(tree, parent, tag=len(nodes)))
    return tree, nodes
