"""What a user asks of a search: its options, from the command line or from Python, and its document in ``search.yaml``.

An option is one field of ``Question``. Its metadata say all that is to be known of it: how it is worded, read, stored,
and whether a run that is gone on with may change it.
"""

import time
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from search_spaces.catalogue import is_path
from search_spaces.checks import BadInput, expanded, require_known
from trainers.data import DATASETS, GIVEN
from trainers.judges import JUDGES, WANT_PARENT
from trainers.recipe import RECIPES, Recipe

from .budget import EXAMPLES, Budget
from .form import WORDING
from .option import (
    PRETRAINED,
    Option,
    check_kind,
    option,
    read_address,
    read_budgets,
    read_form,
    read_recipe,
    read_space,
    read_trials,
    read_weights_option,
    read_whole,
    read_words,
)
from .samplers import SAMPLERS
from .stopping import STOPPING

DEVICES = ("auto", "cpu", "cuda")
DEFAULT_TRIALS = {"cuda": 200}  # on CPUs, what a measurement of this machine allows
DEFAULT_GPU_SHARE = 0.25
FINAL_JUDGE = "scratch"
WHOLE_PROXY = {"proxy_width": 1.0, "proxy_resolution": 32}  # of a network that can't be scaled
LONGEST_NAME = 200
SEARCHED, JUDGED, PROPOSED, PLACED, KEPT = (
    "what is searched",
    "how a candidate is judged",
    "what is tried, and for how long",
    "where it runs",
    "what it leaves",
)
COMPARE = "the trials that have ended would not compare with those to come: start a new run for it"
_EPOCHS = f"{Recipe().epochs}, " + ", ".join(f"{recipe.epochs} where {name}" for name, recipe in RECIPES.items())


@dataclass(frozen=True)
class Question:
    """One search. ``trials``, ``device`` and ``gpus_per_trial`` are resolved once it is known what it runs on.

    Args:
        planned: the candidates that the run was first asked for: ``trials`` may have been raised since.
    """

    space: str = option(
        "spconv_layerwise",
        SEARCHED,
        "a space's name (--list-spaces) or the path of a YAML",
        f"--space decides what was proposed; {COMPARE}",
        read=read_space,
    )
    budget: tuple[Budget, ...] = option(
        (),
        SEARCHED,
        f"an upper limit: {EXAMPLES}; may be given several times",
        f"--budget decides what was proposed; {COMPARE}",
        repeated=True,
        read=read_budgets,
    )
    model: str | None = option(
        None,
        SEARCHED,
        "a network of your own, to whose layers the space's choices are applied: torchvision:NAME, timm:NAME or "
        "PACKAGE.MODULE:FUNCTION",
        f"--model decides what was proposed; {COMPARE}",
        same=True,
    )
    detector: str | None = option(
        None,
        SEARCHED,
        "faster_rcnn or retinanet, on the network that is searched: costs are those in the detector, accuracies the "
        "network's as a classifier",
        f"--detector decides the costs; {COMPARE}",
    )
    classes: int | None = option(
        None,
        SEARCHED,
        "the classes of --model (default: its own), or the objects' of --detector (default: COCO's 80)",
        f"--classes decides the costs; {COMPARE}",
        type=int,
    )
    resolution: int | None = option(
        None,
        SEARCHED,
        "the input of --model, in pixels (default: its own), or the shorter side of --detector's (default: 800)",
        f"--resolution decides the costs; {COMPARE}",
        type=int,
    )
    judge: str = option(
        "scratch",
        JUDGED,
        f"how a candidate gets its accuracy: {', '.join(JUDGES)}",
        f"--judge decides the accuracies; {COMPARE}",
    )
    dataset: str = option(
        "digits_on_photos", JUDGED, ", ".join(DATASETS), f"--dataset decides the accuracies; {COMPARE}"
    )
    data_root: Path | None = option(
        None, JUDGED, "the folder of a data set that does not come with the package", read=read_whole
    )
    recipe: Recipe = option(
        None,
        JUDGED,
        f"epochs a trial trains (default: {_EPOCHS})",
        f"--epochs decides the accuracies; {COMPARE}",
        name="epochs",
        type=int,
        read=read_recipe,
    )
    proxy_width: float = option(
        0.25,
        JUDGED,
        "the proxy's channels, as a share of the target's (default: 0.25, of --model 1)",
        f"--proxy-width decides the accuracies; {COMPARE}",
        type=float,
    )
    proxy_resolution: int = option(
        24,
        JUDGED,
        "the proxy's input in pixels (default: 24, of --model 32)",
        f"--proxy-resolution decides the accuracies; {COMPARE}",
        type=int,
    )
    weights: Path | str | None = option(
        None,
        JUDGED,
        "a state dict of the vanilla proxy, from which candidates inherit (default: it is trained first); of --model "
        "also 'pretrained': those that the library fetches",
        f"--weights decides the accuracies; {COMPARE}",
        read=read_weights_option,
    )
    seed: int = option(
        0,
        JUDGED,
        "the same seed: the same proposals and trainings",
        f"--seed decides the accuracies; {COMPARE}",
        type=int,
    )
    references: bool = option(
        True,
        JUDGED,
        "don't train the vanilla network and the papers' settings beside it",
        "--no-references is what the run was begun with, or not",
        name="no_references",
        flag=True,
    )
    trials: int = option(
        0,
        PROPOSED,
        f"candidates to train (default: what this machine trains in minutes; on GPUs {DEFAULT_TRIALS['cuda']})",
        type=int,
        read=read_trials,
    )
    sampler: str = option(
        "additive",
        PROPOSED,
        ", ".join(SAMPLERS),
        "--sampler has learned from the trials that have ended: start a new run for another",
    )
    stop: str = option(
        "none",
        PROPOSED,
        f"when a trial is ended early: {', '.join(STOPPING)} (default: front where candidates inherit, else none)",
        f"--stop decides which trials have ended; {COMPARE}",
    )
    repeats: int | None = option(
        None,
        PROPOSED,
        "candidates judged under a second seed to know the noise (default: 3 to 10, or 0 if --final shows it)",
        type=int,
    )
    final: int = option(
        3,
        PROPOSED,
        "candidates trained from nothing in the end, under three seeds, beside uniform settings; 0 leaves it out",
        type=int,
    )
    device: str = option(
        "auto",
        PLACED,
        "auto, cpu or cuda; auto is a GPU where the machine or the cluster has one",
        f"--device decides the accuracies to the last digit; {COMPARE}",
    )
    latency_on: str | None = option(
        None,
        PLACED,
        f"the form that is deployed, in which latency is measured: {WORDING} (default: the kind that trains)",
        f"--latency-on decides the latencies; {COMPARE}",
        read=read_form,
    )
    remeasure: bool = option(
        False,
        PLACED,
        "measure latencies anew: of a new run the table of costs, of one that is gone on with the whole networks",
        flag=True,
        stored=False,
    )
    cpus_per_trial: float = option(1.0, PLACED, "CPU cores of a trial", type=float)
    gpus_per_trial: float | None = option(
        None,
        PLACED,
        f"GPUs of a trial, may be a fraction (default: {DEFAULT_GPU_SHARE:g} where there are GPUs)",
        type=float,
    )
    address: str | None = option(
        None, PLACED, "join a running Ray cluster: auto or HOST:PORT (default: start one here)", stored=False
    )
    allow_unauthenticated: bool = option(
        False, PLACED, "join a cluster that asks for no token", flag=True, stored=False
    )
    storage: str | None = option(
        None, KEPT, "a shared folder or cloud address (s3://…) for checkpoints and a copy of the run", read=read_address
    )
    log: tuple[str, ...] = option(
        (),
        KEPT,
        "note the search's figures there, too: mlflow, wandb; may be given several times",
        repeated=True,
        read=read_words,
    )
    output: Path = option(
        Path("results"),
        KEPT,
        "the results folder",
        "--output is where the run is; move its folder instead",
        read=expanded,
        stored=False,
    )
    name: str = option(
        "",
        KEPT,
        "the run's name, a folder in the results folder (default: the space and the time)",
        "--name is the run's folder; rename it instead",
        stored=False,
    )
    planned: int = 0

    def __post_init__(self) -> None:
        require_known("judge", self.judge, JUDGES)
        if not isinstance(self.recipe, Recipe):
            own = RECIPES.get(self.judge, Recipe())
            epochs = own.epochs if self.recipe is None else self.recipe  # as ``read_recipe`` left it
            object.__setattr__(self, "recipe", replace(own, epochs=epochs))
        require_known("data set", self.dataset, (*DATASETS, GIVEN))
        require_known("sampler", self.sampler, SAMPLERS)
        require_known("stopping rule", self.stop, STOPPING)
        require_known("device", self.device, DEVICES)
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"--seed must be at least 0 and below 2^32, got {self.seed}")
        if not 0 < self.proxy_width <= 1:
            raise BadInput(f"--proxy-width must be in (0, 1], got {self.proxy_width}")
        if self.proxy_resolution < 16:
            raise BadInput(f"--proxy-resolution must be at least 16 pixels, got {self.proxy_resolution}")
        self._check_network()
        if self.weights == PRETRAINED and self.model is None:
            raise BadInput("--weights pretrained goes with --model: of our own networks none are known")
        if not self.cpus_per_trial > 0:
            raise BadInput(f"--cpus-per-trial must be above 0, got {self.cpus_per_trial}")
        for name in ("repeats", "final"):
            if (getattr(self, name) or 0) < 0:
                raise BadInput(f"--{name} must be at least 0, got {getattr(self, name)}")
        if self.weights is not None and self.judge not in WANT_PARENT:
            raise BadInput(f"--weights goes with --judge {' or '.join(WANT_PARENT)}, got --judge {self.judge}")
        _check_gpus(self.device, self.gpus_per_trial)
        _check_name(self.name)

    def _check_network(self) -> None:
        """Of the options that make another network than the space's, as far as it can be known without torch."""
        if self.model is None and self.detector is None and (self.classes or self.resolution):
            raise BadInput("--classes and --resolution are those of --model or --detector, and there is none")
        for name, value in (("classes", self.classes), ("resolution", self.resolution)):
            if value is not None and value < 1:
                raise BadInput(f"--{name} must be at least 1, got {value}")
        if self.model is None:
            return
        place, _, rest = self.model.partition(":")
        if not (place and rest):
            raise BadInput(
                f"--model must be torchvision:NAME, timm:NAME or PACKAGE.MODULE:FUNCTION, got {self.model!r}"
            )
        if self.proxy_width != 1:
            raise BadInput(f"--proxy-width must be 1 for --model: its channels can't be scaled; got {self.proxy_width}")

    @property
    def finals_are_alike(self) -> bool:
        """Whether the final stage judges as trials are judged: by the same judge and recipe."""
        return self.judge == FINAL_JUDGE

    @property
    def title(self) -> str:
        """Of a run that has no name: the space, and the network, where it is none of the space's, and its detector."""
        parts = (self.space_name, None if self.model is None else _plain(self.model), self.detector)
        return "-".join(part for part in parts if part is not None)

    @property
    def space_name(self) -> str:
        """As it is shown."""
        return Path(self.space).stem if is_path(self.space) else self.space

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.output / self.name


def _check_gpus(device: str, gpus: float | None) -> None:
    if gpus is not None and not gpus >= 0:
        raise BadInput(f"--gpus-per-trial must be at least 0, got {gpus}")
    if gpus and device == "cpu":
        raise BadInput(f"--gpus-per-trial {gpus:g} goes with --device cuda, got --device cpu")
    if gpus == 0 and device == "cuda":
        raise BadInput("--device cuda needs --gpus-per-trial above 0, got 0")


def _plain(model: str) -> str:
    """``torchvision:resnet34`` → ``torchvision_resnet34``: a name that a folder may have."""
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in model)


def _check_name(name: str) -> None:
    """``::`` would change where fsspec copies the run; a control character, what a terminal shows."""
    plain = Path(name).name == name and name not in (".", "..") and "::" not in name and name.isprintable()
    if name and not (plain and len(name.encode()) <= LONGEST_NAME):
        raise BadInput(f"--name must be a plain folder name (no /, no ::, {LONGEST_NAME} bytes), got {name!r}")


def options() -> dict[str, tuple[Field[Any], Option]]:
    """All options by name, with the field of ``Question`` that each decides, in order."""
    found = [(f, f.metadata["option"]) for f in fields(Question) if "option" in f.metadata]
    return {how.name or f.name: (f, how) for f, how in found}


def asked(written: Mapping[str, Any]) -> Question:
    """The question that options ask: ``written`` has those that a user wrote, by the name of the option or the field.

    Weights without a judge ask for the judge that starts from them; where candidates inherit, trials that can't matter
    any more are stopped, unless the user says otherwise: there it was shown to pay (``benchmarks/README.md``).

    Raises:
        BadInput: one that there is not, or whose value is wrong.
    """
    values = _values(written)
    judge = {"judge": WANT_PARENT[0]} if values.get("weights") is not None else {}
    whole = WHOLE_PROXY if values.get("model") is not None else {}
    stop = {"stop": "front"} if {**judge, **values}.get("judge") in WANT_PARENT else {}
    return Question(**{**stop, **judge, **whole, **values})


def named(question: Question) -> Question:
    """With the name of its run: the space and the time, unless it has one."""
    return replace(question, name=question.name or f"{question.title}-{time.strftime('%Y%m%d-%H%M%S')}")


def changed(question: Question, written: Mapping[str, Any]) -> Question:
    """The question of an earlier run with what may change changed.

    Raises:
        BadInput: an option that can't change, or one whose value is wrong.
    """
    for name, (f, how) in options().items():
        wrote = [written[n] for n in {name, f.name} if n in written]
        if how.fixed and wrote and not (how.same and how.read(wrote[0]) == getattr(question, f.name)):
            raise BadInput(f"--resume: {how.fixed}")
    after = replace(question, **_values(written))
    if after.trials < question.trials:
        raise BadInput(f"--resume: --trials can only grow, from {question.trials}; got {after.trials}")
    return after


def _values(written: Mapping[str, Any]) -> dict[str, Any]:
    """Field → value."""
    known = options()
    by_field = {f.name: (f, how) for f, how in known.values()}
    values = {}
    for name, value in written.items():
        require_known("option", name, {**by_field, **known})
        f, how = known.get(name) or by_field[name]
        check_kind(name, f, how, value)
        if name in known and how.flag:
            values[f.name] = (not f.default) if value else f.default
        else:
            values[f.name] = how.read(value)
    return values


def to_document(question: Question) -> dict[str, Any]:
    """What ``search.yaml`` keeps of a question, in plain values."""
    plain = {
        "budget": [str(budget) for budget in question.budget],
        "log": list(question.log),
        "data_root": None if question.data_root is None else str(question.data_root),
        "weights": None if question.weights is None else str(question.weights),
        "recipe": asdict(question.recipe),
    }
    kept = [f.name for f, how in options().values() if how.stored]
    return {name: plain.get(name, getattr(question, name)) for name in (*kept, "planned")}


def from_document(document: Mapping[str, Any], folder: Path) -> Question:
    """The question of the run in ``folder``, from its ``search.yaml``.

    Raises:
        BadInput, KeyError, TypeError: it is none.
    """
    kept = {f.name: document[f.name] for f, how in options().values() if how.stored and f.name != "space"}
    for name, (f, how) in options().items():
        if f.name in kept:
            check_kind(name, f, how, kept[f.name])
    read = {f.name: how.read(kept[f.name]) for f, how in options().values() if f.name in kept}
    planned = int(document["planned"])
    return Question(**read, space=str(document["space"]), output=folder.parent, name=folder.name, planned=planned)
