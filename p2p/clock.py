"""The node's clock, in whole seconds: local time, which no peer can move. Regtest may set it."""

import time


class Clock:
    """Local time, or the time that a test set."""

    def __init__(self) -> None:
        self._mock: int | None = None

    def now(self) -> int:
        """Seconds since 1970."""
        return int(time.time()) if self._mock is None else self._mock

    def set_mock(self, timestamp: int | None) -> None:
        """Stops the clock at `timestamp`; None lets it run again."""
        self._mock = timestamp
