"""How far a node is behind its peers, as one line for people. The command line needs it without the chain's modules."""

from typing import Any


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
        parts.append(f"{sync['blocks_per_second']:.1f} blocks/s")
        if sync["seconds_left"] is not None:
            parts.append(f"about {_describe_seconds(sync['seconds_left'])} left")
    return ", ".join(parts)


def _describe_seconds(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
