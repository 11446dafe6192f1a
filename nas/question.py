"""What a user asks of a search, checked: every mistake is one line that says what was wrong and what would be right."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile

import torch

from search_spaces import Space, load_space
from search_spaces.checks import BadInput, require_known
from trainers.data import DATASETS
from trainers.recipe import Recipe

from .budget import Budget, parse_budget
from .samplers import SAMPLERS

DEFAULT_TRIALS = {"cpu": 20, "cuda": 200}  # about a quarter of an hour on two cores
DEFAULT_GPU_SHARE = 0.25


@dataclass(frozen=True)
class Question:
    """One search, fully resolved.

    Args:
        planned: the candidates that the run was first asked for: ``trials`` may have been raised since.
        resumed: whether the run's folder is there already.
    """

    space: Space
    budgets: tuple[Budget, ...]
    trials: int
    output: Path
    name: str
    sampler: str = "tpe"
    dataset: str = "digits_on_photos"
    data_root: Path | None = None
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0
    proxy_width: float = 0.25
    proxy_resolution: int = 24
    device: str = "cpu"
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    address: str | None = None
    references: bool = True
    storage: str | None = None
    allow_unauthenticated: bool = False
    planned: int | None = None
    resumed: bool = False

    def __post_init__(self) -> None:
        require_known("sampler", self.sampler, SAMPLERS)
        require_known("data set", self.dataset, DATASETS)
        if self.trials < 1:
            raise BadInput(f"--trials must be at least 1, got {self.trials}")
        if not 0 <= self.seed < 2**32:
            raise BadInput(f"--seed must be at least 0 and below 2^32, got {self.seed}")
        if not 0 < self.proxy_width <= 1:
            raise BadInput(f"--proxy-width must be in (0, 1], got {self.proxy_width}")
        if self.proxy_resolution < 16:
            raise BadInput(f"--proxy-resolution must be at least 16 pixels, got {self.proxy_resolution}")
        if self.cpus_per_trial <= 0 or self.gpus_per_trial < 0:
            raise BadInput(
                f"--cpus-per-trial must be above 0 and --gpus-per-trial at least 0, "
                f"got {self.cpus_per_trial} and {self.gpus_per_trial}"
            )
        if self.name in (".", "..") or Path(self.name).name != self.name:
            raise BadInput(f"--name must be a plain folder name, got {self.name!r}")

    @property
    def run(self) -> Path:
        return self.output / self.name

    @property
    def state(self) -> Path:
        """What ``--resume`` needs beside the ledger: proposals, costs, the space, checkpoints, the lock."""
        return self.run / "state"


def resolve_space(name: str, budgets: list[str]) -> tuple[Space, tuple[Budget, ...]]:
    """The space and the budgets, from what the user wrote."""
    return load_space(name), tuple(parse_budget(text) for text in budgets)


def resolve_device(device: str, gpus_per_trial: float | None, address: str | None) -> tuple[str, float]:
    """``auto`` is a GPU where there is one. Returns the device and each trial's share of GPUs."""
    require_known("device", device, ("auto", "cpu", "cuda"))
    here = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if (here and gpus_per_trial != 0) or (gpus_per_trial and address) else "cpu"
        if gpus_per_trial and not here and not address:
            raise BadInput(
                f"--gpus-per-trial {gpus_per_trial:g}: this machine has no GPU that torch can use; leave it out"
            )
    if device == "cuda" and not here and not address:
        raise BadInput("--device cuda: this machine has no GPU that torch can use; use --device cpu or auto")
    if device == "cpu" and gpus_per_trial:
        raise BadInput(f"--gpus-per-trial {gpus_per_trial:g} goes with --device cuda, got --device cpu")
    if device == "cuda" and gpus_per_trial == 0:
        raise BadInput("--device cuda needs --gpus-per-trial above 0, got 0")
    return device, (0.0 if device == "cpu" else gpus_per_trial or DEFAULT_GPU_SHARE)


def check_run(run: Path) -> None:
    """ValueError if the run's folder exists, or nothing can be written beside it: known before anything is measured."""
    check_folder(run.parent)
    if run.exists() and not is_remnant(run):
        raise BadInput(f"the run {str(run)!r} exists: go on with it by --resume {run}, or choose another --name")


def is_remnant(run: Path) -> bool:
    """Whether a folder is what a crash left of a run that had not begun."""
    return run.is_dir() and {path.name for path in run.iterdir()} == {"state"}


def check_folder(folder: Path) -> None:
    """ValueError if nothing can be written into a results folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(f"the results folder {str(folder)!r} can't be written: {error.strerror}") from None


def create_run(run: Path) -> None:
    """Make the run's folder."""
    check_run(run)
    (run / "state").mkdir(parents=True, exist_ok=True)
