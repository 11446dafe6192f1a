"""The contract of every data set, on real files: CIFAR's own format and a folder of pictures, written here."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.datasets import CIFAR10, CIFAR100

from trainers.data import DATASETS
from trainers.data.base import ImageData, random_mirror, random_shift, resized
from trainers.data.digits_on_photos import _sources

PHOTO = load_sample_images().images[0]


def crops(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Crops of a real photograph, ``(count, size, size, 3)``."""
    rng = np.random.default_rng(seed)
    tops, lefts = rng.integers(0, PHOTO.shape[0] - size, count), rng.integers(0, PHOTO.shape[1] - size, count)
    return np.stack([PHOTO[t : t + size, c : c + size] for t, c in zip(tops, lefts, strict=True)])


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10, CIFAR-100 and an image folder, small, in their own formats (torchvision's checksums are left out)."""
    for source, label in ((CIFAR10, "labels"), (CIFAR100, "fine_labels")):
        folder = source.base_folder
        monkeypatch.setattr(source, "_check_integrity", lambda self: True)
        monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
        (tmp_path / folder).mkdir()
        classes = 10 if source is CIFAR10 else 100
        for i, (name, _) in enumerate((*source.train_list, *source.test_list)):
            images = crops(100, 32, seed=i).transpose(0, 3, 1, 2).reshape(100, -1)
            content = {"data": images, label: [n % classes for n in range(100)]}
            (tmp_path / folder / name).write_bytes(pickle.dumps(content))
        names = {source.meta["key"]: [str(c) for c in range(classes)]}
        (tmp_path / folder / source.meta["filename"]).write_bytes(pickle.dumps(names))
    for part in ("train", "val"):
        for c, name in enumerate(("cat", "dog", "eel")):
            (tmp_path / part / name).mkdir(parents=True)
            for i, image in enumerate(crops(8, 48, seed=c)):
                Image.fromarray(image).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def load(name: str, data_root: Path, resolution: int = 24) -> ImageData:
    return DATASETS[name](data_root, resolution)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("resolution", [24, 32])
def test_splits_are_uint8_images_with_labels(name: str, data_root: Path, resolution: int) -> None:
    data = load(name, data_root, resolution)
    for split in (data.train, data.validation, data.test):
        assert split.images.dtype == torch.uint8
        assert split.images.shape == (len(split), 3, resolution, resolution)
        assert split.labels.dtype == torch.int64
        assert 0 <= int(split.labels.min()) <= int(split.labels.max()) < data.classes


@pytest.mark.parametrize("name", DATASETS)
def test_an_epoch_depends_on_its_generator_alone(name: str, data_root: Path) -> None:
    data = load(name, data_root)
    first, again, other = (data.epoch(16, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert len(first) == 16
    batch = data.normalise(first.images)
    assert abs(float(batch.mean())) < 1.5
    assert data.augment(batch, torch.Generator().manual_seed(0)).shape == batch.shape


@pytest.mark.parametrize("name", DATASETS)
def test_no_image_is_in_two_splits(name: str, data_root: Path) -> None:
    data = load(name, data_root)
    keys = [{image.numpy().tobytes() for image in s.images} for s in (data.train, data.validation)]
    if name == "imagefolder":  # its 24 pictures are crops of one photograph, all different
        assert sum(map(len, keys)) == 24
    assert not keys[0] & keys[1]


@pytest.mark.parametrize("name", [n for n in DATASETS if n != "digits_on_photos"])
def test_a_missing_data_root_is_said_in_one_line(name: str, tmp_path: Path) -> None:
    for root in (None, tmp_path / "absent"):
        with pytest.raises(ValueError, match="--data-root") as error:
            DATASETS[name](root, 24)
        assert "\n" not in str(error.value)


def test_digits_and_photos_do_not_leak_between_the_splits() -> None:

    parts = [_sources(i) for i in range(3)]
    assert [len(p.labels) for p in parts] == [1080, 359, 358]
    assert sum(p.photos.shape[2] for p in parts) == 320
    digits = [{d.numpy().tobytes() for d in p.digits} for p in parts]
    assert not digits[0] & digits[1]
    assert not (digits[0] | digits[1]) & digits[2]
    for p in parts:
        assert torch.bincount(p.labels).min() > 0.08 * len(p.labels)


def test_augmentation_moves_and_mirrors_pixels_only() -> None:
    batch = torch.arange(2 * 3 * 4 * 4, dtype=torch.float).reshape(2, 3, 4, 4) + 1
    generator = torch.Generator().manual_seed(0)
    for image, source in zip(random_mirror(batch, generator), batch, strict=True):
        assert torch.equal(image, source) or torch.equal(image, source.flip(2))
    shifted = random_shift(batch, 1, generator)
    padded = torch.nn.functional.pad(batch, (1,) * 4)
    for image, source in zip(shifted, padded, strict=True):
        windows = [source[:, t : t + 4, c : c + 4] for t in range(3) for c in range(3)]
        assert any(torch.equal(image, w) for w in windows)


def test_resizing_keeps_what_has_the_size() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    assert resized(images, 32) is images
    assert resized(torch.full_like(images, 77), 24).unique().tolist() == [77]


@pytest.mark.parametrize("name", DATASETS)
def test_a_fingerprint_tells_data_from_other_data(name: str, data_root: Path) -> None:
    """The same files, the same fingerprint, in plain values; at another resolution the same digest."""
    first, again, larger = load(name, data_root), load(name, data_root), load(name, data_root, 32)
    assert first.fingerprint() == again.fingerprint() == yaml.safe_load(yaml.safe_dump(first.fingerprint()))
    assert larger.digest == first.digest
    assert first.fingerprint()["train"] == len(first.train)
    assert len({load(n, data_root).digest for n in DATASETS}) == len(DATASETS)


def test_an_image_that_was_replaced_changes_the_fingerprint(data_root: Path) -> None:
    before = load("imagefolder", data_root).digest
    Image.fromarray(crops(1, 48, seed=77)[0]).save(data_root / "val" / "eel" / "0.png")
    assert load("imagefolder", data_root).digest != before
