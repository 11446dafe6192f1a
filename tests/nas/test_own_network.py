"""A search of a network that is not ours: asked for, prepared, run, gone on with."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from nas import search
from nas.preparation import load_data, require_proxy, space_of
from nas.question import Question, asked, changed, from_document, named, to_document
from nas.watch.watch import Watch
from nas.weights import given_weights
from search_spaces import Choice, Space, build, load_architecture
from search_spaces.backbones import foreign
from search_spaces.checks import BadInput
from trainers.data.base import ImageData
from trainers.data.given import image_data
from trainers.full.data import load

PARTS = {"train": 256, "validation": 128, "test": 128}


class Net(nn.Module):
    """Two convolutions that can be searched."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.first, self.norm1 = nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.second, self.norm2 = nn.Conv2d(32, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)
        self.head = nn.Linear(32, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.norm2(self.second(torch.relu(self.norm1(self.first(x))))))
        return self.head(x.mean((2, 3)))


def make(num_classes: int = 3) -> nn.Module:
    return Net(num_classes)


def stripes(classes: int = 3) -> dict[str, tuple[Tensor, Tensor]]:
    """Images whose class is the direction or the colour of what is in them: quickly learned."""
    generator = torch.Generator().manual_seed(0)
    found = {}
    for name, count in PARTS.items():
        labels = torch.randint(classes, (count,), generator=generator)
        images = torch.randint(60, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[label % 3, :: 2 + label // 3] = 250
        found[name] = (images, labels)
    return found


@pytest.fixture(autouse=True)
def _given() -> Iterator[None]:
    yield
    foreign.OWN.clear()


@pytest.fixture
def data() -> ImageData:
    return image_data(stripes(), 32)


def question(**written: object) -> Question:
    return asked({"budget": "80%", "model": foreign.give(make, "nets:make"), **written})


def prepared_weights(state: Mapping[str, Tensor], path: Path, data: ImageData) -> dict[str, bytes]:
    torch.save(dict(state), path)
    wanted = question(weights=path)
    assert wanted.judge == "inherited"
    return given_weights(wanted, space_of(wanted), data)


def test_it_is_searched_whole_at_a_lower_resolution() -> None:
    wanted = question()
    assert (wanted.proxy_width, wanted.proxy_resolution) == (1.0, 32)
    space = space_of(wanted)
    assert (space.backbone.classes, space.backbone.resolution) == (3, 224)
    wanted = question(classes=7, resolution=96, proxy_resolution=64)
    assert (space_of(wanted).backbone.classes, space_of(wanted).backbone.resolution) == (7, 96)
    assert wanted.proxy_resolution == 64


def test_what_is_asked_is_kept_in_its_document() -> None:
    wanted = named(question(resolution=96, weights="pretrained", trials=4))
    assert wanted.name.startswith("spconv_layerwise-nets_make-")
    assert from_document(to_document(wanted), wanted.folder) == wanted


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            {"model": "resnet34"},
            "--model must be torchvision:NAME, timm:NAME or PACKAGE.MODULE:FUNCTION, got 'resnet34'",
        ),
        ({"model": "timm:"}, "--model must be"),
        ({"model": "a:b", "proxy_width": 0.5}, "--proxy-width must be 1 for --model"),
        ({"model": "a:b", "classes": 0}, "--classes must be at least 1, got 0"),
        ({"classes": 10}, "--classes and --resolution are those of --model"),
        ({"weights": "pretrained"}, "--weights pretrained goes with --model"),
    ],
)
def test_what_does_not_go_together_is_said(written: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        asked(written)


def test_a_run_keeps_its_network_which_may_be_named_again() -> None:
    wanted = question()
    assert changed(wanted, {"model": "nets:make"}) == wanted
    with pytest.raises(BadInput, match="--resume: --model decides what was proposed"):
        changed(wanted, {"model": "nets:other"})


def test_weights_for_as_many_classes_are_the_parents(tmp_path: Path, data: ImageData) -> None:
    given = prepared_weights(Net(3).state_dict(), tmp_path / "w.pt", data)
    assert set(given) == {"parent"}


def test_weights_for_other_classes_are_what_the_parents_training_starts_from(tmp_path: Path, data: ImageData) -> None:
    state = Net(9).state_dict()
    given = prepared_weights(state, tmp_path / "w.pt", data)
    assert set(given) == {"start"}
    (tmp_path / "start.pt").write_bytes(given["start"])
    start = torch.load(tmp_path / "start.pt", weights_only=True)
    assert torch.equal(start["second.weight"], state["second.weight"])
    assert start["head.weight"].shape == (3, 32)


def test_weights_of_another_network_are_refused(tmp_path: Path, data: ImageData) -> None:
    state = Net(3).state_dict()
    with pytest.raises(BadInput, match=r"first\.weight must be \(32, 16, 3, 3\), is absent"):
        prepared_weights({n: t for n, t in state.items() if n != "first.weight"}, tmp_path / "w.pt", data)
    with pytest.raises(BadInput, match=r"first\.weight must be \(32, 16, 3, 3\), is \(32, 8, 3, 3\)"):
        prepared_weights({**state, "first.weight": torch.zeros(32, 8, 3, 3)}, tmp_path / "w.pt", data)


def test_pretrained_weights_are_the_librarys(tmp_path: Path, data: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched before, they are found; not fetched, and without a network, that is said."""
    wanted = asked({"budget": "80%", "model": "torchvision:resnet18", "weights": "pretrained"})
    space = space_of(wanted)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    with pytest.raises(BadInput, match=r"those of torchvision:resnet18 can't be had \(URLError.*give the file"):
        given_weights(wanted, space, data)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(space.backbone.build().state_dict(), folder / "resnet18-f37072fd.pth")
    assert set(given_weights(wanted, space, data)) == {"start"}


def _no_network(*arguments: object, **named: object) -> None:
    raise URLError("there is no network")


def test_a_resolution_that_a_network_can_not_be_trained_at_is_said(data: ImageData) -> None:
    name = foreign.give(lambda num_classes: nn.Sequential(nn.AvgPool2d(20), Net(num_classes)), "nets:coarse")
    wanted = asked({"budget": "80%", "model": name, "proxy_resolution": 16})
    with pytest.raises(BadInput, match="--proxy-resolution 16: nets:coarse can't be trained on images"):
        require_proxy(wanted, space_of(wanted), 3)


def test_ones_own_data_sets_are_read_as_they_are(data: ImageData) -> None:
    assert (data.classes, len(data.train), data.train.images.shape) == (3, 256, (256, 3, 32, 32))
    parts = stripes()
    as_sets = {name: list(zip(images, labels.tolist(), strict=True)) for name, (images, labels) in parts.items()}
    assert image_data(as_sets, 32).fingerprint() == data.fingerprint()
    images, labels = parts["validation"]
    in_order = {**parts, "validation": (images[labels.argsort()], labels.sort().values)}
    between = image_data(in_order, 32).validation[: len(labels) // 8]  # what is scored before the last epoch
    assert set(between.labels.tolist()) == set(labels.tolist())
    grey = {name: (images[:, :1].float() / 255, labels.numpy()) for name, (images, labels) in parts.items()}
    assert image_data(grey, 24).train.images.shape == (256, 3, 24, 24)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": 3}, "data, train: must be images and labels, or a data set"),
        ({"test": (torch.zeros(4, 32, 32), torch.zeros(4))}, r"data, test: images must be \(N, 3, H, W\)"),
        ({"test": (torch.zeros(4, 3, 32, 32) - 1, torch.zeros(4))}, r"floating-point in \[0, 1\]"),
        ({"more": 1}, "data must have train, validation, test"),
        ({"test": (torch.zeros(4, 3, 32, 32), torch.zeros(4) - 1)}, "labels must be 0 or more, got -1"),
    ],
)
def test_data_that_is_none_is_said(changes: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        image_data({**stripes(), **changes}, 32)


def test_given_data_is_not_to_be_had_by_its_name() -> None:
    with pytest.raises(BadInput, match=r"search\(resume=…, data=…\)"):
        load_data(question(dataset="given"))
    with pytest.raises(BadInput, match="name a data set by --dataset"):
        load("given", None, 32, all_images=False)


@pytest.mark.slow
def test_a_network_and_data_of_ones_own_are_searched_and_gone_on_with(tmp_path: Path) -> None:
    asked_for = {"budget": "80%", "space": "compconv_layerwise", "resolution": 64, "trials": 2, "epochs": 2}
    small = {"references": False, "final": 0, "repeats": 0, "output": tmp_path}
    outcome = search(model=make, data=stripes(), name="a", **asked_for, **small)  # type: ignore[arg-type]
    assert len(outcome.front) > 0
    assert outcome.best is not None
    path = tmp_path / "a" / "best.yaml"
    assert isinstance(build(path, model=make), Net)
    assert load_architecture(path, make).backbone.name == f"{__name__}:make"
    foreign.OWN.clear()
    with pytest.raises(BadInput, match=f"the run searches {__name__}:make, code of your own"):
        search(resume=tmp_path / "a", trials=3)
    with pytest.raises(BadInput, match=r"search\(resume=…, data=…\)"):
        search(resume=tmp_path / "a", trials=3, model=make)
    more = search(resume=tmp_path / "a", trials=3, model=make, data=stripes())
    assert len(more.candidates) == 3


@pytest.mark.slow
def test_candidates_start_from_the_network_that_is_given(tmp_path: Path) -> None:
    """As it is where it has as many classes as the data; where not, it is trained for them first."""
    said: list[str] = []

    class Listening(Watch):
        def said(self, line: str) -> None:
            said.append(line)

    for classes, name in ((3, "same"), (9, "other")):
        outcome = search(
            space="compconv_layerwise",
            model=lambda num_classes, classes=classes: Net(num_classes) if num_classes != classes else Net(classes),
            data=stripes(),
            weights=_weights(tmp_path / f"{name}.pt", classes),
            **{"budget": "80%", "resolution": 64, "trials": 2, "epochs": 2, "references": False, "final": 0},
            **{"repeats": 0, "output": tmp_path, "name": name, "watch": Listening()},
        )
        parents = outcome.run.judged("parent")
        assert len(parents) == (classes != 3)
        assert all(r.initial_accuracy is not None for r in (*parents, *outcome.candidates))
        assert outcome.run.parent_file.exists()
    assert any("the vanilla network that candidates inherit from" in line for line in said)


def _weights(path: Path, classes: int) -> Path:
    torch.save(Net(classes).state_dict(), path)
    return path


def test_every_choice_of_a_space_is_applied_to_its_layers() -> None:
    space: Space = space_of(question(space="compconv_layerwise"))
    assert list(space.slots) == ["first", "second"] or list(space.slots) == ["stem", "first", "second"]
    assert Choice.of("compconv", depth=1) in [o.asked for v in space.variables for o in v.options]
