"""A search's figures on the boards of a training: TensorBoard always, MLflow and Weights & Biases when asked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.full.boards import Boards

from ..record import Record
from .tally import Tally


class SearchBoards(Tally):
    """One run of each board for a search: after each trial its accuracy and costs, the best so far, the hypervolume.

    Args:
        folder: the run's. ``said`` is what is searched and how, in plain values.
        say: told when a board fails.

    Raises:
        BadInput: a board can't be begun.
    """

    def __init__(
        self, names: Sequence[str], folder: Path, said: Mapping[str, Any], ended: int, say: Callable[[str], None]
    ) -> None:
        super().__init__()
        self.boards = Boards(tuple(names), folder, ended + 1, said, say)

    def ended(self, record: Record) -> None:
        super().ended(record)
        if not self.is_candidate(record):
            return
        leader, volume = self.leader(), self.hypervolume()
        found: dict[str, Any] = {"accuracy": record.accuracy, **record.costs, "hypervolume": volume}
        found["best_accuracy"] = None if leader is None else leader.accuracy
        self.boards.note(len(self.candidates), {f"search/{name}": value for name, value in found.items()})

    def closed(self) -> None:
        self.boards.close()
