"""The short training of a proxy, epoch by epoch, so that a caller can report, checkpoint and stop in between."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .data.base import ImageData
from .loop import Score, score, train_epoch
from .recipe import Recipe

PARTS = ("model", "averaged", "optimizer", "schedule")


def out_of_memory(error: Exception) -> bool:
    """Whether there was no memory for it, on a GPU or in the machine."""
    said = ("can't allocate memory", "bad_alloc")  # what torch says of the machine's memory
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(text in str(error) for text in said)


class DivergedError(RuntimeError):
    """The loss is not finite any more; no further training will mend it."""


@dataclass(frozen=True)
class EpochResult:
    """``score`` is on the validation split; ``loss`` is the epoch's mean training loss."""

    epoch: int
    loss: float
    score: Score


class ProxyTraining:
    """Train ``model`` on ``data`` by ``recipe``. Same seed, data and device: the same training.

    All trials of a search share their seed: the same images in the same order (common random numbers), so that they
    differ by their architecture. What an epoch draws depends on the seed and the epoch alone, so a training that is
    resumed from ``state()`` goes on as if it had not been interrupted.

    Args:
        micro_batches: parts of a batch, whose gradients are summed before a step: as many times less memory. The
            batch that a step learns from stays; BatchNorm sees the parts.
    """

    def __init__(self, model: nn.Module, data: ImageData, recipe: Recipe, seed: int, micro_batches: int = 1) -> None:
        self.micro_batches = micro_batches
        torch.set_flush_denormal(True)  # a block that starts at zero has tiny gradients, which are slow on a CPU
        self.data, self.recipe, self.seed, self.epoch = data, recipe, seed, 0
        self.device = data.validation.labels.device
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.decay), use_buffers=True)
        self.optimizer = _optimizer(self.model, recipe)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            recipe.peak_lr,
            recipe.steps,
            pct_start=recipe.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
        )

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    def run_epoch(self) -> EpochResult:
        """Train one epoch and score it: before the last one on an eighth of the validation split, which is quicker.

        Raises:
            DivergedError: the training loss is not finite.
        """
        self.epoch += 1
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + self.epoch)
        split = self.data.epoch(self.recipe.images_per_epoch, generator)
        recipe = self.recipe
        loss = train_epoch(
            self.model,
            self.data,
            split,
            recipe.batch,
            recipe.label_smoothing,
            self._step,
            generator,
            self.micro_batches,
        )
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss of epoch {self.epoch} is {loss}")
        return EpochResult(self.epoch, loss, self.validation_score(whole=self.done))

    @property
    def trained(self) -> nn.Module:
        """The network that is scored: with averaged weights once averaging has begun."""
        return self.averaged.module if self.averaged.n_averaged else self.model

    def validation_score(self, whole: bool) -> Score:
        """On the validation split, or on the first eighth of it."""
        split = self.data.validation
        return score(self.trained, self.data, split if whole else split[: max(1, len(split) // 8)])

    def test_accuracy(self) -> float:
        """On the test split: for reports, never for the search."""
        return score(self.trained, self.data, self.data.test).accuracy

    def _step(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.schedule.last_epoch >= self.recipe.steps * (1 - self.recipe.averaged):
            self.averaged.update_parameters(self.model)
        if self.schedule.last_epoch < self.recipe.steps - 1:
            self.schedule.step()

    def release(self) -> None:
        """Give memory back, before another try."""
        self.model.cpu()
        self.averaged.cpu()
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs, tensors and plain values only."""
        return {"epoch": self.epoch, **{name: getattr(self, name).state_dict() for name in PARTS}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state()`` of a training of the same architecture, recipe and seed."""
        self.epoch = state["epoch"]
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    groups = _parameter_groups(model, recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, recipe.peak_lr, momentum=recipe.beta1, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, recipe.peak_lr, betas=(recipe.beta1, recipe.beta2), fused=True)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels and matrices decay; scales and shifts (BatchNorm, biases) do not."""
    kernels = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
