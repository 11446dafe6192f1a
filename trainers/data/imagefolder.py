"""An ImageNet-style folder, ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``, decoded once into memory."""

import mimetypes
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, pil_to_tensor, resize

from search_spaces.checks import BadInput

from .base import ImageData, Split, digest, held_out, mean_std

MEMORY_SHARE = 4  # of this machine's memory, what images may take: trials and their copies want the rest
THREADS = 4
UNREADABLE = (
    ".heic",
    ".heif",
    ".jxl",
    ".dng",
    ".cr2",
    ".nef",
    ".svg",
)  # images that mimetypes does not know everywhere

Labelled = list[tuple[Path, int]]


def load(data_root: Path | None, resolution: int) -> ImageData:
    """As many classes as ``train`` has folders; a tenth of ``train`` is the validation split, ``val`` the test split.

    Images are turned as their EXIF entry says, scaled to ``resolution`` at their shorter side and cropped at the
    centre; of 16 bits the upper 8 are taken. Hidden files and folders are left out, and files that are no images.

    Raises:
        BadInput: what can't be read, or can't be learned from; it names the file or the folder.
    """
    if data_root is None:
        raise BadInput("imagefolder needs --data-root, a folder with train/CLASS/ and val/CLASS/")
    classes = classes_of(data_root)
    parts = {part: images_of(data_root / part, classes) for part in ("train", "val")}
    _require_memory(data_root, sum(map(len, parts.values())), resolution)
    made_from = digest(content for part, images in parts.items() for content in _files(data_root / part, images))
    whole, test = (_decoded(images, resolution) for images in parts.values())
    train, validation = held_out(whole, max(1, len(whole) // 10))
    mean, std = mean_std(train.images[:10_000])
    if not any(std):
        raise BadInput(f"{data_root / 'train'}: there is nothing to learn, all pixels of all images are alike")
    return ImageData("imagefolder", len(classes), train, validation, test, mean, std, made_from)


def classes_of(data_root: Path) -> list[str]:
    """The names of the folders in ``train``, which are those in ``val``."""
    found = {}
    for part in ("train", "val"):
        if not (data_root / part).is_dir():
            raise BadInput(f"--data-root {data_root}: there is no folder {part}/ in it")
        found[part] = {p.name for p in (data_root / part).iterdir() if p.is_dir() and not p.name.startswith(".")}
    for part, other in (("train", "val"), ("val", "train")):
        if missing := sorted(found[part] - found[other]):
            named = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            raise BadInput(
                f"--data-root {data_root}: train/ and val/ must have the same classes; {other}/ lacks {named}"
            )
    if len(found["train"]) < 2:
        had = ", ".join(found["train"]) or "none"
        raise BadInput(f"--data-root {data_root}: train/ must have a folder for each of two classes or more, got {had}")
    return sorted(found["train"])


def images_of(folder: Path, classes: Sequence[str]) -> Labelled:
    """Each image with its class, in order."""
    formats, found = Image.registered_extensions(), []
    for label, name in enumerate(classes):
        for path in _visible(folder / name):
            suffix = path.suffix.lower()
            kind = formats.get(suffix, "")
            if kind in Image.OPEN and Image.MIME.get(kind, "").startswith("image/"):
                found.append((path, label))
            elif suffix in UNREADABLE or (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
                raise BadInput(f"{path}: images of this type can't be read here; convert it (to PNG or JPEG, say)")
        if not found or found[-1][1] != label:
            raise BadInput(f"{folder / name}: there is no image in it")
    return found


def _visible(folder: Path) -> list[Path]:
    """All files in it and in its folders, links too, in order; nothing that is hidden."""
    found = []
    for where, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(where, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _files(folder: Path, images: Labelled) -> Iterator[bytes]:
    """Each image's place in its folder, and its file's bytes: decoders differ, they don't."""
    for path, _ in images:
        yield path.relative_to(folder).as_posix().encode()
        try:
            yield path.read_bytes()
        except OSError as error:
            raise BadInput(f"{path}: can't be read: {error.strerror}") from None


def _require_memory(data_root: Path, images: int, resolution: int) -> None:
    needed = images * 3 * resolution**2 / 1e9
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    if needed > memory / MEMORY_SHARE:
        raise BadInput(
            f"--data-root {data_root}: its {images:,} images take {needed:.1f} GB at {resolution} pixels; of this "
            f"machine's {memory:.0f} GB they may take {memory / MEMORY_SHARE:.1f}: lower --proxy-resolution"
        )


def _decoded(images: Labelled, resolution: int) -> Split:
    with ThreadPoolExecutor(THREADS) as pool:
        pixels = list(pool.map(lambda image: _pixels(image[0], resolution), images))
    return Split(torch.stack(pixels), torch.tensor([label for _, label in images]))


def _pixels(path: Path, resolution: int) -> Tensor:
    """uint8 ``(3, resolution, resolution)``; BadInput names the file that is no image, torn, or too large."""
    return center_crop(pil_to_tensor(resize(opened(path), [resolution], antialias=True)), [resolution])


def opened(path: Path) -> Image.Image:
    """Decoded, turned as its EXIF entry says, of 8 bits and three channels; BadInput names the file."""
    try:
        with Image.open(path) as image:
            return _of_8_bits(ImageOps.exif_transpose(image)).convert("RGB")
    except Exception as error:  # decoders raise whatever they like on what is no image
        raise BadInput(f"{path}: can't be decoded: {' '.join(str(error).split())[:160]}") from None


def _of_8_bits(image: Image.Image) -> Image.Image:
    """Pillow would cut off what is above 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError(f"pixels must have 8 or 16 bits, got {image.mode} from {values.min()} to {values.max()}")
    return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))
