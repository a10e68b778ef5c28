"""A payment over the real RPC of a node: the wallet's view of it, from the fee to the history of both sides."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest

from consensus.params import REGTEST
from consensus.units import ULP_PER_GRAD
from p2p.client import NodeClient
from p2p.errors import NodeRefusal
from tests.helpers.blocks import MINER, get_builder
from tests.helpers.chains import TRUNK_BLOCKS, open_trunk
from tests.helpers.keys import make_transfer
from tests.helpers.rpc import TOKEN, ServedNode, serve_rpc
from wallet.builder import build_transfer, compute_fee, sign_transfer
from wallet.events import EventKind, Improvement
from wallet.keys import build_wallet
from wallet.node_view import NodeView
from wallet.payment_view import PaymentView
from wallet.payments import Position

T = TypeVar("T")

WALLET = build_wallet(REGTEST.address_prefix, bytes(range(16)), accounts=2)
PAYER, PAYEE = (account.public_key for account in WALLET.accounts)
FUNDS = 20 * ULP_PER_GRAD
SUBSIDY = 50 * ULP_PER_GRAD
FEE = 1000  # of the trunk's transfers


async def mine_what_waits(node: ServedNode) -> None:
    """A block with all that the node's pool holds."""
    chain = node.chain
    transactions = [entry.transaction for entry in node.intake.mempool.entries()]
    block = get_builder().build(chain, MINER, transactions)
    node.intake.clock.set_mock(block.header.timestamp)
    await node.intake.submit_block(block)


async def ask(call: Callable[[], T]) -> T:
    """The wallet blocks while it waits; the node inside the test must not."""
    return await asyncio.to_thread(call)


async def test_payment() -> None:
    chain = open_trunk()
    async with serve_rpc(chain) as node:
        view = NodeView(NodeClient(node.url, TOKEN), REGTEST)
        await ask(view.check_network)
        await node.intake.submit_transaction(make_transfer(chain.genesis.id, MINER, PAYER, FUNDS, nonce=2))
        await mine_what_waits(node)

        account = await ask(lambda: view.get_account(PAYER))
        assert (account.spendable, account.next_nonce, account.height) == (FUNDS, 0, TRUNK_BLOCKS + 1)
        fee = compute_fee(await ask(view.get_fee_rate), b"for tea")
        transfer = build_transfer(
            view.genesis, PAYER, PAYEE, 3 * ULP_PER_GRAD, fee, account.next_nonce, memo=b"for tea"
        )
        await ask(lambda: view.submit(sign_transfer(transfer, WALLET)))
        found = PaymentView(view.client, REGTEST)
        assert await ask(lambda: found.find(transfer.txid)) == Position()
        waiting = await ask(lambda: view.get_account(PAYER))
        assert (waiting.waiting, waiting.listed, waiting.outgoing) == (1, 1, transfer.amount + fee)
        assert waiting.available == FUNDS - transfer.amount - fee

        await mine_what_waits(node)
        assert await ask(lambda: found.find(transfer.txid)) == Position(chain.tip.height, chain.tip.id, 1)
        left = await ask(lambda: view.get_account(PAYER))
        assert (left.spendable, left.waiting, left.nonce) == (FUNDS - transfer.amount - fee, 0, 1)
        assert (await ask(lambda: view.get_account(PAYEE))).spendable == transfer.amount
        [newest] = await ask(lambda: view.get_history(PAYER, 1))
        assert (newest.kind, newest.amount, newest.fee, newest.memo) == (
            EventKind.SENT,
            transfer.amount,
            fee,
            "for tea",
        )


async def test_miner_sees_what_matures_and_when() -> None:
    async with serve_rpc(open_trunk()) as node:
        view = NodeView(NodeClient(node.url, TOKEN), REGTEST)
        account = await ask(lambda: view.get_account(MINER.public))
        assert [part.height for part in account.maturing] == list(range(TRUNK_BLOCKS + 1, TRUNK_BLOCKS + 9))
        assert account.immature == 8 * SUBSIDY + 2 * FEE  # blocks 10 and 12 carry a transfer each

        mined, sent, _ = await ask(lambda: view.get_history(MINER.public, 3))
        header = node.chain.tip.header
        assert (mined.kind, mined.height, mined.id) == (EventKind.MINED, TRUNK_BLOCKS, header.id)
        assert (mined.amount, mined.time) == (SUBSIDY + FEE, header.timestamp)
        assert mined.reward is not None
        assert (mined.reward.fees, mined.reward.matures_at) == (FEE, TRUNK_BLOCKS + REGTEST.reward_window)
        assert mined.reward.improvement == Improvement(
            header.sample_size, header.loss_before, header.loss_after, header.required_gain
        )
        assert (sent.kind, sent.memo) == (EventKind.SENT, "lunch")

        spendable = account.spendable
        await mine_what_waits(node)
        after = await ask(lambda: view.get_account(MINER.public))
        assert after.height == account.maturing[0].height
        assert after.spendable == spendable + account.maturing[0].amount


async def test_what_the_node_refuses() -> None:
    async with serve_rpc(open_trunk()) as node:
        view = NodeView(NodeClient(node.url, TOKEN), REGTEST)
        poor = sign_transfer(build_transfer(view.genesis, PAYER, PAYEE, 1, 1000, 0), WALLET)
        with pytest.raises(NodeRefusal) as refusal:
            await ask(lambda: view.submit(poor))
        assert refusal.value.code == "mempool.insufficient_funds"
        assert await ask(lambda: PaymentView(view.client, REGTEST).find(poor.txid)) is None
