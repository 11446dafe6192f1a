"""A judge that trains nothing: three epochs, with an accuracy that the architecture's text decides."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainers.judges.base import Setting
from trainers.report import Report, Status


@dataclass(frozen=True)
class ByName:
    """Every step is noted in a file, so that a test knows what was judged."""

    setting: Setting
    notes: Path

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None, seed: int) -> "_Telling":
        return _Telling(json.dumps(architecture, sort_keys=True), self.notes)


def make(notes: Path) -> Callable[[Setting], ByName]:
    return lambda setting: ByName(setting, notes)


class _Telling:
    def __init__(self, text: str, notes: Path) -> None:
        self.accuracy, self.notes, self.losses = sum(map(ord, text)) % 1000 / 1000, notes, ()

    def step(self) -> Report:
        self.losses = (*self.losses, 1.0)
        with self.notes.open("a") as file:
            file.write(f"{self.accuracy} {len(self.losses)}\n")
        done = len(self.losses) == 3
        return Report(
            status=Status.FINISHED if done else Status.RUNNING,
            accuracy=self.accuracy,
            test_accuracy=self.accuracy if done else None,
            loss_by_epoch=self.losses,
            step_s=0.1,
            train_s=0.1 * len(self.losses),
        )
