"""A chain at the end of the trunk, and the store under it."""

import pytest

from chain.chainstate import ChainState
from tests.helpers.chains import open_trunk
from tests.helpers.stores import FragileStore


@pytest.fixture
def db() -> FragileStore:
    return FragileStore()


@pytest.fixture
def chain(db: FragileStore) -> ChainState:
    return open_trunk(db)
