"""A second home for a run's files: a shared folder or cloud storage, whatever fsspec reaches."""

import time
from collections.abc import Iterator
from pathlib import Path

import yaml

from search_spaces.checks import BadInput
from trainers.whole_file import files_at, write_whole

EVERY_S = 30.0
LOCAL_ONLY = {"lock"}


def require_writable(storage: str) -> None:
    """BadInput where nothing can be written at ``storage``, or nothing that is installed speaks its protocol."""
    try:
        files, path = files_at(storage)
        probe = f"{path.rstrip('/')}/.writable"
        files.makedirs(path, exist_ok=True)
        files.pipe_file(probe, b"")
        files.rm_file(probe)
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(f"--storage {storage}: can't be written: {' '.join(str(error).split())}") from None


def require_own(storage: str, name: str, run_id: str | None) -> None:
    """BadInput where ``storage`` holds another run of this name; ``run_id`` is ``None`` for one that is new."""
    files, path = files_at(f"{storage}/{name}/search.yaml")
    try:
        there = yaml.safe_load(files.cat_file(path))
    except FileNotFoundError:
        return
    except (OSError, yaml.YAMLError):
        there = None
    found = there.get("id") if isinstance(there, dict) else None
    if found is None or found != run_id:
        raise BadInput(
            f"--storage {storage} holds another run called {name}: choose another --name or --storage, or move it away"
        )


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
            for path, changed in self._changed():
                write_whole(f"{self.url}/{self.run.name}/{path.relative_to(self.run).as_posix()}", path.read_bytes())
                self.copied[path] = changed
            self._drop_what_went()
        except OSError as error:
            self.problem = f"{self.url}: {' '.join(str(error).split())}"

    def _changed(self) -> Iterator[tuple[Path, float]]:
        for path in sorted(self.run.rglob("*")):
            inside = path.relative_to(self.run)
            checkpoint = any(part.startswith("checkpoints-") for part in inside.parts)
            own = not checkpoint and path.name not in LOCAL_ONLY and not path.name.startswith(".")
            if own and path.is_file():
                changed = path.stat().st_mtime
                if self.copied.get(path) != changed:
                    yield path, changed

    def _drop_what_went(self) -> None:
        """What an earlier front had, and a best.yaml that is none any more, are not in the copy either."""
        files, root = files_at(f"{self.url}/{self.run.name}")
        there = [str(name)[len(root) + 1 :] for name in files.glob(f"{root}/front/*.yaml")]
        there += ["best.yaml"] if files.exists(f"{root}/best.yaml") else []
        for name in there:
            if not (self.run / name).exists():
                files.rm_file(f"{root}/{name}")
