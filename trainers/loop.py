"""One epoch of training, and evaluation: the loops that everything else is built around."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .data.base import ImageData, Split
from .turns import give_way

EVALUATION_BATCH = 256


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device computes it fast, else float32.

    On a GPU weights are not kept in bfloat16 from one use to the next: the step that is recorded there makes its own.
    """
    cached = device.type != "cuda"
    return torch.autocast(device.type, torch.bfloat16, enabled=is_fast(device), cache_enabled=cached)


def is_fast(device: torch.device) -> bool:
    """Whether it computes bfloat16 faster than float32."""
    return device.type == "cuda" or bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def train_epoch(
    model: nn.Module,
    data: ImageData,
    split: Split,
    batch: int,
    learn: Callable[[Tensor, Tensor], Tensor],
    generator: torch.Generator,
) -> float:
    """Train on every whole batch of ``split``, in its order; returns the mean loss.

    ``learn`` is given a batch's images, augmented, and its labels; it changes the model, and returns the loss.
    """
    model.train()
    device = split.labels.device
    total = torch.zeros((), device=device)
    batches = max(1, len(split) // batch)
    for i in range(batches):
        part = slice(i * batch, (i + 1) * batch)
        images, labels = data.augment(data.normalise(split.images[part]), generator), split.labels[part]
        total += learn(images, labels)
        give_way()
    return (total / batches).item()


def add_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, label_smoothing: float, micro_batches: int = 1
) -> Tensor:
    """Of one batch, to those that are there; returns its loss.

    It goes through in ``micro_batches`` parts (of equal size where that divides it), whose gradients add up.
    """
    total = torch.zeros((), device=labels.device)
    for few, theirs in zip(images.tensor_split(micro_batches), labels.tensor_split(micro_batches), strict=True):
        with autocast(labels.device):
            loss = F.cross_entropy(model(few), theirs, label_smoothing=label_smoothing)
        share = len(theirs) / len(labels)
        (loss * share if micro_batches > 1 else loss).backward()
        total += loss.detach() * share
    return total


@dataclass(frozen=True)
class Score:
    """``accuracy`` in [0, 1], ``cross_entropy`` in nats: means over a split."""

    accuracy: float
    cross_entropy: float


@torch.inference_mode()
def score(model: nn.Module, data: ImageData, split: Split) -> Score:
    """Of ``model``, in eval mode, on ``split``."""
    model.eval()
    device = split.labels.device
    right, loss = torch.zeros((), dtype=torch.int64, device=device), torch.zeros((), device=device)
    for images, labels in zip(split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True):
        with autocast(device):
            logits = model(data.normalise(images)).float()
        right += (logits.argmax(1) == labels).sum()
        loss += F.cross_entropy(logits, labels, reduction="sum")
        give_way()
    return Score(right.item() / len(split), loss.item() / len(split))
