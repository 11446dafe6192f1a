"""The judge ``scratch``: a proxy of the candidate is trained from its initialisation, one epoch a step."""

import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from search_spaces import Architecture, proxy_of

from .. import checkpoint
from ..data.base import ImageData
from ..proxy import DivergedError, ProxyTraining, out_of_memory
from ..report import Report, Status
from .base import Setting


@dataclass(frozen=True)
class Scratch:
    """All candidates with one seed and one recipe; see ``Setting``."""

    setting: Setting

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None) -> "Training":
        torch.set_num_threads(self.setting.threads)
        return Training(self, Architecture.from_dict(architecture), checkpoint)

    @cached_property
    def data(self) -> ImageData:
        """On the device that trains; moved there once in each process."""
        return self.setting.data.to(torch.device(self.setting.device))


class Training:
    """One candidate's training.

    A training that diverges, or fails for its own fault twice, ends with a ``reason``. Where there was no memory for
    it, it goes on with half the micro-batch and says so. After each epoch it is written to ``file``; one whose process
    dies goes on from there in another process.
    """

    def __init__(self, judge: Scratch, target: Architecture, file: str | None) -> None:
        self.judge, self.target, self.file = judge, target, file
        self.faults = 0
        self.progress = Report(started=time.time())
        self._build(micro_batches=1)

    def step(self) -> Report:
        start = time.perf_counter()
        try:
            return self._epoch(start)
        except DivergedError as error:
            return self._failed(start, str(error))
        except Exception as error:  # its own fault, most likely: once more from the checkpoint, then it is recorded
            self.faults += 1
            if self.faults > 1:
                return self._failed(start, f"{type(error).__name__}: {error}", traceback.format_exc())
            parts = 2 * self.training.micro_batches if out_of_memory(error) else self.training.micro_batches
        self.training.release()
        self._build(parts)
        return self.step()

    def _build(self, micro_batches: int) -> None:
        """The training as its last checkpoint left it, or from the beginning."""
        setting, data = self.judge.setting, self.judge.data
        proxy, substituted = proxy_of(
            self.target, width=setting.width, resolution=setting.resolution, classes=data.classes
        )
        torch.manual_seed(setting.seed)
        self.training = ProxyTraining(proxy.build(), data, setting.recipe, setting.seed, micro_batches)
        saved = None if self.file is None else checkpoint.load(self.file, self.training.device)
        if saved is None:
            self.progress = replace(self.progress, accuracy_by_epoch=(), loss_by_epoch=(), accuracy=None)
        else:
            self.training.load_state(saved["training"])
            self.progress = Report(**saved["progress"])
        self.progress = replace(
            self.progress,
            substituted=substituted,
            micro_batches=max(micro_batches, self.progress.micro_batches),
            starts=(*self.progress.starts, time.time()),
        )

    def _epoch(self, start: float) -> Report:
        if not self.training.done:  # or its last epoch was trained before its process died
            result = self.training.run_epoch()
            self.progress = replace(
                self.progress,
                accuracy=result.accuracy,
                accuracy_by_epoch=(*self.progress.accuracy_by_epoch, result.accuracy),
                loss_by_epoch=(*self.progress.loss_by_epoch, result.loss),
            )
        test = self.training.test_accuracy() if self.training.done else None
        report = replace(self._timed(start), test_accuracy=test, unwritten=self._saved())
        return replace(report, status=Status.FINISHED) if self.training.done else report

    def _failed(self, start: float, reason: str, where: str | None = None) -> Report:
        report = self._timed(start)
        return replace(report, status=Status.FAILED, accuracy=None, reason=reason, traceback=where)

    def _timed(self, start: float) -> Report:
        """The progress so far, with the time that this step took."""
        took = time.perf_counter() - start
        cuda = self.training.device.type == "cuda"
        self.progress = replace(
            self.progress,
            train_s=(self.progress.train_s or 0.0) + took,
            step_s=took,
            ended=time.time(),
            node=platform.node(),
            device=torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} thread(s)",
        )
        return self.progress

    def _saved(self) -> str | None:
        """A checkpoint that can't be written (a full disk) is said, and the training goes on."""
        if self.file is None:
            return None
        kept = ("accuracy", "accuracy_by_epoch", "loss_by_epoch", "started", "starts", "train_s", "micro_batches")
        progress = {name: getattr(self.progress, name) for name in kept}
        try:
            checkpoint.save(self.file, {"training": self.training.state(), "progress": progress})
        except OSError as error:
            return f"{self.file}: {error.strerror or error}"
        return None
