"""One process writes a run. The lock ends with its holder, however that ends."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from search_spaces.checks import BadInput


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at ``path``.

    Raises:
        BadInput: another process holds it; it is named.
    """
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise BadInput(
                f"the run {str(path.parent.parent)!r} is being written by {file.read().strip() or 'another process'}: "
                f"wait until it ends, or stop it"
            ) from None
        file.truncate(0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {platform.node()}, since {since}\n")
        file.flush()
        yield
