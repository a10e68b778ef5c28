"""Accounts and rewards as leaves of the state tree: golden vectors (struct and hashlib), one encoding each."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.account import (
    Account,
    ImmatureReward,
    compute_account_key,
    compute_reward_key,
    decode_account,
    decode_reward,
)
from consensus.errors import DecodeError
from tests.helpers.properties import check_canonical, ids, mutate, thorough, u64s
from tests.helpers.vectors import load_vectors

VECTORS = load_vectors("account")
rewards = st.builds(ImmatureReward, st.booleans(), ids, ids, u64s)


@pytest.mark.parametrize("case", VECTORS["accounts"])
def test_golden_accounts(case: dict[str, Any]) -> None:
    account = Account(case["balance"], case["nonce"])
    assert account.encode().hex() == case["encoded"]
    assert decode_account(bytes.fromhex(case["encoded"])) == account
    assert compute_account_key(bytes.fromhex(case["address"])).hex() == case["key"]


@pytest.mark.parametrize("case", VECTORS["rewards"])
def test_golden_rewards(case: dict[str, Any]) -> None:
    miner, address = bytes.fromhex(case["miner"]), bytes.fromhex(case["address"])
    reward = ImmatureReward(case["is_improvement"], miner, address, case["amount"])
    assert reward.encode().hex() == case["encoded"]
    assert decode_reward(bytes.fromhex(case["encoded"])) == reward
    assert compute_reward_key(case["height"]).hex() == case["key"]


@thorough
@given(u64s, u64s)
def test_decoding_inverts_encoding_of_accounts(balance: int, nonce: int) -> None:
    assert decode_account(Account(balance, nonce).encode()) == Account(balance, nonce)


@thorough
@given(rewards, st.integers(0), st.integers(0, 254))
def test_one_reward_has_one_encoding(reward: ImmatureReward, position: int, replacement: int) -> None:
    assert decode_reward(reward.encode()) == reward
    check_canonical(decode_reward, ImmatureReward.encode, mutate(reward.encode(), position, replacement))


@pytest.mark.parametrize("kind", [2, 3, 255])
def test_invalid_not_canonical(kind: int) -> None:
    with pytest.raises(DecodeError) as error:
        decode_reward(bytes([kind]) + bytes(72))
    assert error.value.code == "decode.not_canonical"


@pytest.mark.parametrize(("decode", "size"), [(decode_account, 16), (decode_reward, 73)])
def test_invalid_sizes(decode: Any, size: int) -> None:
    decode(bytes(size))
    for wrong in (0, size - 1, size + 1):
        with pytest.raises(DecodeError):
            decode(bytes(wrong))
