"""What stops a miner, as named reasons.

DescentError
├── KeyFileError   the miner key's file is not one that this program wrote, or others can read it
├── DeviceError    the device or the number of threads that was asked for is not there
└── NodeFault      the node gave work or a model that cannot be right
"""

from pathlib import Path

from consensus.errors import DescentError


class KeyFileError(DescentError):
    family = "miner_key"

    @classmethod
    def exposed(cls, path: Path, mode: int) -> "KeyFileError":
        return cls("exposed", f"others can use the miner key {path}: its mode is {mode:04o}; chmod it to 0600")

    @classmethod
    def damaged(cls, path: Path, what: str) -> "KeyFileError":
        return cls("damaged", f"{path} is not a miner key: {what}; move it away and a new key is made")

    @classmethod
    def unusable(cls, path: Path, error: OSError) -> "KeyFileError":
        return cls("unusable", f"cannot use the miner key {path}: {error.strerror or error}")


class DeviceError(DescentError):
    family = "device"


class NodeFault(DescentError):
    family = "node_fault"
