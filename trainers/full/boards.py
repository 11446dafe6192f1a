"""Where a training's figures are shown while it goes on: TensorBoard always, MLflow and Weights & Biases when asked."""

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from tensorboardX import SummaryWriter

from search_spaces.checks import BadInput, require_known

from ..whole_file import write_whole

PROJECT = "layerwise-nas"
Values = Mapping[str, float]


class Board(Protocol):
    """One place that shows figures over the epochs."""

    def note(self, epoch: int, values: Values) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the training's folder."""

    def __init__(self, folder: Path, epoch: int, said: Mapping[str, Any]) -> None:
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)

    def note(self, epoch: int, values: Values) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        self.writer.close()


class MLflow:
    """A run of MLflow's, wherever MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say; gone on with by its number."""

    def __init__(self, folder: Path, epoch: int, said: Mapping[str, Any]) -> None:
        self.mlflow: Any = import_module("mlflow")
        known = folder / "mlflow.json"
        before = json.loads(known.read_text(encoding="utf-8"))["run"] if known.exists() else None
        run = self.mlflow.start_run(run_id=before, run_name=None if before else f"{folder.parent.name}/{folder.name}")
        write_whole(known, json.dumps({"run": run.info.run_id}).encode())
        if before is None:
            self.mlflow.log_params(said)

    def note(self, epoch: int, values: Values) -> None:
        self.mlflow.log_metrics(dict(values), step=epoch)

    def close(self) -> None:
        self.mlflow.end_run()


class WandB:
    """A run of Weights & Biases, in the project that WANDB_PROJECT names; gone on with by a number of the folder's."""

    def __init__(self, folder: Path, epoch: int, said: Mapping[str, Any]) -> None:
        wandb: Any = import_module("wandb")
        name = f"{folder.parent.name}/{folder.name}"
        number = hashlib.sha256(f"{folder.resolve()} {said}".encode()).hexdigest()[:16]
        settings = wandb.Settings(silent=True)
        project = wandb.setup().settings.project or PROJECT
        self.run = wandb.init(
            project=project, name=name, id=number, resume="allow", config=dict(said), dir=folder, settings=settings
        )

    def note(self, epoch: int, values: Values) -> None:
        self.run.log(dict(values), step=epoch)

    def close(self) -> None:
        self.run.finish()


BOARDS: dict[str, Callable[[Path, int, Mapping[str, Any]], Board]] = {"mlflow": MLflow, "wandb": WandB}


def require_boards(names: tuple[str, ...]) -> None:
    """BadInput where one is unknown or not installed."""
    for name in names:
        require_known("--log", name, BOARDS)
        if find_spec(name) is None:
            raise BadInput(f"--log {name} needs {name}: pip install 'layerwise-nas[{name}]'")


class Boards:
    """TensorBoard, and those that were asked for. One that fails while a training goes on is left out from then on.

    Args:
        epoch: the first that will be noted.
        said: what is trained and how, in plain values.
        say: told of a failure.

    Raises:
        BadInput: one can't be begun.
    """

    def __init__(
        self, names: tuple[str, ...], folder: Path, epoch: int, said: Mapping[str, Any], say: Callable[[str], None]
    ) -> None:
        self.say = say
        self.boards: dict[str, Board] = {"tensorboard": TensorBoard(folder, epoch, said)}
        for name in names:
            try:
                self.boards[name] = BOARDS[name](folder, epoch, said)
            except Exception as error:  # whatever a service raises
                self.close()
                raise BadInput(f"--log {name}: can't be begun: {_line(error)}") from None

    def note(self, epoch: int, values: Mapping[str, Any]) -> None:
        """Figures of an epoch; what is no number is left out."""
        numbers = {n: float(v) for n, v in values.items() if isinstance(v, (int, float))}
        for name in list(self.boards):
            try:
                self.boards[name].note(epoch, numbers)
            except Exception as error:  # a board never ends a training
                self.say(f"{name} fails, and is left out from here on: {_line(error)}")
                del self.boards[name]

    def close(self) -> None:
        for name, board in self.boards.items():
            try:
                board.close()
            except Exception as error:
                self.say(f"{name} could not be ended: {_line(error)}")


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
