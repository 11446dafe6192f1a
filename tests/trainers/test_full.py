"""Full training: recipes as YAMLs word them, data that is always the same, exact resumption, the program."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.transforms import v2

from search_spaces import VANILLA, Architecture, build, load_space
from search_spaces.architecture import Backbone
from search_spaces.checks import BadInput
from search_spaces.slots import Choice
from trainers.data.base import Split
from trainers.full import program
from trainers.full.__main__ import main
from trainers.full.augmentation import STEPS, augmentation, normalisation
from trainers.full.data import FullData, InMemory, evaluation_batches, training_batches
from trainers.full.recipe import FULL_RECIPES, FullRecipe, recipe_from
from trainers.full.team import ALONE
from trainers.full.training import FullTraining, schedule, scores

RECIPE = FullRecipe(
    dataset="imagefolder",
    epochs=3,
    batch=8,
    lr=0.05,
    lr_steps=(2,),
    lr_divisor=10,
    momentum=0.9,
    weight_decay=1e-4,
    augmentation=("random_crop 16 padding 2", "horizontal_flip"),
    source="a test",
)
ROOT = Path(__file__).parent.parent.parent
HALVES = (0.5, 0.5, 0.5)


def document(recipe: FullRecipe) -> dict:
    """As a YAML has it."""
    return yaml.safe_load(yaml.safe_dump(json.loads(json.dumps(asdict(recipe)))))


@pytest.mark.parametrize("name", FULL_RECIPES)
def test_every_recipe_is_read_as_it_was_written(name: str) -> None:
    recipe = FULL_RECIPES[name]
    assert recipe_from({**document(recipe), "classes": 10, "detector": None}) == recipe
    old = {k: v for k, v in document(recipe).items() if k in list(FullRecipe.__dataclass_fields__)[:10]}
    assert recipe_from(old) == recipe  # what earlier versions exported


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": "many"}, "epochs must be a whole number, got 'many'"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": True}, "epochs must be a whole number, got True"),
        ({"lr": None}, "lr must be a number, got None"),
        ({"lr": float("nan")}, "lr must be above 0, got nan"),
        ({"momentum": 1}, "momentum must be at least 0 and below 1, got 1"),
        ({"weight_decay": -1}, "weight_decay must be at least 0"),
        ({"schedule": "steps"}, "schedule"),
        ({"lr_steps": 3}, "lr_steps must be a list of epochs, got 3"),
        ({"lr_steps": [0.5]}, "lr_steps must be a list of epochs"),
        ({"augmentation": "horizontal_flip"}, "augmentation must be a list of steps in words"),
        ({"nesterov": 1}, "nesterov must be true or false, got 1"),
        ({"warmup_epochs": 3}, "warmup_epochs must be at least 0 and below the 3 epochs, got 3"),
        ({"optimizer": "adam"}, "optimizer"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(wrong: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        recipe_from({**document(RECIPE), **wrong})
    assert "\n" not in str(error.value)


def test_a_recipe_that_lacks_something_says_what() -> None:
    short = {k: v for k, v in document(RECIPE).items() if k not in ("lr", "batch")}
    with pytest.raises(BadInput, match="training lacks batch, lr"):
        recipe_from(short)
    with pytest.raises(BadInput, match="'training' must be a mapping"):
        recipe_from(None)


def test_another_length_keeps_the_shape() -> None:
    short = FULL_RECIPES["spconv_cifar10"].as_long_as(20)
    assert (short.epochs, short.lr_steps) == (20, (5, 10, 15))
    with pytest.raises(BadInput, match="--epochs"):
        RECIPE.as_long_as(0)


@pytest.mark.parametrize("name", FULL_RECIPES)
@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_a_short_training_begins_with_the_whole_rate(name: str, epochs: int) -> None:
    short = replace(FULL_RECIPES[name].as_long_as(epochs), warmup_epochs=0)
    assert rates(short)[0] == pytest.approx(short.lr)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_of_an_augmentation(name: str) -> None:
    numbers = {
        "random_crop": "16 padding 2",
        "random_resized_crop": "16",
        "color_jitter": "0.4",
        "random_erasing": "0.5",
    }
    transform = augmentation([f"{name} {numbers.get(name, '')}".strip()], HALVES, HALVES)
    image = transform(torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8))
    assert image.shape == (3, 16, 16)
    assert image.dtype == torch.float32
    assert image.abs().max() <= 1 + 1e-6
    with pytest.raises(BadInput, match=f"must be written as {name}"):
        augmentation([f"{name} 1 2 3 4"], HALVES, HALVES)


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(BadInput, match="step of the augmentation"):
        augmentation(["vertical_flip"], HALVES, HALVES)
    with pytest.raises(BadInput, match="'random_crop large' must be written as random_crop SIZE"):
        augmentation(["random_crop large"], HALVES, HALVES)


@pytest.mark.parametrize("name", [n for n, r in FULL_RECIPES.items() if r.dataset != "coco"])
def test_the_papers_augmentations_are_known(name: str) -> None:
    augmentation(FULL_RECIPES[name].augmentation, HALVES, HALVES)


def few(images: int = 40, classes: int = 4) -> FullData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    pixels = torch.randint(0, 120, (images, 3, 16, 16), dtype=torch.uint8, generator=generator)
    pixels += (labels * 30).to(torch.uint8)[:, None, None, None]
    split = InMemory(Split(pixels, labels))
    return FullData("few", classes, split, split, split, HALVES, HALVES, v2.Compose(normalisation(HALVES, HALVES)))


def small(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(32, classes))


def test_what_is_distilled_comes_near_its_teacher() -> None:
    """Where that is the whole loss, labels count for nothing; the teacher stays as it is."""
    recipe = replace(RECIPE, epochs=6, augmentation=(), distillation=1.0, temperature=1.0, weight_decay=0.0)
    torch.manual_seed(5)
    teacher, data = small(), few()
    nn.init.normal_(teacher[6].weight, std=2.0)  # type: ignore[arg-type]
    images = torch.stack([data.evaluate(data.train[i][0]) for i in range(8)])

    def distance(network: nn.Module) -> float:
        with torch.no_grad():
            logits = [net.eval()(images).log_softmax(1) for net in (network, teacher)]
        return torch.nn.functional.kl_div(*logits, reduction="batchmean", log_target=True).item()

    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    taught, alone = FullTraining(small(), data, recipe, teacher=teacher), FullTraining(small(), data, recipe)
    while not taught.done:
        taught.run_epoch()
        alone.run_epoch()
    assert distance(taught.trained) < 0.5 * min(distance(small()), distance(alone.trained))
    assert all(torch.equal(before[name], tensor) for name, tensor in teacher.state_dict().items())
    half = FullTraining(small(), data, replace(recipe, distillation=0.25), teacher=teacher)
    half.model.eval()
    labels = torch.arange(8) % 4
    parts = [half._loss(images, labels)]
    for share in (0.0, 1.0):
        half.recipe = replace(recipe, distillation=share)
        parts.append(half._loss(images, labels))
    assert parts[0].item() == pytest.approx(0.75 * parts[1].item() + 0.25 * parts[2].item())


def test_images_are_the_same_however_many_processes_load_them() -> None:
    seen = []
    for workers in (0, 2):
        data = few()
        transform = augmentation(RECIPE.augmentation, data.mean, data.std)
        order, batches = training_batches(data.train, transform, 8, 0, workers, ALONE)
        epochs = []
        for order.epoch in (1, 2):
            epochs.append([(images, labels) for images, labels in batches])
        seen.append(epochs)
    for one, other in zip(*seen, strict=True):
        assert len(one) == 5
        for (a, x), (b, y) in zip(one, other, strict=True):
            assert torch.equal(a, b)
            assert torch.equal(x, y)
    assert not torch.equal(seen[0][0][0][1], seen[0][1][0][1])  # each epoch has an order of its own


def rates(recipe: FullRecipe, steps: int = 10) -> list[float]:
    """The learning rate of every step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], recipe.lr, momentum=0.9)
    made, found = schedule(optimizer, recipe, steps), []
    for _ in range(recipe.epochs * steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        made.step()
    return found


def test_the_rate_falls_as_the_recipe_says() -> None:
    step = rates(replace(RECIPE, epochs=6, lr_steps=(2, 4), warmup_epochs=0))
    assert step[:20] == [0.05] * 20
    assert step[20:40] == pytest.approx([0.005] * 20)
    assert step[40:] == pytest.approx([0.0005] * 20)
    warmed = rates(replace(RECIPE, epochs=6, lr_steps=(2, 4), warmup_epochs=1))
    assert warmed[0] < 0.001
    assert all(a < b for a, b in pairwise(warmed[:11]))
    assert warmed[10:] == pytest.approx(step[10:])
    for warm in (0, 2):
        cosine = rates(replace(RECIPE, epochs=6, schedule="cosine", warmup_epochs=warm))
        assert max(cosine) == pytest.approx(0.05)
        assert cosine[-1] < 0.001
        middle = 10 * warm + (60 - 10 * warm) // 2
        assert cosine[middle] == pytest.approx(0.025, rel=0.01)
    cycle = rates(replace(RECIPE, epochs=6, schedule="one_cycle", warmup_epochs=2))
    assert int(np.argmax(cycle)) in (19, 20)
    assert max(cycle) == pytest.approx(0.05, rel=0.01)
    assert cycle[-1] < 0.001


@pytest.mark.parametrize(
    "changed",
    [{}, {"ema": 0.9, "warmup_epochs": 1, "decay_norms": False}, {"schedule": "cosine"}, {"schedule": "one_cycle"}],
)
def test_a_training_that_is_gone_on_with_ends_with_the_same_weights(changed: dict, tmp_path: Path) -> None:
    recipe = replace(RECIPE, **changed)
    whole = FullTraining(small(), few(), recipe)
    found = [whole.run_epoch() for _ in range(3)]
    first = FullTraining(small(), few(), recipe)
    first.run_epoch()
    torch.save(first.state(), tmp_path / "state.pt")
    torch.rand(7)  # another process would have drawn something else
    second = FullTraining(small(), few(), recipe, loaders=1)
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    again = [second.run_epoch() for _ in range(2)]
    assert whole.done
    assert second.done
    assert again == found[1:]
    for a, b in zip(whole.trained.state_dict().values(), second.trained.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_it_learns_and_micro_batches_learn_the_same() -> None:
    recipe = replace(RECIPE, augmentation=(), epochs=6, lr_steps=())
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    state = {k: v.clone() for k, v in model.state_dict().items()}
    whole = FullTraining(model, few(), recipe)
    losses = [whole.run_epoch().loss for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]
    model.load_state_dict(state)
    parts = FullTraining(model, few(), recipe, micro_batches=3)
    assert [parts.run_epoch().loss for _ in range(6)] == pytest.approx(losses, rel=1e-3)


def test_scores_are_counted_over_all_images() -> None:
    data = few(300, 10)
    right = nn.Sequential(nn.Flatten(), nn.Linear(768, 10))
    found = scores(right, evaluation_batches(data, data.test, 0), torch.device("cpu"))
    images = torch.stack([data.evaluate(data.test[i][0]) for i in range(300)])
    labels = torch.tensor([data.test[i][1] for i in range(300)])
    logits = right(images)
    ranked = logits.argsort(dim=1, descending=True)
    assert found.top1 == pytest.approx((ranked[:, 0] == labels).float().mean().item())
    assert found.top5 == pytest.approx((ranked[:, :5] == labels[:, None]).any(1).float().mean().item())
    assert found.cross_entropy == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-4)


# the program, on a folder of images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of noise of three brightnesses, 24 × 20 pixels."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 20), ("val", 8)):
        for label, name in enumerate(("dark", "grey", "light")):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(80 * label, 80 * label + 90, (20, 24, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def written(path: Path, **recipe: object) -> Path:
    """An architecture as a search exports it."""
    layers = (("layer3.2.conv2", Choice.of("spconv", alpha=1 / 2, groups=2)),)
    architecture = Architecture(Backbone("resnet20", 10, 16, 0.5), layers)
    training = {**document(RECIPE), "classes": 10, **recipe}
    sections = {"space": "a test", **architecture.to_dict(), "metrics": {"flops": 1234.0}, "training": training}
    path.write_text(yaml.safe_dump(sections))
    return path


def test_from_a_yaml_to_trained_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    best = written(tmp_path / "best.yaml")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file://{tmp_path}/mlruns")
    assert main([str(best), "--data-root", str(folder), "--device", "cpu", "--log", "mlflow"]) == 0
    said = capsys.readouterr().out
    assert "3 classes in place of 10" in said
    assert "epoch 3 of 3: loss" in said
    made = tmp_path / "full-best"
    names = {p.name for p in made.iterdir()}
    assert {"trained.yaml", "best.safetensors", "last.pt", "metrics.jsonl", "training.json", "tensorboard"} <= names
    trained = yaml.safe_load((made / "trained.yaml").read_text())["metrics"]["trained"]
    lines = [json.loads(line) for line in (made / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert trained["validation"]["top1"] == max(line["top1"] for line in lines)
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["test_top1"] == trained["test"]["top1"]
    assert (run.data.params["dataset"], run.data.params["backbone"]) == ("imagefolder", "resnet20")
    metrics = yaml.safe_load((made / "trained.yaml").read_text())["metrics"]
    assert "flops" not in metrics  # those were of ten classes
    assert metrics["as_searched"]["flops"] == 1234.0
    assert metrics["as_searched"]["backbone"]["classes"] == 10
    # what was scored is what is there
    document, question = program.asked(best, {"data_root": str(folder)})
    architecture = Architecture.from_dict(document)
    network = replace(architecture, backbone=replace(architecture.backbone, classes=3)).build()
    network.load_state_dict(load_file(made / "best.safetensors"))
    data = program._data(question)
    found = scores(network, evaluation_batches(data, data.test, 0), torch.device("cpu"))
    assert asdict(found) == pytest.approx(trained["test"], rel=1e-4)
    build(made / "trained.yaml").load_state_dict(load_file(made / "best.safetensors"))  # they fit
    # once more: refused; gone on with: nothing to do but the end
    assert main([str(best), "--data-root", str(folder)]) == 2
    assert "holds a training: go on with it by --resume" in capsys.readouterr().err
    assert main(["--resume", str(made)]) == 0
    assert yaml.safe_load((made / "trained.yaml").read_text())["metrics"]["trained"] == trained


def test_a_training_goes_on_with_the_same_images_and_its_checkpoint_alone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one image more, others would be held out that were trained on; without a checkpoint it would begin anew."""
    images, best, made = tmp_path / "images", written(tmp_path / "best.yaml"), tmp_path / "full-best"
    shutil.copytree(folder, images)
    monkeypatch.chdir(tmp_path)
    assert main([str(best), "--data-root", "images", "--device", "cpu", "--epochs", "1"]) == 0
    monkeypatch.chdir(folder)  # the images are found from anywhere
    kept = {p: p.read_bytes() for p in made.iterdir() if p.is_file()}
    some = next((images / "train").rglob("*.png"))
    shutil.copy(some, some.with_name("one more.png"))
    capsys.readouterr()
    assert main(["--resume", str(made)]) == 2
    assert "the images are others than this training began with" in capsys.readouterr().err
    some.with_name("one more.png").unlink()
    (made / "last.pt").rename(tmp_path / "elsewhere.pt")
    assert main(["--resume", str(made)]) == 2
    assert "last.pt is missing or can't be read: copy it with the folder" in capsys.readouterr().err
    (tmp_path / "elsewhere.pt").rename(made / "last.pt")
    assert {p: p.read_bytes() for p in kept} == kept
    assert main(["--resume", str(made)]) == 0


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended by a Ctrl-C in the middle of its second epoch."""
    best = written(tmp_path / "best.yaml")
    options = [str(best), "--data-root", str(folder), "--device", "cpu", "--output"]
    assert main([*options, str(tmp_path / "whole")]) == 0
    step = FullTraining._step
    steps = []

    def stopping(self: FullTraining, batch: list[torch.Tensor]) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 9:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(FullTraining, "_step", stopping)
    assert main([*options, str(tmp_path / "parts")]) == 130
    monkeypatch.setattr(FullTraining, "_step", step)
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 1
    assert main(["--resume", str(tmp_path / "parts")]) == 0
    assert (tmp_path / "parts" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    one, other = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_training_that_is_killed_is_gone_on_with(folder: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments, also while files are written; the weights are those of a whole training."""
    best = written(tmp_path / "best.yaml", epochs=7, lr_steps=[4])
    program_of = [sys.executable, "-m", "trainers.full"]
    options = [str(best), "--data-root", str(folder), "--device", "cpu", "--output"]
    subprocess.run([*program_of, *options, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    parts, rng = tmp_path / "parts", np.random.default_rng(0)
    kills = 0
    command = [*program_of, *options, str(parts)]
    while not (parts / "trained.yaml").exists():
        before = epochs_of(parts)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and epochs_of(parts) < before + 2:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.3))
        kills += process.poll() is None
        process.kill()
        process.wait()
        command = [*program_of, "--resume", str(parts)]
    assert kills >= 2
    one, other = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (parts / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert not list(parts.glob(".*.partial"))


def epochs_of(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_it_starts_from_the_vanilla_networks_weights(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = written(tmp_path / "best.yaml")
    architecture = Architecture.from_dict(yaml.safe_load(best.read_text()) | {})
    dense = replace(architecture, layers=(), backbone=replace(architecture.backbone, classes=3)).build()
    save_file(dense.state_dict(), tmp_path / "vanilla.safetensors")
    options = [str(best), "--data-root", str(folder), "--device", "cpu", "--epochs", "1", "--from"]
    assert main([*options, str(tmp_path / "vanilla.safetensors"), "--output", str(tmp_path / "a")]) == 0
    assert "from the weights of its vanilla network" in capsys.readouterr().out
    assert main([*options, str(tmp_path / "a" / "best.safetensors"), "--output", str(tmp_path / "b")]) == 0
    assert "from its own weights" in capsys.readouterr().out
    (tmp_path / "vanilla.safetensors").unlink()  # once begun, it is not wanted any more
    assert main(["--resume", str(tmp_path / "a")]) == 0
    capsys.readouterr()
    other = Architecture(Backbone("resnet20", 3, 16, 1.0)).build()
    torch.save(other.state_dict(), tmp_path / "other.pt")
    for name, said in {
        "other.pt": "conv1.weight must be",
        "best.yaml": "can't be read",
        "none": "can't be read",
    }.items():
        assert main([*options, str(tmp_path / name), "--output", str(tmp_path / "c")]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--epochs", "0"], "--epochs must be at least 1, got 0"),
        (["--batch", "1000"], "a batch of 1000 is more than the 54 training images"),
        (["--dataset", "cifar11"], "data set"),
        (["--dataset", "coco"], "coco trains detectors"),
        (["--data-root", "nowhere"], "there is no folder train/ in it"),
        (["--lr", "-1"], "lr must be above 0"),
        (["--resume", "nowhere"], "leave out"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = written(tmp_path / "best.yaml")
    assert main([str(best), "--data-root", str(folder), "--device", "cpu", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "full-best").exists()


def test_a_wrong_yaml_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = load_space("mixed_resnet20")
    plain = tmp_path / "plain.yaml"
    plain.write_text(yaml.safe_dump(space.uniform(VANILLA).to_dict()))
    for path, said in {
        plain: "'training' must be a mapping",
        written(tmp_path / "a.yaml", lr="fast"): "lr must be a number",
        written(tmp_path / "b.yaml", detector="faster_rcnn"): "the detector belongs to the backbone",
        tmp_path / "none.yaml": "none.yaml",
    }.items():
        assert main([str(path)]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert len(error.splitlines()) == 1
    assert main([]) == 2
    assert main(["--resume", str(tmp_path / "nothing")]) == 2
    assert "there is no training that can be read" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    training = FullTraining(small(), few(), replace(RECIPE, lr=1e12, augmentation=()))
    with pytest.raises(RuntimeError, match="the training loss of epoch"):
        [training.run_epoch() for _ in range(3)]
