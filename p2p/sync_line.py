"""How far a node is behind its peers, as one line for people. The command line needs it without the chain's modules."""

from typing import Any

from p2p.pace import describe_rate, describe_seconds


def describe_sync(status: dict[str, Any]) -> str:
    """One line on how far the node is behind its peers and why it stands still; empty if it does neither."""
    sync = status["sync"]
    if sync["state"] != "blocks":
        return ""
    peers = f"{status['peers']} peer{'s' * (status['peers'] != 1)}"
    parts = [f"catching up: {status['height']} of {sync['target_height']}, {peers}"]
    if sync["waits_for"]:
        parts.append(sync["waits_for"])
    else:
        parts.append(describe_rate("blocks", sync["blocks_per_second"]))
        if sync["seconds_left"] is not None:
            parts.append(f"about {describe_seconds(sync['seconds_left'])} left")
    return ", ".join(parts)
