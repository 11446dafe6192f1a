"""A full training in a folder of its own: begun or gone on with, written down after every epoch."""

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from search_spaces import Architecture
from search_spaces.catalogue import read_yaml
from search_spaces.checks import BadInput, expanded

from .. import checkpoint
from ..turns import training_on
from ..whole_file import write_whole
from . import weights
from .augmentation import resizing
from .boards import Boards
from .data import FullData, load
from .detection import DetectionData, DetectionScores, DetectorTraining, load_coco
from .recipe import FullRecipe, on_data, recipe_from, sized
from .team import ALONE, Team
from .training import Epoch, FullTraining, Scores

QUESTION, ARCHITECTURE, LAST, BEST = "training.json", "architecture.yaml", "last.pt", "best.safetensors"
METRICS, TRAINED = "metrics.jsonl", "trained.yaml"


@dataclass(frozen=True)
class Question:
    """What is trained, and how. ``recipe`` as it is followed; ``start`` is the path of the weights, or ``None``.

    ``teacher`` is that of the vanilla network's weights, from which it is distilled, or ``None``.
    """

    recipe: FullRecipe
    resolution: int
    data_root: str | None = None
    all_images: bool = False
    start: str | None = None
    teacher: str | None = None
    seed: int = 0
    device: str = "cpu"
    micro_batches: int = 1
    detector: str | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Question":
        recipe = document["recipe"]
        tuples = {name: tuple(recipe[name]) for name in ("lr_steps", "augmentation")}
        return cls(**{**document, "recipe": FullRecipe(**{**recipe, **tuples})})


def asked(path: Path, written: Mapping[str, Any]) -> tuple[dict[str, Any], Question]:
    """The architecture's document, and what is to be trained by it.

    Args:
        written: what the user wrote of ``dataset``, ``epochs``, ``batch``, ``lr``, ``resolution`` and of the question.

    Raises:
        BadInput: the file is none that a search exported, or an option is wrong.
    """
    document = read_yaml(expanded(path), str(path))
    try:
        architecture = Architecture.from_dict(document)
        recipe = recipe_from(document.get("training"))
    except ValueError as error:
        raise BadInput(f"{path}: {error}") from None
    detector = architecture.backbone.detector
    if detector is not None and written.get("teacher") is not None:
        raise BadInput("--teacher is for classifiers: a detector can't be distilled yet")
    resolution = written.get("resolution") or architecture.backbone.resolution
    if resolution != architecture.backbone.resolution:
        recipe = sized(recipe, resolution)
    recipe = on_data(recipe, written.get("dataset") or recipe.dataset)
    if written.get("epochs") is not None:
        recipe = recipe.as_long_as(written["epochs"])
    changed = {name: written[name] for name in ("batch", "lr") if written.get(name) is not None}
    kept = {name: written[name] for name in Question.__dataclass_fields__ if written.get(name) is not None}
    kept |= {name: str(expanded(kept[name]).absolute()) for name in ("data_root", "start", "teacher") if name in kept}
    kept |= {"recipe": replace(recipe, **changed), "resolution": resolution, "detector": detector}
    return dict(document), Question(**kept)


@dataclass(frozen=True)
class How:
    """What changes nothing of what is found.

    Args:
        loaders: processes that load images.
        log: names of ``BOARDS`` that show the figures, beside TensorBoard.
        team: processes that train together; the leader writes and speaks.
        say: told a line now and then; ``stepped`` the epoch, the step and the steps of an epoch.
    """

    loaders: int = 0
    log: tuple[str, ...] = ()
    say: Callable[[str], None] = lambda line: None
    stepped: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    team: Team = ALONE


QUIETLY = How()


def begin(document: Mapping[str, Any], question: Question, folder: Path, how: How = QUIETLY) -> Path:
    """A new training in ``folder``; returns its ``trained.yaml``.

    Raises:
        BadInput: the folder holds a training, or can't be written; the data is not to be had.
    """
    made, training = _laid_down(document, question, folder, how)
    return made.train(training)


def lay_down(document: Mapping[str, Any], question: Question, folder: Path, how: How = QUIETLY) -> None:
    """What ``begin`` does before it trains, for others to ``go_on`` with."""
    _laid_down(document, question, folder, how)


def _laid_down(
    document: Mapping[str, Any], question: Question, folder: Path, how: How
) -> tuple["_Folder", FullTraining]:
    if (folder / QUESTION).exists():
        raise BadInput(f"{folder} holds a training: go on with it by --resume {folder}, or choose another --output")
    made = _Folder(folder, question, document, _data(question), how)
    training = made.training()  # what is wrong is found before anything is written
    try:
        write_whole(folder / ARCHITECTURE, yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True).encode())
        write_whole(folder / QUESTION, json.dumps(question.document(), indent=1).encode())
    except OSError as error:
        raise BadInput(f"--output {folder}: can't be written: {error.strerror or error}") from None
    return made, training


def question_of(folder: Path) -> Question:
    """Of the training in a folder.

    Raises:
        BadInput: there is none, or it can't be read.
    """
    try:
        return Question.of(json.loads((folder / QUESTION).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"--resume {folder}: there is no training that can be read: {error}") from None


def go_on(folder: Path, how: How = QUIETLY) -> Path:
    """Go on with a training where its last epoch ended; returns its ``trained.yaml``.

    Raises:
        BadInput: there is none, or it can't be read.
    """
    question = question_of(folder)
    for partial in folder.glob(".*.partial") if how.team.leads else ():  # what a killed process left of a file
        partial.unlink(missing_ok=True)
    document = read_yaml(folder / ARCHITECTURE, str(folder / ARCHITECTURE))
    made = _Folder(folder, question, document, _data(question), how)
    return made.train(made.training())


def _data(question: Question) -> FullData | DetectionData:
    root = None if question.data_root is None else expanded(question.data_root)
    if question.detector is not None:
        if question.recipe.dataset != "coco":
            raise BadInput(f"a detector trains on coco, got --dataset {question.recipe.dataset}")
        return load_coco(root, question.detector, question.all_images)
    return load(question.recipe.dataset, root, question.resolution, question.all_images)


@dataclass(frozen=True)
class _Folder:
    folder: Path
    question: Question
    document: Mapping[str, Any]
    data: FullData | DetectionData
    how: How

    def train(self, training: FullTraining) -> Path:
        """From its last checkpoint, if there is one, to the end."""
        team, history = self.how.team, list[dict[str, Any]]()
        saved = team.same(checkpoint.load(str(self.folder / LAST), torch.device("cpu")) if team.leads else None)
        if saved is None and (self.folder / METRICS).exists():
            raise BadInput(f"{self.folder / LAST} is missing or can't be read: copy it with the folder")
        if saved is not None:
            self._require_same_data(saved.get("data"))
            training.load_state(saved["training"])
            history = saved["history"]
            self.how.say(f"going on after epoch {training.epoch}")
        with ExitStack() as stack:
            boards = stack.enter_context(closing(self._boards(training.epoch + 1))) if team.leads else None
            while not training.done:
                with self._in_turn():
                    epoch = training.run_epoch(lambda step, steps: self.how.stepped(training.epoch, step, steps))
                history.append(epoch.entry())
                if boards is not None:
                    self._note(training, history, epoch, boards)
                team.wait()  # what the leader has written is there
            with self._in_turn():
                path, test = self._end(training, history)
            if boards is not None:
                boards.note(training.epoch, {f"test_{name}": value for name, value in test.items()})
        return path

    def _require_same_data(self, before: str | None) -> None:
        """What a checkpoint says; one of before it said so says nothing."""
        if before not in (None, self.data.digest):
            raise BadInput(
                f"--resume {self.folder}: the images are others than this training began with (in number, name or "
                f"class), so that some of those held out for validation would have been trained on: bring them back"
            )

    def _in_turn(self) -> AbstractContextManager[None]:
        """With those who measure on the device; not in a team, where one process that waits would stall all."""
        return nullcontext() if self.how.team.size > 1 else training_on(torch.device(self.question.device))

    def _boards(self, epoch: int) -> Boards:
        question = self.question.document()
        said = {**question.pop("recipe"), **question, "backbone": self.architecture.backbone.name}
        said |= {"architecture": self.architecture.key}
        return Boards(self.how.log, self.folder, epoch, said, self.how.say)

    def _note(self, training: FullTraining, history: list[dict[str, Any]], epoch: Epoch, boards: Boards) -> None:
        """An epoch that has ended: on disk, on the boards, and for whoever listens."""
        self._write(training, history)
        boards.note(epoch.epoch, epoch.entry())
        said = f"loss {epoch.loss:.3f}, {epoch.validation.said()} on the validation images"
        self.how.say(f"epoch {epoch.epoch} of {self.question.recipe.epochs}: {said}")

    @property
    def architecture(self) -> Architecture:
        """For as many classes as the data has, at the resolution that was asked for."""
        target = Architecture.from_dict(self.document)
        backbone = replace(target.backbone, classes=self.data.classes, resolution=self.question.resolution)
        return replace(target, backbone=backbone)

    def training(self) -> FullTraining:
        """As it begins; one that is gone on with takes its weights from its checkpoint."""
        question = self.question
        if isinstance(self.data, DetectionData):
            return self._detectors(self.data)
        architecture, classes = self.architecture, Architecture.from_dict(self.document).backbone.classes
        if self.data.classes != classes:
            self.how.say(f"{self.data.classes} classes in place of {classes}: the last layer is another one")
        torch.manual_seed(question.seed)
        model = architecture.build()
        if question.start is not None and not (self.folder / LAST).exists():
            self.how.say(weights.start(model, architecture, weights.read(expanded(question.start)), self.data))
        return FullTraining(
            model,
            self.data,
            question.recipe,
            **self._ways(),
            teacher=None if question.teacher is None else weights.teacher(architecture, expanded(question.teacher)),
        )

    def _detectors(self, data: DetectionData) -> FullTraining:
        """The training of a detector: its backbone from weights, if they are given, all else from nothing."""
        question = self.question
        torch.manual_seed(question.seed)
        model: Any = self.architecture.build()
        if question.start is not None and not (self.folder / LAST).exists():
            self.how.say(weights.start_body(model.backbone.body, weights.read(expanded(question.start))))
        if (sizes := resizing(question.recipe.augmentation)) is not None:
            model.transform.min_size, model.transform.max_size = sizes[:1], sizes[1]
        return DetectorTraining(
            model,
            data,  # type: ignore[arg-type]
            question.recipe,
            **self._ways(),
        )

    def _ways(self) -> dict[str, Any]:
        """What every training is told of how it is done."""
        question, how = self.question, self.how
        device = torch.device(question.device)
        alike: dict[str, Any] = {"seed": question.seed, "device": device, "micro_batches": question.micro_batches}
        return {**alike, "loaders": how.loaders, "team": how.team}

    def _write(self, training: FullTraining, history: list[dict[str, Any]]) -> None:
        """The best weights first: a crash between the two repeats an epoch, and finds the same."""
        if self._best(history) is history[-1]:
            state = {name: tensor.contiguous().cpu() for name, tensor in training.trained.state_dict().items()}
            write_whole(self.folder / BEST, save(state))
        checkpoint.save(
            str(self.folder / LAST), {"training": training.state(), "history": history, "data": self.data.digest}
        )
        lines = "".join(json.dumps(entry) + "\n" for entry in history)
        write_whole(self.folder / METRICS, lines.encode())

    @property
    def _main(self) -> str:
        return Scores.main if self.question.detector is None else DetectionScores.main

    def _best(self, history: list[dict[str, Any]]) -> dict[str, Any]:
        """By validation; where those images are trained on, the last."""
        return history[-1] if self.question.all_images else max(history, key=lambda entry: entry[self._main])

    def _end(self, training: FullTraining, history: list[dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
        """The test images, once, by the best weights; the architecture's YAML with what was found, and their scores."""
        best = self._best(history)
        training.trained.load_state_dict(weights.read(self.folder / BEST))
        test: Any = training.scores(self.data.test)  # type: ignore[arg-type]
        metrics = {
            "dataset": self.question.recipe.dataset,
            "epochs": training.epoch,
            "weights": BEST,
            "weights_of_epoch": best["epoch"],
            "validation": None if self.question.all_images else {n: best[n] for n in asdict(test)},
            "test": asdict(test),
            "seed": self.question.seed,
        }
        sections = {**self.document, **self.architecture.to_dict()}  # for as many classes: the weights fit it
        before = self.document.get("metrics") or {}
        if self.architecture != Architecture.from_dict(self.document):  # its costs and scores are another network's
            before = {"as_searched": {"backbone": self.document["backbone"], **before}}
        sections["metrics"] = {**before, "trained": metrics}
        path = self.folder / TRAINED
        if not self.how.team.leads:
            return path, asdict(test)
        write_whole(path, yaml.safe_dump(sections, sort_keys=False, allow_unicode=True).encode())
        self.how.say(f"test images, once: {test.said()}, by the weights of epoch {best['epoch']}")
        return path, asdict(test)
