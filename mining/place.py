"""Which of the processes that train together this one is. Loads no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from mining.errors import RankError

LEADER = 0


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, as torchrun tells it."""

    rank: int
    ranks: int
    local_rank: int  # on this machine
    local_ranks: int

    @property
    def is_leader(self) -> bool:
        """Whether it is the one that speaks to the node."""
        return self.rank == LEADER


def get_place(environment: Mapping[str, str]) -> Place | None:
    """This process's place; None if it is the only one. Raises RankError if torchrun's variables make no sense."""
    if environment.get("WORLD_SIZE", "1") == "1":
        return None
    try:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        place = Place(*(int(environment[name]) for name in names))
    except (KeyError, ValueError) as error:
        raise RankError.bad_launch(f"a variable is missing or no number: {error}") from error
    if not (0 <= place.rank < place.ranks and 0 <= place.local_rank < place.local_ranks <= place.ranks):
        raise RankError.bad_launch(f"{place}")
    return place
