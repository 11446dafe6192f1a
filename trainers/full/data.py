"""What a full training reads: images by number, augmented alike whichever process asks, in memory or from a folder."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, Subset
from torchvision.transforms import v2

from search_spaces.checks import BadInput, require_known

from ..data import DATASETS, GIVEN
from ..data.base import Split, digest
from ..data.imagefolder import Labelled, classes_of, images_of, opened
from .augmentation import normalisation
from .team import ALONE, Team

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, of what streams
CROPPED = 0.875  # of the shorter side, what a test image keeps: 224 of 256
HELD_OUT = 10  # of a folder's training images, one in so many is for validation
EVALUATION_BATCH = 256

Key = tuple[int, int]  # an epoch, and an image's number
Item = tuple[Tensor, int]


@dataclass(frozen=True)
class FullData:
    """The parts of a data set; items are uint8 ``(3, H, W)`` and a label.

    Args:
        evaluate: what is done to an image that is scored.
        digest: a hash of which images there are; with others, others would be held out for validation.
    """

    name: str
    classes: int
    train: Dataset[Item]
    validation: Dataset[Item]
    test: Dataset[Item]
    mean: Sequence[float]
    std: Sequence[float]
    evaluate: v2.Transform
    digest: str = ""


def load(name: str, data_root: Path | None, resolution: int, all_images: bool) -> FullData:
    """A data set by name, at the network's resolution; an image folder streams.

    Args:
        all_images: train on the validation images too.

    Raises:
        BadInput: it is not known, or can't be had.
    """
    if name == "coco":
        raise BadInput(
            "coco trains detectors, and this YAML is no detector's: --dataset names one of " + ", ".join(DATASETS)
        )
    if name == GIVEN:
        raise BadInput("the search had data that was given in Python: name a data set by --dataset")
    require_known("data set", name, DATASETS)
    if name == "imagefolder":
        return _streamed(data_root, resolution, all_images)
    data = DATASETS[name](data_root, resolution)
    train, validation, test = (InMemory(split) for split in (data.train, data.validation, data.test))
    evaluate = v2.Compose(normalisation(data.mean, data.std))
    whole: Dataset[Item] = ConcatDataset([train, validation]) if all_images else train
    return FullData(name, data.classes, whole, validation, test, data.mean, data.std, evaluate, data.digest)


def _streamed(data_root: Path | None, resolution: int, all_images: bool) -> FullData:
    if data_root is None:
        raise BadInput("imagefolder needs --data-root, a folder with train/CLASS/ and val/CLASS/")
    classes = classes_of(data_root)
    whole, test = (images_of(data_root / part, classes) for part in ("train", "val"))
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0)).tolist()
    count = max(1, len(whole) // HELD_OUT)
    train, validation = ([whole[i] for i in part] for part in (order[count:], order[:count]))
    side = round(resolution / CROPPED)
    evaluate = v2.Compose([v2.Resize(side, antialias=True), v2.CenterCrop(resolution), *normalisation(*IMAGENET)])
    first, held_out, last = (FromFiles(part) for part in (whole if all_images else train, validation, test))
    names = digest(f"{path.relative_to(data_root).as_posix()}\t{label}\n".encode() for path, label in (*whole, *test))
    return FullData("imagefolder", len(classes), first, held_out, last, *IMAGENET, evaluate, names)


@dataclass(frozen=True)
class InMemory(Dataset[Item]):
    """A split that is in memory."""

    split: Split

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> Item:
        return self.split.images[index], int(self.split.labels[index])


@dataclass(frozen=True)
class FromFiles(Dataset[Item]):
    """Images that are decoded when they are asked for."""

    images: Labelled

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Item:
        path, label = self.images[index]
        return v2.functional.pil_to_tensor(opened(path)), label


@dataclass(frozen=True)
class Augmented(Dataset[Any]):
    """An image of an epoch, with its label or boxes, is always the same, whichever process makes it, in what order."""

    source: Dataset[Any]
    transform: v2.Transform
    seed: int

    def __getitem__(self, key: Key) -> Any:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.seed, epoch, index)) % 2**63)
            return self.transform(*self.source[index])


@dataclass(frozen=True)
class Evaluated(Dataset[Item]):
    """Images as they are scored."""

    source: Dataset[Item]
    transform: v2.Transform

    def __len__(self) -> int:
        return len(self.source)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Item:
        image, label = self.source[index]
        return self.transform(image), label


class Order(Sampler[list[Key]]):
    """The batches of one epoch, whole ones only, in an order that follows from the seed and the epoch.

    Args:
        part: of each batch, what this process trains on.
    """

    def __init__(self, images: int, batch: int, seed: int, part: slice) -> None:
        self.images, self.batch, self.seed, self.part, self.epoch = images, batch, seed, part, 0

    def __len__(self) -> int:
        return self.images // self.batch

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(hash((self.seed, self.epoch)) % 2**63)
        order = torch.randperm(self.images, generator=generator).tolist()
        for i in range(len(self)):
            yield [(self.epoch, index) for index in order[i * self.batch : (i + 1) * self.batch][self.part]]


def training_batches(
    source: Dataset[Any], transform: v2.Transform, batch: int, seed: int, loaders: int, team: Team, **how: Any
) -> tuple[Order, DataLoader[Any]]:
    """The order, whose ``epoch`` is to be set, and what loads by it: this process's part of each batch.

    Raises:
        BadInput: a batch is more than all images.
    """
    images = len(source)  # type: ignore[arg-type]
    if images < batch:
        raise BadInput(f"a batch of {batch} is more than the {images} training images: lower --batch")
    order = Order(images, batch, seed, team.part(batch))
    made = Augmented(source, transform, seed)
    return order, _loader(made, loaders, batch_sampler=order, persistent_workers=loaders > 0, **how)


def evaluation_batches(data: FullData, part: Dataset[Item], loaders: int, team: Team = ALONE) -> DataLoader[Item]:
    """In order; of a team every so many images are this process's."""
    images = range(team.rank, len(part), team.size)  # type: ignore[arg-type]
    return _loader(Subset(Evaluated(part, data.evaluate), images), loaders, batch_size=EVALUATION_BATCH)


def _loader(source: Dataset[Item], loaders: int, **how: Any) -> DataLoader[Item]:
    """With randomness of its own: a network's dropout draws the same, however many processes load images."""
    return DataLoader(source, num_workers=loaders, generator=torch.Generator(), **how)
