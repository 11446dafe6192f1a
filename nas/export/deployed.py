"""A trained network in the form that is shipped: its weights in it, BatchNorm folded, and images to check it with."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from search_spaces import Architecture, fold
from search_spaces.checks import BadInput, expanded
from search_spaces.shuffles import fold_shuffles
from trainers.full import weights
from trainers.full.data import Evaluated, FullData, Item

MOST_IMAGES = 2048  # of the test images, on which forms are compared


@dataclass(frozen=True)
class Deployed:
    """``network``: folded, in eval mode, on the CPU; ``architecture`` as it was built."""

    network: nn.Module
    architecture: Architecture

    @property
    def size(self) -> tuple[int, int, int]:
        """Of one image: channels, height, width."""
        return self.architecture.backbone.shape


def deployed(architecture: Architecture, path: Path) -> Deployed:
    """The network with the weights in a file, folded.

    Raises:
        BadInput: the file can't be read, or holds another network's weights; or it is a detector.
    """
    if architecture.backbone.detector is not None:
        raise BadInput(
            f"a {architecture.backbone.detector} can't be exported yet, only classifiers can: "
            "build it in Python by search_spaces.build, and load the weights"
        )
    network = architecture.build()
    state = weights.read(expanded(path), "--weights")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:200]
        raise BadInput(f"--weights {path}: they are of another network: {said}") from None
    return Deployed(fold_shuffles(fold(network.eval())), architecture)


def sample(data: FullData, part: Dataset[Item], most: int = MOST_IMAGES) -> tuple[Tensor, Tensor]:
    """Images as they are scored ``(N, 3, H, W)`` and their labels ``(N,)``: up to ``most``, at random, always alike."""
    source = Evaluated(part, data.evaluate)
    chosen = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))[:most].tolist()
    images, labels = zip(*(source[i] for i in chosen), strict=True)
    return torch.stack(images), torch.tensor(labels)


@torch.inference_mode()
def logits(network: nn.Module, images: Tensor, batch: int = 64) -> Tensor:
    """``(N, 3, H, W)`` → ``(N, classes)``."""
    return torch.cat([network(part) for part in images.split(batch)])
