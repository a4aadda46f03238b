"""Before the first signature: who has seen the log says that it never signed more than it knows of (R-05)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future

from teelog.errors import UnavailableError
from teelog.log_server.seams import Clock, Cosigner, Request

log = logging.getLogger("teelog.log_server")


class Confirmation:
    """Asks the witnesses until they have confirmed the log. From the sequencer's thread.

    retry: seconds until they are asked again.
    """

    def __init__(self, cosigner: Cosigner, clock: Clock, retry: float) -> None:
        self._cosigner = cosigner
        self._clock = clock
        self._retry = retry
        self._asked: Future[None] | None = None
        self._next = 0.0
        self.done = False

    def wait(self, pause: float) -> float:
        """Seconds until the next ``step``. pause: while the witnesses are being asked."""
        return pause if self._asked is not None else max(0.0, self._next - self._clock.monotonic())

    def step(self, published: Callable[[], Request], signed: int, wake: Callable[[object], None]) -> bool:
        """Goes on asking; True once they have confirmed it.

        published: the published checkpoint. signed: the size that was signed at most. wake: called when there is an
        answer. Raises RolledBack.
        """
        if self._asked is None:
            if self._clock.monotonic() >= self._next:
                self._asked = self._cosigner.probe(published(), signed)
                self._asked.add_done_callback(wake)
            return False
        if not self._asked.done():
            return False
        asked, self._asked = self._asked, None
        try:
            asked.result()
        except UnavailableError as error:
            log.warning("the witnesses have not confirmed this log yet: %s", error)
            self._next = self._clock.monotonic() + self._retry
            return False
        self.done = True
        return True
