"""The contract of every data set, on real files: CIFAR's and MNIST's own formats and pictures, written here."""

import gzip
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.datasets import CIFAR10, CIFAR100, MNIST

from search_spaces.checks import BadInput
from trainers.data import DATASETS
from trainers.data.base import ImageData, random_mirror, random_shift, resized
from trainers.data.digits_on_photos import _sources

PHOTO = load_sample_images().images[0]


def crops(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Crops of a real photograph, ``(count, size, size, 3)``."""
    rng = np.random.default_rng(seed)
    tops, lefts = rng.integers(0, PHOTO.shape[0] - size, count), rng.integers(0, PHOTO.shape[1] - size, count)
    return np.stack([PHOTO[t : t + size, c : c + size] for t, c in zip(tops, lefts, strict=True)])


def write_idx(folder: Path, seed: int, gz: bool) -> None:
    """60 training images and 20 test images, and their labels, as MNIST's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 60), ("t10k", 20)):
        images = crops(count, 28, seed=seed + count)[..., 0]
        labels = np.arange(count, dtype=np.uint8) % 10
        for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, values.ndim]) + b"".join(n.to_bytes(4, "big") for n in values.shape)
            content = header + values.tobytes()
            name = f"{part}-{kind}-ubyte"
            (folder / (name + ".gz" * gz)).write_bytes(gzip.compress(content) if gz else content)


@pytest.fixture
def data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each data set that has files, small, in its own format (torchvision's checksums are left out)."""
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
    write_idx(tmp_path / "MNIST" / "raw", seed=10, gz=False)
    write_idx(tmp_path / "FashionMNIST" / "raw", seed=20, gz=True)
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


def test_the_held_out_digits_on_photos_are_the_same_every_time() -> None:
    """8,192 each, of which no image is there twice: each is rendered on its own."""
    first, again = load("digits_on_photos", Path()), load("digits_on_photos", Path())
    for split, same in ((first.validation, again.validation), (first.test, again.test)):
        assert len(split) == len({image.numpy().tobytes() for image in split.images}) == 8192
        assert torch.equal(split.images, same.images)
        assert torch.equal(split.labels, same.labels)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_mnist_is_read_from_torchvisions_folder_or_its_own_packed_or_not(
    name: str, folder: str, tmp_path: Path
) -> None:
    layouts = [(place, gz) for place in (Path(folder, "raw"), Path()) for gz in (False, True)]
    for i, (place, gz) in enumerate(layouts):
        write_idx(tmp_path / str(i) / place, seed=1, gz=gz)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    found = [load(name, tmp_path / str(i), 28) for i in range(len(layouts))]
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert len({data.digest for data in found}) == 1
    assert all(torch.equal(data.test.images, found[0].test.images) for data in found)


def test_mnists_images_are_those_that_torchvision_reads(data_root: Path) -> None:
    data, theirs = load("mnist", data_root, 28), [MNIST(str(data_root), train=train) for train in (True, False)]
    assert (len(data.train), len(data.validation), len(data.test)) == (48, 12, 20)
    for channel in range(3):
        assert torch.equal(data.test.images[:, channel], theirs[1].data)
    assert torch.equal(data.test.labels, theirs[1].targets)
    labelled = {
        image.numpy().tobytes(): int(label) for image, label in zip(theirs[0].data, theirs[0].targets, strict=True)
    }
    ours = {
        image[0].numpy().tobytes(): int(label)
        for split in (data.train, data.validation)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    assert ours == labelled


def test_digits_are_shifted_and_not_mirrored(data_root: Path) -> None:
    """A batch that is bright on the left stays so, as it does not where half of it is mirrored; on any device."""
    batch = torch.zeros(64, 3, 24, 24)
    batch[..., :8] = 1
    for name, stays in (("mnist", True), ("fashion_mnist", False)):
        data = load(name, data_root).to(torch.device("cpu"))
        changed = data.augment(batch, torch.Generator().manual_seed(0))
        assert not torch.equal(changed, batch)
        assert bool((changed[..., 16:] == 0).all()) is stays


IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        (IMAGES, lambda c: None, "is not in --data-root .* neither MNIST/raw/train-images-idx3-ubyte nor train-im"),
        (IMAGES, lambda c: c[:-7], "train-images-idx3-ubyte.* is damaged: 47,056 bytes were expected, it has 47,049"),
        (IMAGES, lambda c: c + b"0", "is damaged"),
        (IMAGES, lambda c: b"", "train-images-idx3-ubyte.* is no IDX file of bytes in 3 dimensions"),
        (IMAGES, lambda c: b"<html>Not found</html>", "is no IDX file"),
        (LABELS, lambda c: c[:7] + b"\0", "is no IDX file of bytes in 1 dimension$"),
        (LABELS, lambda c: c[:7] + b"\x13" + c[8:-1], "19 labels for the 20 images of t10k-images-idx3-ubyte"),
        (LABELS, lambda c: c[:-1] + b"\x0a", "labels are 0 to 9, and one is 10"),
    ],
)
def test_files_that_are_missing_or_damaged_are_said_in_one_line(
    file: str, content: Callable[[bytes], bytes | None], said: str, gz: bool, tmp_path: Path
) -> None:
    write_idx(tmp_path, seed=1, gz=gz)
    path = tmp_path / (file + ".gz" * gz)
    before = path.read_bytes()
    after = content(gzip.decompress(before) if gz else before)
    if after is None:
        path.unlink()
    else:
        path.write_bytes(gzip.compress(after) if gz else after)
    with pytest.raises(BadInput, match=said) as error:
        load("mnist", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [lambda c: c[:-100], lambda c: b"no gzip", lambda c: c[:20] + b"12345678" + c[28:]])
def test_a_gzip_that_is_torn_is_named(content: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write_idx(tmp_path / "MNIST" / "raw", seed=1, gz=True)
    file = tmp_path / "MNIST" / "raw" / f"{IMAGES}.gz"
    file.write_bytes(content(file.read_bytes()))
    with pytest.raises(BadInput, match=f"{IMAGES}.gz: "):
        load("mnist", tmp_path)


def test_torchvisions_folder_is_whole_or_it_is_said_what_lacks(data_root: Path) -> None:
    """Files beside it are another data set's, maybe."""
    for file in (data_root / "FashionMNIST" / "raw").iterdir():
        shutil.copy(file, data_root)
    (data_root / "MNIST" / "raw" / LABELS).unlink()
    with pytest.raises(BadInput, match=f"there is no MNIST/raw/{LABELS}, with .gz or without"):
        load("mnist", data_root)


def picture(path: Path, image: np.ndarray | None = None, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(crops(1, 40)[0] if image is None else image).save(path, **how)
    return path


def folder_of(root: Path, images: int = 4) -> Path:
    """Two classes in either part."""
    for i, part in enumerate(("train", "val")):
        for j, name in enumerate(("cat", "dog")):
            for k, image in enumerate(crops(images, 40, seed=2 * i + j)):
                picture(root / part / name / f"{k}.png", image)
    return root


def torn(path: Path, content: Callable[[bytes], bytes]) -> None:
    path.write_bytes(content(picture(path).read_bytes()))


NASTY: dict[str, tuple[Callable[[Path], object], str]] = {
    "no val": (lambda r: shutil.rmtree(r / "val"), r"there is no folder val/ in it"),
    "no classes": (lambda r: [shutil.rmtree(r / p / c) for p in ("train", "val") for c in ("cat", "dog")], "got none"),
    "one class": (lambda r: [shutil.rmtree(r / p / "dog") for p in ("train", "val")], "two classes or more, got cat"),
    "a class that val lacks": (lambda r: shutil.rmtree(r / "val" / "dog"), r"same classes; val/ lacks dog"),
    "a class that train lacks": (lambda r: picture(r / "val" / "eel" / "1.png"), r"same classes; train/ lacks eel"),
    "a class without images": (
        lambda r: [f.unlink() for f in (r / "train" / "dog").iterdir()],
        r"train/dog: there is no image in it",
    ),
    "a torn PNG": (lambda r: torn(r / "train" / "cat" / "9.png", lambda c: c[:500]), r"cat/9.png: can't be decoded"),
    "a torn JPEG": (lambda r: torn(r / "val" / "dog" / "9.jpg", lambda c: c[:300]), r"dog/9.jpg: can't be decoded"),
    "an empty file": (lambda r: (r / "train" / "cat" / "9.png").write_bytes(b""), r"cat/9.png: can't be decoded"),
    "text": (lambda r: (r / "train" / "cat" / "9.jpg").write_text("<html>"), r"cat/9.jpg: can't be decoded"),
    "too large": (
        lambda r: picture(r / "train" / "cat" / "9.png", np.zeros((20_000, 10_000), np.uint8)),
        r"cat/9.png: can't be decoded: Image size",
    ),
    "floats": (
        lambda r: picture(r / "train" / "cat" / "9.tiff", np.ones((40, 40), np.float32)),
        r"9.tiff: can't be decoded: pixels must have 8 or 16 bits",
    ),
    "a type without a reader": (
        lambda r: (r / "train" / "cat" / "9.heic").write_bytes(b"1"),
        r"9.heic: images of this",
    ),
    "all alike": (
        lambda r: [picture(f, np.full((40, 40, 3), 7, np.uint8)) for f in (r / "train").rglob("*.png")],
        r"train: there is nothing to learn, all pixels of all images are alike",
    ),
}


@pytest.mark.filterwarnings("ignore:Image size:UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("what", NASTY)
def test_what_an_image_folder_must_not_have_is_said_in_one_line(what: str, tmp_path: Path) -> None:
    spoil, said = NASTY[what]
    spoil(folder_of(tmp_path))
    with pytest.raises(BadInput, match=said) as error:
        load("imagefolder", tmp_path)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_more_images_than_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.data.imagefolder.MEMORY_SHARE", 1e9)
    with pytest.raises(BadInput, match=r"its 16 images take 0.0 GB at 24 pixels; of this machine's \d+ GB"):
        load("imagefolder", folder_of(tmp_path))


def test_hidden_and_other_files_are_left_out(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    before = load("imagefolder", root)
    picture(root / "train" / ".ipynb_checkpoints" / "1.png")
    picture(root / "train" / "cat" / ".ipynb_checkpoints" / "1.png")
    picture(root / "train" / "cat" / "._1.png")
    for name in ("Thumbs.db", "boxes.h5", "clip.mpeg", "notes.pdf"):
        (root / "train" / "cat" / name).write_bytes(b"1")
    (root / "train" / "labels.txt").write_text("cat")
    assert load("imagefolder", root).fingerprint() == before.fingerprint()


def test_links_to_images_and_folders_are_followed(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "data")
    more = picture(tmp_path / "elsewhere" / "9.png").parent
    (root / "val" / "cat" / "more").symlink_to(more)
    (root / "val" / "dog" / "9.png").symlink_to(more / "9.png")
    assert len(load("imagefolder", root).test) == 10


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.webp", "a.bmp", "a.gif", "a.tif", "a.jp2", "a.ppm"])
def test_images_of_many_types_are_read(name: str, tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    picture(root / "val" / "cat" / "sub" / name)
    data = load("imagefolder", root)
    assert len(data.test) == 9
    wanted = resized(torch.from_numpy(crops(1, 40)).permute(0, 3, 1, 2), 24)[0]
    closest = (data.test.images.float() - wanted.float()).abs().mean((1, 2, 3)).min()
    assert closest < (40 if name == "a.gif" else 8)  # a palette, a lossy type


def test_16_bits_are_what_8_bits_are(tmp_path: Path) -> None:
    """Not white."""
    grey = crops(1, 40)[0].mean(2).astype(np.uint16)
    for bits, values in ((8, grey.astype(np.uint8)), (16, grey * 256 + 100)):
        picture(folder_of(tmp_path / str(bits)) / "val" / "cat" / "9.png", values)
    narrow, wide = (load("imagefolder", tmp_path / str(bits)).test.images for bits in (8, 16))
    assert torch.equal(narrow, wide)


def test_a_photo_is_turned_as_its_camera_was(tmp_path: Path) -> None:
    upright = crops(1, 40)[0]
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    picture(folder_of(tmp_path / "a") / "val" / "cat" / "9.png", upright)
    picture(folder_of(tmp_path / "b") / "val" / "cat" / "9.png", np.rot90(upright).copy(), exif=exif)
    assert torch.equal(*(load("imagefolder", tmp_path / name).test.images for name in "ab"))


def test_a_channel_that_is_the_same_everywhere_is_no_nan(tmp_path: Path) -> None:
    root = folder_of(tmp_path)
    for file in root.rglob("*.png"):
        image = np.asarray(Image.open(file)).copy()
        image[..., 1] = 7
        picture(file, image)
    data = load("imagefolder", root)
    assert data.std[1] == 0
    assert data.normalise(data.train.images).isfinite().all()
