"""A look of a process that kills itself at a commit.

    python -m tests.witness.monitor.killed FOLDER NOW before|after|never

before: when it is about to make its second commit. after: once it has made its first.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from teelog.witness.monitor import portion
from teelog.witness.monitor.state import State
from tests.witness.monitor.watching import Watching


def main() -> None:
    folder, now, when = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    portion.PORTION = 1
    advance, made = State.advance, list[None]()

    def killing(*given: object, **more: object) -> None:
        if made and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        advance(*given, **more)  # type: ignore[arg-type]
        made.append(None)
        if when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    State.advance = killing  # type: ignore[method-assign]
    Watching(folder, now).look()


if __name__ == "__main__":
    main()
