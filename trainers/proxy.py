"""The short training of a proxy, epoch by epoch, so that a caller can report, checkpoint and stop in between."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .captured import Captured
from .data.base import ImageData, Split
from .loop import Score, add_gradients, score, train_epoch
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
        graph: whether the step is recorded as a CUDA graph, on a GPU and for whole batches.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageData,
        recipe: Recipe,
        seed: int,
        micro_batches: int = 1,
        *,
        graph: bool = True,
    ) -> None:
        self.micro_batches = micro_batches
        torch.set_flush_denormal(True)  # a block that starts at zero has tiny gradients, which are slow on a CPU
        self.data, self.recipe, self.seed, self.epoch = data, recipe, seed, 0
        self.device = data.validation.labels.device
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.decay), use_buffers=True)
        self.optimizer = _optimizer(self.model, recipe, self.device)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            recipe.peak_lr,
            recipe.steps,
            pct_start=recipe.warmup,
            anneal_strategy="linear",
            cycle_momentum=False,
        )
        self.graph = graph and self.device.type == "cuda" and micro_batches == 1
        self.captured = self._capturing()

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    def run_epoch(self) -> EpochResult:
        """Train one epoch and score it: before the last one on an eighth of the validation split, which is quicker.

        Raises:
            DivergedError: the training loss is not finite.
        """
        self.epoch += 1
        seed = self.seed * 1_000_003 + self.epoch
        torch.manual_seed(seed)  # a network's dropout draws the same, whether this epoch is gone on with or not
        generator = torch.Generator(self.device).manual_seed(seed)
        loss = self.train(self.data.epoch(self.recipe.images_per_epoch, generator), generator)
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss of epoch {self.epoch} is {loss}")
        return EpochResult(self.epoch, loss, self.validation_score(whole=self.done))

    def train(self, split: Split, generator: torch.Generator) -> float:
        """On every whole batch of ``split``, in its order; returns the mean loss."""
        return train_epoch(self.model, self.data, split, self.recipe.batch, self._learn, generator)

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

    def _learn(self, images: Tensor, labels: Tensor) -> Tensor:
        """From one batch; returns its loss."""
        if self.captured is not None:
            loss = self.captured(images, labels)
        else:
            loss = self._apply(images, labels)
            self._forget()
        self._note_step()
        return loss

    def _apply(self, images: Tensor, labels: Tensor) -> Tensor:
        loss = add_gradients(self.model, images, labels, self.recipe.label_smoothing, self.micro_batches)
        self.optimizer.step()
        return loss

    def _forget(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    def _capturing(self) -> Captured | None:
        return Captured(self._apply, self._forget) if self.graph else None

    def _note_step(self) -> None:
        if self.schedule.last_epoch >= self.recipe.steps * (1 - self.recipe.averaged):
            self._average()
        if self.schedule.last_epoch < self.recipe.steps - 1:
            self.schedule.step()

    @torch.no_grad()
    def _average(self) -> None:
        """One step more. On a GPU without waiting for it, all tensors at once, and counts as they are."""
        if self.averaged.n_averaged == 0 or self.device.type != "cuda":
            self.averaged.update_parameters(self.model)
            return
        (means, floats), (copies, counts) = self._averaging
        torch._foreach_lerp_(means, floats, 1 - self.recipe.decay)
        if counts:
            torch._foreach_copy_(copies, counts)
        self.averaged.n_averaged += 1

    @cached_property
    def _averaging(self) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Averaged and own tensors: those that are averaged, and those that are counted."""
        both = [[*m.parameters(), *m.buffers()] for m in (self.averaged.module, self.model)]
        pairs = list(zip(*both, strict=True))
        kinds = ([(a, b) for a, b in pairs if b.is_floating_point() is wanted] for wanted in (True, False))
        return [([a for a, _ in kind], [b for _, b in kind]) for kind in kinds]

    def release(self) -> None:
        """Give memory back, before another try."""
        self.captured = None
        self.model.cpu()
        self.averaged.cpu()
        self.optimizer.state.clear()
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def state(self) -> dict[str, Any]:
        """All that a resumed training needs, tensors and plain values only."""
        state = {"epoch": self.epoch, **{name: getattr(self, name).state_dict() for name in PARTS}}
        for group in state["optimizer"]["param_groups"]:  # a tensor on a GPU
            group["lr"] = float(group["lr"])
        state["schedule"]["_last_lr"] = [float(rate) for rate in state["schedule"]["_last_lr"]]
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state()`` of a training of the same architecture, recipe and seed."""
        self.epoch = state["epoch"]
        own = [dict(group) for group in self.optimizer.param_groups]
        for name in PARTS:
            getattr(self, name).load_state_dict(state[name])
        for group, mine in zip(self.optimizer.param_groups, own, strict=True):
            _keep_kind(group, mine)
        self.captured = self._capturing()  # a recording would go on with the tensors that were there before


def _keep_kind(group: dict[str, Any], own: dict[str, Any]) -> None:
    """A loaded parameter group, in the form that this device's optimiser has: it may have been saved on another."""
    if isinstance(own["lr"], Tensor):
        group["lr"] = own["lr"].fill_(float(group["lr"]))
    if "capturable" in own:
        group["capturable"] = own["capturable"]


def _optimizer(model: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """On a GPU its learning rate is there, too, so that a recorded step reads what it is now."""
    groups, on_gpu = _parameter_groups(model, recipe.weight_decay), device.type == "cuda"
    rate = torch.tensor(recipe.peak_lr, device=device) if on_gpu else recipe.peak_lr
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, rate, momentum=recipe.beta1, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, rate, betas=(recipe.beta1, recipe.beta2), fused=True, capturable=on_gpu)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Kernels and matrices decay; scales and shifts (BatchNorm, biases) do not."""
    kernels = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
