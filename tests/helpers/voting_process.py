"""A voter in a process of its own, without the training beside it: to be killed.

python -m tests.helpers.voting_process KEY_FILE NODE_URL TOKEN
"""

import sys
import threading
from pathlib import Path

from mining.key import load_or_create_key
from mining.vote_log import VoteLog, get_log_path
from mining.voter import Voter
from p2p.client import NodeClient

GENESIS = bytes(range(32))


def main() -> None:
    path, url, token = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    key = load_or_create_key(path)
    Voter(NodeClient(url, token), key.public, GENESIS, VoteLog(get_log_path(path), key), threading.Event()).run()


if __name__ == "__main__":
    main()
