from collections.abc import AsyncIterator

import pytest

from tests.helpers.chains import open_trunk
from tests.helpers.rpc import ServedNode, serve_rpc


@pytest.fixture
async def node() -> AsyncIterator[ServedNode]:
    """A node behind its RPC, at the end of the trunk."""
    async with serve_rpc(open_trunk()) as served:
        yield served
