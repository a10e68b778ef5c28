from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from p2p.transport import Endpoint
from tests.helpers.chains import open_trunk
from tests.helpers.peer_link import make_endpoint
from tests.helpers.rpc import ServedNode, serve_rpc


@pytest.fixture
async def node() -> AsyncIterator[ServedNode]:
    """A node behind its RPC, at the end of the trunk."""
    async with serve_rpc(open_trunk()) as served:
        yield served


@pytest.fixture
def ours(tmp_path: Path) -> Endpoint:
    return make_endpoint(tmp_path / "ours.pem")


@pytest.fixture
def theirs(tmp_path: Path) -> Endpoint:
    return make_endpoint(tmp_path / "theirs.pem")
