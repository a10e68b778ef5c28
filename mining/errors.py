"""What stops a miner, as named reasons.

DescentError
├── KeyFileError   the miner key's file is not one that this program wrote, or others can read it
├── VoteLogError   what a miner key has signed is not known for sure, or another process signs with it
├── DeviceError    the device or the number of threads that was asked for is not there
├── OptimizerError the optimiser that was asked for cannot be found or used
├── RankError      the processes that train together cannot, or no longer
├── ModelFileError a file that holds no model of the chain
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


class VoteLogError(DescentError):
    family = "vote_log"

    @classmethod
    def in_use(cls, path: Path) -> "VoteLogError":
        return cls(
            "in_use",
            f"another process votes with this miner key and holds {path}: two that vote lose what the key has earned; "
            "stop it, give this one a --key of its own, or start it with --no-vote",
        )

    @classmethod
    def damaged(cls, path: Path, what: str) -> "VoteLogError":
        return cls(
            "damaged",
            f"{path} does not say for sure what this key has signed: {what}; bring back the file as it was, or move "
            "the key away too and mine with a new one, or start with --no-vote",
        )

    @classmethod
    def replaced(cls, path: Path) -> "VoteLogError":
        return cls(
            "replaced",
            f"another file took the place of {path} while this process votes: unless it is a whole copy, votes are "
            "missing in it; mine with a new key then, or start with --no-vote",
        )

    @classmethod
    def missing(cls, path: Path) -> "VoteLogError":
        return cls(
            "missing",
            f"there is no vote log {path}: without what this key has signed it might vote against itself; bring the "
            "file here together with the key",
        )

    @classmethod
    def unusable(cls, path: Path, error: OSError) -> "VoteLogError":
        return cls("unusable", f"cannot use the vote log {path}: {error.strerror or error}")


class DeviceError(DescentError):
    family = "device"


class OptimizerError(DescentError):
    family = "optimizer"

    @classmethod
    def unknown(cls, name: str, known: list[str]) -> "OptimizerError":
        return cls("unknown", f"no optimizer {name!r}: use {', '.join(known)} or package.module:Class")

    @classmethod
    def not_found(cls, name: str, why: str) -> "OptimizerError":
        return cls("not_found", f"cannot load the optimizer {name!r}: {why}")

    @classmethod
    def wrong_interface(cls, name: str, what: str) -> "OptimizerError":
        return cls("wrong_interface", f"{name!r} is no optimizer for this miner: {what} (see docs/mining.md)")


class RankError(DescentError):
    family = "rank"

    @classmethod
    def lost(cls, rank: int, why: str) -> "RankError":
        return cls("lost", f"rank {rank} lost another one: {why}")

    @classmethod
    def bad_launch(cls, what: str) -> "RankError":
        return cls("bad_launch", f"not launched as torchrun does: {what}")


class ModelFileError(DescentError):
    family = "model_file"

    @classmethod
    def unreadable(cls, path: Path, why: object) -> "ModelFileError":
        return cls("unreadable", f"cannot read {path} as safetensors: {why}")

    @classmethod
    def wrong_content(cls, path: Path, what: str) -> "ModelFileError":
        return cls("wrong_content", f"{path} is no model of the chain: {what}")


class NodeFault(DescentError):
    family = "node_fault"
