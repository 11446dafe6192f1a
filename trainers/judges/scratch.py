"""The judge ``scratch``: a proxy of the candidate is trained from its initialisation, one epoch a step."""

import io
import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import nn

from search_spaces import Architecture, proxy_of
from search_spaces.backbones.foreign import OWN

from .. import checkpoint
from ..data.base import ImageData
from ..memory import keep_freed_memory
from ..proxy import DivergedError, ProxyTraining, out_of_memory
from ..report import Report, Status
from ..turns import training_on
from .base import Setting

KEPT = (
    *("accuracy", "cross_entropy", "initial_accuracy", "accuracy_by_epoch", "loss_by_epoch"),
    *("started", "starts", "train_s", "cpu_s", "micro_batches"),
)
Clocks = tuple[float, float]  # the wall's and the processor's


@dataclass(frozen=True)
class Scratch:
    """All candidates by one recipe; see ``Setting``."""

    setting: Setting

    def begin(self, architecture: Mapping[str, object], checkpoint: str | None, seed: int) -> "Training":
        torch.set_num_threads(self.setting.threads)
        keep_freed_memory()
        OWN.update(self.setting.models)
        return Training(self, Architecture.from_dict(architecture), checkpoint, seed)

    def network(self, proxy: Architecture, seed: int) -> nn.Module:
        """As its training begins."""
        torch.manual_seed(seed)
        return proxy.build()

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

    def __init__(self, judge: Scratch, target: Architecture, file: str | None, seed: int) -> None:
        self.judge, self.target, self.file, self.seed = judge, target, file, seed
        self.faults, self.parts = 0, 1
        self.progress = Report(started=time.time())
        self.built: ProxyTraining | None = None

    @property
    def training(self) -> ProxyTraining:
        """Built when it is first wanted, so that what fails then is the candidate's failure, and is recorded."""
        if self.built is None:
            self._build(self.parts)
        assert self.built is not None
        return self.built

    def step(self) -> Report:
        with training_on(torch.device(self.judge.setting.device)):
            return self._step()

    def _step(self) -> Report:
        start = (time.perf_counter(), time.process_time())
        try:
            return self._epoch(start)
        except DivergedError as error:
            return self._failed(start, str(error))
        except Exception as error:  # its own fault, most likely: once more from the checkpoint, then it is recorded
            self.faults += 1
            if self.faults > 1:
                return self._failed(start, f"{type(error).__name__}: {error}", traceback.format_exc())
            self.parts *= 2 if out_of_memory(error) else 1
        if self.built is not None:
            self.built.release()
            self.built = None
        return self._step()

    def _build(self, micro_batches: int) -> None:
        """The training as its last checkpoint left it, or from the beginning."""
        setting, data = self.judge.setting, self.judge.data
        proxy, substituted = proxy_of(
            self.target, width=setting.width, resolution=setting.resolution, classes=data.classes
        )
        self.built = ProxyTraining(self.judge.network(proxy, self.seed), data, setting.recipe, self.seed, micro_batches)
        saved = None if self.file is None else checkpoint.load(self.file, self.built.device)
        if saved is None:
            self.progress = replace(self.progress, accuracy_by_epoch=(), loss_by_epoch=(), accuracy=None)
        else:
            self.built.load_state(saved["training"])
            self.progress = Report(**saved["progress"])
        self.progress = replace(
            self.progress,
            substituted=substituted,
            micro_batches=max(micro_batches, self.progress.micro_batches),
            starts=(*self.progress.starts, time.time()),
        )

    def _epoch(self, start: Clocks) -> Report:
        """One more; before the first one, what a candidate that starts from trained weights has already."""
        begins = self.training.epoch == 0 and self.progress.initial_accuracy is None
        if begins and self.judge.setting.parent is not None:
            self.progress = replace(self.progress, initial_accuracy=self.training.validation_score(False).accuracy)
            return replace(self._timed(start), unwritten=self._saved())
        if not self.training.done:  # or its last epoch was trained before its process died
            result = self.training.run_epoch()
            self.progress = replace(
                self.progress,
                accuracy=result.score.accuracy,
                cross_entropy=result.score.cross_entropy if self.training.done else None,
                accuracy_by_epoch=(*self.progress.accuracy_by_epoch, result.score.accuracy),
                loss_by_epoch=(*self.progress.loss_by_epoch, result.loss),
            )
        test = self.training.test_accuracy() if self.training.done else None
        report = replace(self._timed(start), test_accuracy=test, unwritten=self._saved())
        return replace(report, status=Status.FINISHED, weights=self._weights()) if self.training.done else report

    def _weights(self) -> bytes | None:
        if not self.judge.setting.keeps_weights:
            return None
        file = io.BytesIO()
        torch.save({name: value.cpu() for name, value in self.training.trained.state_dict().items()}, file)
        return file.getvalue()

    def _failed(self, start: Clocks, reason: str, where: str | None = None) -> Report:
        report = self._timed(start)
        return replace(report, status=Status.FAILED, accuracy=None, reason=reason, traceback=where)

    def _timed(self, start: Clocks) -> Report:
        """The progress so far, with the time that this step took."""
        took, spent = time.perf_counter() - start[0], time.process_time() - start[1]
        cuda = self.judge.setting.device == "cuda"
        self.progress = replace(
            self.progress,
            train_s=(self.progress.train_s or 0.0) + took,
            step_s=took,
            cpu_s=(self.progress.cpu_s or 0.0) + spent,
            ended=time.time(),
            node=platform.node(),
            device=torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} thread(s)",
        )
        return self.progress

    def _saved(self) -> str | None:
        """A checkpoint that can't be written (a full disk) is said, and the training goes on."""
        if self.file is None:
            return None
        progress = {name: getattr(self.progress, name) for name in KEPT}
        try:
            checkpoint.save(self.file, {"training": self.training.state(), "progress": progress})
        except OSError as error:
            return f"{self.file}: {error.strerror or error}"
        return None
