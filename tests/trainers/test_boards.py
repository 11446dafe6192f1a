"""A training's figures on MLflow's and Weights & Biases' boards: the real ones, without a network."""

from pathlib import Path
from typing import Any

import mlflow
import pytest

from search_spaces.checks import BadInput
from trainers.full import boards
from trainers.full.boards import BOARDS, Boards, require_boards

SAID = {"lr": 0.1, "dataset": "none", "augmentation": ("a", "b"), "teacher": None}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")


@pytest.mark.parametrize("name", ["tensorboard", *BOARDS])
def test_what_is_noted_and_gone_on_with_is_one_run(name: str, tmp_path: Path) -> None:
    said: list[str] = []
    folder = tmp_path / "full-best"
    folder.mkdir()
    for epochs in ((1, 2), (3,)):
        made = Boards(() if name == "tensorboard" else (name,), folder, epochs[0], SAID, said.append)
        for epoch in epochs:
            made.note(epoch, {"loss": 1 / epoch, "top1": 0.5, "nothing": None})
        made.close()
    assert said == []
    FOUND[name](folder)


def _of_tensorboard(folder: Path) -> None:
    assert b"top1" in b"".join(file.read_bytes() for file in (folder / "tensorboard").iterdir())


def _of_mlflow(folder: Path) -> None:
    (run,) = mlflow.search_runs(output_format="list")
    assert run.info.run_name == f"{folder.parent.name}/full-best"
    assert run.data.params["augmentation"] == "('a', 'b')"
    losses = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in losses] == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert set(run.data.metrics) == {"loss", "top1"}


def _of_wandb(folder: Path) -> None:
    written = list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert 1 <= len(written) <= 2  # two that begin in one second share a folder
    assert len({file.name for file in written}) == 1  # the same run's
    assert b"top1" in b"".join(file.read_bytes() for file in written)


FOUND = {"tensorboard": _of_tensorboard, "mlflow": _of_mlflow, "wandb": _of_wandb}


def test_one_that_fails_is_left_out_and_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, folder: Path, epoch: int, said: object) -> None:
            self.noted = 0

        def note(self, epoch: int, values: Any) -> None:
            self.noted += 1
            if epoch == 2:
                raise ConnectionError("the server is gone")

        def close(self) -> None:
            raise AssertionError("it was left out")

    monkeypatch.setitem(boards.BOARDS, "failing", Failing)
    said: list[str] = []
    made = Boards(("failing",), tmp_path, 1, SAID, said.append)
    failing: Any = made.boards["failing"]
    for epoch in (1, 2, 3):
        made.note(epoch, {"loss": 1.0})
    made.close()
    assert failing.noted == 2
    assert said == ["failing fails, and is left out from here on: ConnectionError: the server is gone"]


def test_one_that_can_not_be_begun_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.json").write_text('{"run": "0123456789abcdef0123456789abcdef"}')
    with pytest.raises(BadInput, match="--log mlflow: can't be begun: MlflowException: Run '0123456789abcdef"):
        Boards(("mlflow",), tmp_path, 1, SAID, print)


def test_one_that_is_unknown_or_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="unknown --log 'wand': did you mean 'wandb'"):
        require_boards(("wand",))
    monkeypatch.setattr(boards, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"--log wandb needs wandb: pip install 'layerwise-nas\[wandb\]'"):
        require_boards(("wandb",))
