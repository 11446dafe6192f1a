"""The full training of one network, epoch by epoch, so that a caller can report, checkpoint and stop in between."""

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, OneCycleLR, SequentialLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from ..loop import autocast
from ..memory import keep_freed_memory
from ..proxy import DivergedError
from ..turns import give_way
from .augmentation import augmentation
from .data import FullData, Item, Order, evaluation_batches, training_batches
from .recipe import FullRecipe
from .team import ALONE, Team

LEAST_LR = 1e-3  # of the highest rate, where a warm-up begins
MOST_RANKED = 5


@dataclass(frozen=True)
class Scores:
    """``top1``, ``top5`` in [0, 1], ``cross_entropy`` in nats. Of five classes all are among the first five."""

    top1: float
    top5: float
    cross_entropy: float
    main: ClassVar[str] = "top1"

    def said(self) -> str:
        """For a person."""
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}"


@dataclass(frozen=True)
class Epoch:
    """``loss`` is the mean over the epoch's steps; ``lr`` the rate of its last one; ``validation``: its scores.

    Scores are a dataclass of figures, of which ``main`` names the one that counts.
    """

    epoch: int
    loss: float
    lr: float
    validation: Any

    def entry(self) -> dict[str, Any]:
        """Plain values, for a line of JSON."""
        return {"epoch": self.epoch, "loss": self.loss, "lr": self.lr, **asdict(self.validation)}


class FullTraining:
    """Train ``model`` on ``data`` by ``recipe``. Same seed, data and device: the same training.

    What an epoch draws depends on the seed and the epoch alone, so that a training that is gone on with from
    ``state()`` ends with the same weights as if it had not been interrupted.

    Args:
        micro_batches: parts of a batch, whose gradients are summed before a step; BatchNorm sees the parts.
        loaders: processes that load images; whatever their number, the images are the same.
        teacher: what the network is to come near, too: the recipe's ``distillation``.
        team: processes that train together, each on its part of a batch, of which its BatchNorms see no more; their
            running statistics are averaged after each epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        data: FullData,
        recipe: FullRecipe,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        micro_batches: int = 1,
        loaders: int = 0,
        team: Team = ALONE,
        teacher: nn.Module | None = None,
    ) -> None:
        torch.set_flush_denormal(True)
        keep_freed_memory()
        self.data, self.recipe, self.seed, self.loaders, self.team = data, recipe, seed, loaders, team
        self.device, self.micro_batches, self.epoch = device or torch.device("cpu"), micro_batches, 0
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = None if teacher is None else teacher.to(self.device).eval()
        self.averaged = (
            AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )
        self.joined = team.joined(self.model)
        self.order, self.batches = self._loading()
        self.optimizer = torch.optim.SGD(
            _groups(self.model, recipe),
            recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            fused=self.device.type == "cuda" or None,
        )
        self.schedule = schedule(self.optimizer, recipe, len(self.order))

    @property
    def done(self) -> bool:
        return self.epoch >= self.recipe.epochs

    @property
    def trained(self) -> nn.Module:
        """The network that is scored and kept."""
        return self.model if self.averaged is None else self.averaged.module

    def run_epoch(self, stepped: Callable[[int, int], None] = lambda step, steps: None) -> Epoch:
        """One more, and its score on the validation images.

        Args:
            stepped: told after each step which it was, and of how many.

        Raises:
            DivergedError: the loss is not finite.
        """
        self.epoch += 1
        self.order.epoch = self.epoch
        torch.manual_seed(hash((self.seed, self.epoch)) % 2**63)
        self.model.train()
        total, rate = torch.zeros((), device=self.device), 0.0
        for step, batch in enumerate(self.batches, 1):
            total += self._step(batch)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            if self.averaged is not None:
                self.averaged.update_parameters(self.model)
            rate = self.optimizer.param_groups[0]["lr"]
            self.schedule.step()
            stepped(step, len(self.order))
            give_way()
        loss = self.team.sum(total / len(self.order) / self.team.size).item()
        self.team.average_statistics([self.model, *([] if self.averaged is None else [self.averaged])])
        if not math.isfinite(loss):
            raise DivergedError(f"the training loss of epoch {self.epoch} is {loss}")
        return Epoch(self.epoch, loss, rate, self.scores(self.data.validation))

    def _loading(self) -> tuple[Order, DataLoader[Any]]:
        """The batches' order, and what loads them."""
        recipe = self.recipe
        transform = augmentation(recipe.augmentation, self.data.mean, self.data.std)
        return training_batches(self.data.train, transform, recipe.batch, self.seed, self.loaders, self.team)

    def _step(self, batch: Any) -> Tensor:
        """Add the gradients of a batch; returns its loss."""
        images, labels = batch
        images = images.to(self.device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(self.device, non_blocking=True)
        total = torch.zeros((), device=self.device)
        parts = zip(images.tensor_split(self.micro_batches), labels.tensor_split(self.micro_batches), strict=True)
        for i, (few, theirs) in enumerate(parts, 1):
            with nullcontext() if i == self.micro_batches else self.team.apart(self.joined):
                with autocast(self.device):
                    loss = self._loss(few, theirs)
                loss = loss * (len(theirs) / len(labels))
                loss.backward()
            total += loss.detach()
        return total

    def _loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The mean over images ``(B, 3, H, W)`` with labels ``(B,)``."""
        recipe, logits = self.recipe, self.joined(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
        if self.teacher is None:
            return loss
        with torch.no_grad():
            aim = F.log_softmax(self.teacher(images).float() / recipe.temperature, dim=1)
        own = F.log_softmax(logits.float() / recipe.temperature, dim=1)
        distance = F.kl_div(own, aim, reduction="batchmean", log_target=True) * recipe.temperature**2
        return torch.lerp(loss.float(), distance, recipe.distillation)

    def scores(self, part: Dataset[Item]) -> Scores:
        """Of the network that is kept."""
        batches = evaluation_batches(self.data, part, self.loaders, self.team)
        return scores(self.trained, batches, self.device, self.team)

    def state(self) -> dict[str, Any]:
        """All that a training needs to be gone on with, tensors and plain values only."""
        parts = {name: getattr(self, name).state_dict() for name in self._parts}
        return {"epoch": self.epoch, **parts}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from ``state()`` of a training of the same network, recipe and seed."""
        self.epoch = state["epoch"]
        for name in self._parts:
            getattr(self, name).load_state_dict(state[name])

    @property
    def _parts(self) -> list[str]:
        return ["model", "optimizer", "schedule", *(["averaged"] if self.averaged is not None else [])]


@torch.inference_mode()
def scores(model: nn.Module, batches: Iterable[Any], device: torch.device, team: Team = ALONE) -> Scores:
    """Of ``model``, in eval mode, on the batches of the whole team; it is left in the mode that it was in."""
    mode = model.training
    first = five = seen = torch.zeros((), dtype=torch.int64, device=device)
    loss = torch.zeros((), device=device)
    model.eval()
    for images, labels in batches:
        labels = labels.to(device)
        with autocast(device):
            logits = model(images.to(device, memory_format=torch.channels_last)).float()
        right = logits.topk(min(MOST_RANKED, logits.shape[1]), dim=1).indices == labels[:, None]
        first, five = first + right[:, 0].sum(), five + right.sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        give_way()
        seen = seen + len(labels)
    model.train(mode)
    first, five, seen = (team.sum(count.clone()) for count in (first, five, seen))
    return Scores(*(what.item() / seen.item() for what in (first, five, team.sum(loss))))


def schedule(optimizer: torch.optim.Optimizer, recipe: FullRecipe, steps: int) -> LRScheduler:
    """The recipe's learning rate for every step, ``steps`` in an epoch."""
    warm, whole = recipe.warmup_epochs * steps, recipe.epochs * steps
    if recipe.schedule == "one_cycle":
        return OneCycleLR(optimizer, recipe.lr, whole + 1, pct_start=max(warm, 1) / whole, cycle_momentum=False)
    main: LRScheduler
    if recipe.schedule == "cosine":
        main = CosineAnnealingLR(optimizer, whole - warm)
    else:
        milestones = [step * steps - warm for step in recipe.lr_steps]
        main = MultiStepLR(optimizer, milestones, gamma=1 / recipe.lr_divisor)
    if not warm:
        return main
    return SequentialLR(optimizer, [LinearLR(optimizer, LEAST_LR, total_iters=warm), main], milestones=[warm])


def _groups(model: nn.Module, recipe: FullRecipe) -> list[dict[str, Any]]:
    """Everything decays, or kernels and matrices alone."""
    if recipe.decay_norms:
        return [{"params": list(model.parameters()), "weight_decay": recipe.weight_decay}]
    kernels = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return [{"params": kernels, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
