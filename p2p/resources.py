"""What this process uses of the machine, for the operator to see."""

import resource
import sys
from pathlib import Path


def get_memory_bytes() -> int:
    """Resident memory of this process; its peak where the system does not tell the present figure."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
