"""MNIST and Fashion-MNIST from their original files, as torchvision lays them out or in a folder of their own.

The files are read where they lie, gzipped or not; nothing is downloaded or written.
"""

import gzip
import math
import zlib
from pathlib import Path

import torch
from torch import Tensor

from search_spaces.checks import BadInput

from .base import ImageData, Split, digest, held_out, mean_std, random_shift, resized

CLASSES = 10
VALIDATION = 8192
FILES = {part: (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte") for part in ("train", "t10k")}
UNSIGNED_BYTES = 8  # an IDX file's word for the type of its values


class Unmirrored(ImageData):
    """``ImageData`` that is shifted only: a digit's mirror image is no digit."""

    def augment(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return random_shift(batch, batch.shape[-1] // 8, generator)


def load_fashion(data_root: Path | None, resolution: int) -> ImageData:
    """10 classes, 51,808 training images; 8,192 of the training file are the validation split."""
    return _load("fashion_mnist", "FashionMNIST", ImageData, data_root, resolution)


def load_mnist(data_root: Path | None, resolution: int) -> ImageData:
    """As Fashion-MNIST in all but its images, and that those are not mirrored."""
    return _load("mnist", "MNIST", Unmirrored, data_root, resolution)


def _load(name: str, folder: str, kind: type[ImageData], data_root: Path | None, resolution: int) -> ImageData:
    """``folder`` is torchvision's name for it. ValueError if the files are not there or damaged."""
    if data_root is None:
        raise BadInput(f"{name} needs --data-root, the folder that holds {folder}/raw/ or the files themselves")
    if not data_root.is_dir():
        raise BadInput(f"--data-root {data_root}: there is no such folder")
    whole, test = (_read(name, data_root, f"{folder}/raw", part) for part in ("train", "t10k"))
    made_from = digest([whole.images, whole.labels, test.images, test.labels])
    scaled, test = (_coloured(part, resolution) for part in (whole, test))
    train, validation = held_out(scaled, min(VALIDATION, len(scaled) // 5))
    return kind(name, CLASSES, train, validation, test, *mean_std(train.images[:10_000]), made_from)


def _coloured(grey: Split, resolution: int) -> Split:
    """``(N, 1, H, W)`` → ``(N, 3, resolution, resolution)``, three channels that are alike."""
    return Split(resized(grey.images, resolution).repeat(1, 3, 1, 1), grey.labels)


def _read(name: str, data_root: Path, raw: str, part: str) -> Split:
    """The images ``(N, 1, H, W)`` of one part, as they are in its file, and their labels."""
    files = [_file(name, data_root, raw, file) for file in FILES[part]]
    images, labels = _idx(files[0], 3), _idx(files[1], 1)
    if len(images) != len(labels):
        raise BadInput(f"{files[1]}: {len(labels):,} labels for the {len(images):,} images of {files[0].name}")
    if int(labels.max()) >= CLASSES:
        raise BadInput(f"{files[1]}: {name}'s labels are 0 to {CLASSES - 1}, and one is {int(labels.max())}")
    return Split(images[:, None], labels.long())


def _file(name: str, data_root: Path, raw: str, file: str) -> Path:
    """Where it is: in ``raw``, torchvision's folder, if there is one, or in ``data_root`` itself."""
    folder = data_root / raw if (data_root / raw).is_dir() else data_root
    for path in (folder / file, folder / f"{file}.gz"):
        if path.is_file():
            return path
    looked = f"{raw}/{file}" if folder != data_root else f"{raw}/{file} nor {file}"
    neither = "no" if folder != data_root else "neither"
    raise BadInput(f"{name} is not in --data-root {data_root}: there is {neither} {looked}, with .gz or without")


def _idx(path: Path, dimensions: int) -> Tensor:
    """An IDX file's values, uint8 in as many dimensions: a type, the sizes in four bytes each, the values."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:  # not to be read, no gzip, or a truncated one
        raise BadInput(f"{path}: {' '.join(str(error).split())}") from None
    start = 4 * (1 + dimensions)
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if content[:4] != bytes([0, 0, UNSIGNED_BYTES, dimensions]) or not math.prod(sizes):
        raise BadInput(f"{path} is no IDX file of bytes in {dimensions} dimension{'s' * (dimensions > 1)}")
    if len(content) != start + math.prod(sizes):
        raise BadInput(f"{path} is damaged: {start + math.prod(sizes):,} bytes were expected, it has {len(content):,}")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).reshape(sizes)
