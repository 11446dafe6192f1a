"""A run: one search's folder, with its question, its ledgers, its state and what it found.

Reading one needs neither torch nor Ray nor the device that it ran on, and works while another process writes it.
"""

import os
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import yaml

from search_spaces.checks import BadInput, expanded
from trainers.whole_file import write_whole

from ..question import Question, changed, from_document, to_document
from ..record import FORMAT, Record
from .copy import require_own, require_writable
from .files import read_json, read_yaml, write_json, write_yaml
from .journal import TornWarning
from .ledger import read_ledger
from .lock import locked

LATER: dict[str, Any] = {
    **dict.fromkeys(("model", "detector", "classes", "resolution", "latency_on")),
    "log": [],
}  # than some runs: their values
MEASURED = {"trials", "networks", "device", "complete"}
State = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Run:
    """One search's folder.

    Args:
        id: tells it from every other run, whatever their folders are called.
        document: its ``search.yaml``.
    """

    folder: Path
    id: str
    question: Question
    document: Mapping[str, Any]

    @classmethod
    @contextmanager
    def create(
        cls,
        question: Question,
        about: Mapping[str, Any],
        state: State,
        weights: Mapping[str, bytes] | None = None,
    ) -> Iterator["Run"]:
        """Make a run's folder and hold its lock.

        Args:
            about: what ``search.yaml`` says beyond the question: backbone, data, provenance.
            state: ``space`` and ``costs``, as documents, which a resumed run takes over as they are.
            weights: those that the user gave: ``parent``, that candidates inherit, or ``start``, of its training.

        Raises:
            BadInput: it exists, can't be written, or ``--storage`` holds another of its name.
        """
        folder = question.folder
        require_new(question)
        (folder / "state").mkdir(parents=True, exist_ok=True)
        question = replace(question, planned=question.planned or question.trials)
        run_id = secrets.token_hex(8)
        document = {"format": FORMAT, "id": run_id, **to_document(question), **about}
        with locked(folder / "state" / "lock"):
            require_new(question)  # another process may have begun it meanwhile
            _drop_partials(folder)
            write_yaml(folder / "state" / "space.yaml", state["space"])
            write_json(folder / "state" / "costs.json", state["costs"])
            for name, content in (weights or {}).items():
                write_whole(folder / "state" / f"{name}.pt", content)
            write_yaml(folder / "search.yaml", document)  # last of all: a folder with it is a run
            if question.storage is not None:  # so that no other run of this name begins there meanwhile
                write_whole(f"{question.storage}/{folder.name}/search.yaml", (folder / "search.yaml").read_bytes())
            yield cls(folder, run_id, question, document)

    @classmethod
    @contextmanager
    def open(cls, folder: Path, written: Mapping[str, Any]) -> Iterator["Run"]:
        """Go on with a run: hold its lock, with what may change of its question changed.

        Args:
            written: the options that the user wrote; nothing is written into the folder until ``note`` is called.

        Raises:
            BadInput: no run, one of another version, one that another process writes, an option that can't change.
        """
        folder = cls.to_go_on(folder, written).folder
        _require_folder(folder)
        if not (folder / "state").is_dir():
            raise BadInput(f"{folder / 'state'} is missing: copy it with the run's folder")
        with locked(folder / "state" / "lock"):
            _drop_partials(folder)
            run = cls.to_go_on(folder, written)  # what stands there now that nobody else writes it
            if run.question.storage is not None:
                require_writable(run.question.storage)
                require_own(run.question.storage, folder.name, run.id)
            yield run

    @classmethod
    def to_go_on(cls, folder: Path, written: Mapping[str, Any]) -> "Run":
        """A run with what may change of its question changed, in memory only; BadInput as ``open``."""
        before = cls.read(folder if folder.name else folder.resolve())
        if before.document.get("format") != FORMAT:
            raise BadInput(f"--resume {folder}: is a run of an earlier version: it can be read, not gone on with")
        return replace(before, question=changed(before.question, written))

    @classmethod
    def read(cls, folder: Path | str) -> "Run":
        """A run as it stands, going on or not.

        Raises:
            BadInput: there is none, or it can't be read.
        """
        folder = expanded(folder)
        path = folder / "search.yaml"
        if not os.path.isfile(path):  # of a name that is too long, too, there is none
            raise BadInput(f"{folder}: there is no search.yaml; name the folder of a run, such as results/NAME")
        try:
            document = read_yaml(path)
            version = document.get("format", 1)
            if version == 1:
                document = _from_format_1(document)
            elif version == 2:
                document = {"repeats": 0, "final": 0, "weights": None, **document}
            elif version not in (3, FORMAT):  # 3: its scores are of other recipes
                raise BadInput(f"its format is {version}, this version reads 1 to {FORMAT}")
            document = {**LATER, **document}
            return cls(folder, str(document["id"]), from_document(document, folder), document)
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BadInput):
                raise BadInput(f"{path}: {error}") from None
            said = " ".join(str(error).split())
            raise BadInput(f"{path}: can't be read: {type(error).__name__}: {said}") from None

    def note(self, entry: Mapping[str, Any]) -> None:
        """Write down that the run was gone on with, and what was changed of its question."""
        again = [*self.document.get("resumed", []), dict(entry)]
        write_yaml(self.folder / "search.yaml", {**self.document, **to_document(self.question), "resumed": again})

    @property
    def state(self) -> Path:
        """What ``--resume`` needs beside the ledger: proposals, costs, the space, checkpoints, the lock."""
        return self.folder / "state"

    @property
    def ledger_file(self) -> Path:
        return self.folder / "trials.jsonl"

    @property
    def references_file(self) -> Path:
        return self.folder / "references.jsonl"

    def stage_file(self, stage: str) -> Path:
        """The ledger of what is judged beside the trials: ``parent``, ``repeats``, ``final``."""
        return self.folder / f"{stage}.jsonl"

    def judged(self, stage: str) -> list[Record]:
        """The records of such a stage so far."""
        return _records(self.stage_file(stage))

    @property
    def parent_file(self) -> Path:
        """The trained vanilla proxy's state dict, where candidates inherit from one."""
        return self.state / "parent.pt"

    @property
    def start_file(self) -> Path:
        """What the parent's training starts from, where the user's weights are for other classes."""
        return self.state / "start.pt"

    @property
    def sensitivity(self) -> list[list[float]] | None:
        """How far each option alone moves the parent, of each variable; ``None`` where that was not measured."""
        try:
            found: list[list[float]] = read_json(self.state / "sensitivity.json")["nats"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found

    def write_sensitivity(self, found: Sequence[Sequence[float]]) -> None:
        write_json(self.state / "sensitivity.json", {"nats": found})

    @property
    def finalists(self) -> dict[str, Any] | None:
        """Who was chosen for the final stage, of how many trials."""
        path = self.state / "finalists.json"
        try:
            found: dict[str, Any] = read_json(path)
        except (OSError, ValueError):
            return None  # they are chosen again
        return found if isinstance(found, dict) and {"asked", "chosen"} <= set(found) else None

    def write_finalists(self, chosen: Mapping[str, Any]) -> None:
        write_json(self.state / "finalists.json", chosen)

    @property
    def proposals_file(self) -> Path:
        return self.state / "proposals.jsonl"

    @property
    def space_document(self) -> Any:
        return self._kept("space.yaml")

    @property
    def costs_document(self) -> Any:
        return self._kept("costs.json")

    def checkpoints(self, shared: str | None = None) -> str:
        """Where trials keep their checkpoints: in the folder, or below ``shared``; no other run's are there."""
        home = str(self.folder.resolve()) if shared is None else f"{shared}/{self.folder.name}"
        return f"{home}/state/checkpoints-{self.id}"

    @property
    def candidates(self) -> list[Record]:
        """The trials that have ended so far; a line that is just being written is left out."""
        return _records(self.ledger_file)

    @property
    def references(self) -> list[Record]:
        """The same for the vanilla network and the papers' settings."""
        return _records(self.references_file)

    @property
    def measured(self) -> dict[str, Any] | None:
        """What was measured of whole networks when the run ended, and how many trials it had then."""
        path = self.state / "measured.json"
        try:
            found = read_json(path) if path.exists() else {}
        except (OSError, ValueError):
            found = {}
        return found if isinstance(found, dict) and set(found) >= MEASURED else None  # it is measured again

    def write_measured(self, measured: Mapping[str, Any]) -> None:
        write_json(self.state / "measured.json", measured)

    def _kept(self, name: str) -> Any:
        try:
            return read_yaml(self.state / name) if name.endswith(".yaml") else read_json(self.state / name)
        except (OSError, ValueError, yaml.YAMLError):
            raise BadInput(f"{self.state / name} can't be read: copy it with the run's folder") from None


def require_new(question: Question) -> None:
    """BadInput where a new run can't have its folder or its storage: known before anything is measured."""
    folder = question.folder
    _require_folder(folder.parent)
    if folder.exists() and not _is_remnant(folder):
        raise BadInput(f"the run {str(folder)!r} exists: go on with it by --resume {folder}, or choose another --name")
    if question.storage is not None:
        require_writable(question.storage)
        require_own(question.storage, question.name, None)


def _is_remnant(folder: Path) -> bool:
    """Whether a folder is what a crash left of a run that had not begun."""
    return folder.is_dir() and {p.name for p in folder.iterdir() if not _is_partial(p)} <= {"state"}


def _is_partial(path: Path) -> bool:
    """Whether it is what a killed process left of a file."""
    return path.name.startswith(".") and path.name.endswith(".partial")


def _drop_partials(folder: Path) -> None:
    for path in folder.rglob(".*.partial"):
        path.unlink(missing_ok=True)


def _require_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"the results folder {str(folder)!r} can't be written: {error.strerror}") from None


def _records(path: Path) -> list[Record]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TornWarning)
        return read_ledger(path)


def _from_format_1(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run before there were formats: what can still be read of its question; its recipe is another one's."""
    proxy = asked["proxy"]
    kept = ("space", "budget", "dataset", "data_root", "seed", "trials", "sampler", "device", "storage", "references")
    return {
        **{name: asked[name] for name in (*kept, "cpus_per_trial", "gpus_per_trial", "planned")},
        "id": "",
        "judge": "scratch",
        "stop": "none",
        **{"repeats": 0, "final": 0, "weights": None},
        "recipe": {name: proxy[name] for name in ("epochs", "images_per_epoch", "batch")},
        "proxy_width": proxy["width"],
        "proxy_resolution": proxy["resolution"],
        "backbone": asked["backbone"],
        "format": 1,
    }
