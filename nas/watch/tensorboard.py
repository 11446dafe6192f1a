"""TensorBoard's events of each trial, with what was chosen as its hyper-parameters: ``tensorboard --logdir RUN``."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from ..record import Record
from .watch import Asked, Watch


class TrialBoards(Watch):
    """A folder of events for each candidate that has ended, below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seed = folder, 0

    def searches(self, asked: Asked, before: Sequence[Record]) -> None:
        self.seed = asked.seed

    def ended(self, record: Record) -> None:
        if not record.name.isdigit() or record.seed != self.seed:  # a repeat
            return
        with closing(SummaryWriter(str(self.folder / record.name))) as writer:
            for name, values in (("accuracy", record.accuracy_by_epoch), ("loss", record.loss_by_epoch)):
                for epoch, value in enumerate(values, 1):
                    writer.add_scalar(f"trial/{name}", value, epoch)
            if record.finished:
                found = {f"found/{n}": v for n, v in {"accuracy": record.accuracy or 0.0, **record.costs}.items()}
                for summary in hparams(_settings(record.architecture), found):
                    writer.file_writer.add_summary(summary)  # ``add_hparams`` would open a file of the same name
                for name, value in found.items():
                    writer.add_scalar(name, value)


def _settings(architecture: Mapping[str, Mapping[str, Mapping[str, object]]]) -> dict[str, str]:
    """``layer1.0.conv2`` → ``spconv alpha=0.25 groups=2``."""
    return {
        slot: " ".join(str(v) if k == "operator" else f"{k}={v}" for k, v in choice.items())
        for slot, choice in architecture["layers"].items()
    }
