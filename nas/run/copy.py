"""A second home for a run's files: a shared folder or cloud storage, whatever fsspec reaches."""

import time
from collections.abc import Iterator
from pathlib import Path

import fsspec

from search_spaces.checks import BadInput

EVERY_S = 30.0
LOCAL_ONLY = {"lock"}


def checked(url: str) -> str:
    """``url``, if files can be written there; a path is made absolute, for trials run in other folders.

    Raises:
        BadInput: they can't, or nothing that is installed speaks its protocol.
    """
    if "://" not in url:
        url = str(Path(url).resolve())
    try:
        files, path = fsspec.core.url_to_fs(url)
        probe = f"{path.rstrip('/')}/.writable"
        files.makedirs(path, exist_ok=True)
        files.pipe_file(probe, b"")
        files.rm_file(probe)
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(f"--storage {url}: can't be written: {' '.join(str(error).split())}") from None
    return url.rstrip("/")


class Mirror:
    """Copies what changed in a run's folder, but the checkpoints, which trials write there themselves."""

    def __init__(self, run: Path, url: str) -> None:
        self.run, self.url = run, url
        self.copied: dict[Path, float] = {}
        self.last = float("-inf")
        self.problem: str | None = None

    def sync(self, now: bool = False) -> None:
        """At most every half minute, unless ``now``. A copy that fails is noted, and tried again the next time."""
        if not now and time.monotonic() - self.last < EVERY_S:
            return
        self.last, self.problem = time.monotonic(), None
        try:
            files, root = fsspec.core.url_to_fs(f"{self.url}/{self.run.name}")
            for path, changed in self._changed():
                target = f"{root}/{path.relative_to(self.run).as_posix()}"
                files.makedirs(files._parent(target), exist_ok=True)
                files.pipe_file(target, path.read_bytes())
                self.copied[path] = changed
        except OSError as error:
            self.problem = f"{self.url}: {' '.join(str(error).split())}"

    def _changed(self) -> Iterator[tuple[Path, float]]:
        for path in sorted(self.run.rglob("*")):
            if path.is_file() and path.name not in LOCAL_ONLY and path.parent.name != "checkpoints":
                changed = path.stat().st_mtime
                if self.copied.get(path) != changed:
                    yield path, changed
