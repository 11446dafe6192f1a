"""An ImageNet-style folder, ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``, decoded once into memory."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, PILToTensor, Resize

from search_spaces.checks import BadInput

from .base import ImageData, Split, digest, held_out, mean_std

MEMORY_LIMIT = 64 * 2**30
WORKERS = 4


def load(data_root: Path | None, resolution: int) -> ImageData:
    """As many classes as ``train`` has folders; a tenth of ``train`` is the validation split, ``val`` the test split.

    Images are scaled to ``resolution`` at their shorter side and cropped at the centre.
    """
    if data_root is None:
        raise BadInput("imagefolder needs --data-root, a folder with train/CLASS/ and val/CLASS/")
    train_folder, test_folder = (_folder(data_root / part, resolution) for part in ("train", "val"))
    if train_folder.classes != test_folder.classes:
        raise BadInput(f"--data-root {data_root}: train/ and val/ must have the same classes")
    train, validation = held_out(_decoded(train_folder), max(1, len(train_folder) // 10))
    test = _decoded(test_folder)
    classes = len(train_folder.classes)
    made_from = digest(part for folder in (train_folder, test_folder) for part in _files(folder))
    return ImageData("imagefolder", classes, train, validation, test, *mean_std(train.images[:10_000]), made_from)


def _files(folder: ImageFolder) -> Iterator[bytes]:
    """Each image's place in its folder, and its file's bytes: decoders differ, they don't."""
    for path, _ in folder.imgs:
        yield Path(path).relative_to(folder.root).as_posix().encode()
        yield Path(path).read_bytes()


def _folder(path: Path, resolution: int) -> ImageFolder:
    if not path.is_dir():
        raise BadInput(f"--data-root {path.parent}: there is no folder {path.name}/ in it")
    transform = Compose([Resize(resolution, antialias=True), CenterCrop(resolution), PILToTensor()])
    try:
        folder = ImageFolder(str(path), transform)
    except FileNotFoundError as error:
        raise BadInput(f"--data-root {path.parent}: {' '.join(str(error).split())}") from None
    if len(folder) * 3 * resolution**2 > MEMORY_LIMIT:
        raise BadInput(f"{path} at {resolution} pixels is larger than memory: lower --proxy-resolution")
    return folder


def _decoded(folder: ImageFolder) -> Split:
    """All images, in the folder's order. ValueError names the file that is no image."""
    workers = WORKERS if len(folder) > 10_000 else 0
    try:
        batches = list(DataLoader(folder, batch_size=256, num_workers=workers))
    except OSError as error:  # no image, a truncated one, or one that may not be read
        raise BadInput(f"{folder.root}: {' '.join(str(error).split())}") from None
    return Split(torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches]))
