"""A training step recorded as a CUDA graph: the same training, and the plain one where it can't be recorded."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from search_spaces import Architecture, Backbone, Choice
from trainers.captured import WARM_UP
from trainers.data.base import ImageData
from trainers.data.digits_on_photos import load
from trainers.proxy import ProxyTraining
from trainers.recipe import Optimizer, Recipe

pytestmark = pytest.mark.gpu
RECIPE = Recipe(epochs=3, images_per_epoch=320, batch=32, peak_lr=1e-3)
SLOTS = {f"layer{i}.0.conv2": Choice.of("spconv", alpha=1 / 2, groups=2) for i in (1, 2, 3)}
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def data() -> ImageData:
    data = load(None, 24).to(torch.device("cuda"))
    return replace(data, validation=data.validation[:256], test=data.test[:256])


def training(data: ImageData, recipe: Recipe = RECIPE, **ways: object) -> ProxyTraining:
    torch.manual_seed(0)
    network = Architecture(Backbone("resnet20", 10, 24, 0.5), tuple(SLOTS.items())).build()
    return ProxyTraining(network, data, recipe, 0, **ways)


def losses(t: ProxyTraining) -> list[float]:
    return [t.run_epoch().loss for _ in range(t.recipe.epochs - t.epoch)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_recorded_training_is_the_plain_one(data: ImageData, optimizer: Optimizer) -> None:
    """But for what bfloat16 and the order of sums leave; it is scored with averaged weights, as that is."""
    recipe = replace(RECIPE, optimizer=optimizer)
    recorded, plain = training(data, recipe), training(data, recipe, graph=False)
    assert losses(recorded) == pytest.approx(losses(plain), rel=0.03)
    assert recorded.captured is not None
    assert recorded.captured.graph is not None
    assert plain.captured is None
    assert int(recorded.averaged.n_averaged) == int(plain.averaged.n_averaged) > 0
    assert recorded.schedule.get_last_lr() == pytest.approx(plain.schedule.get_last_lr())
    counts = [t.model.get_buffer("bn1.num_batches_tracked") for t in (recorded, plain)]
    assert counts[0] == counts[1] == RECIPE.steps  # the recording itself trains nothing


def test_it_goes_on_from_a_checkpoint_of_its_own_of_the_plain_one_and_elsewhere(data: ImageData) -> None:
    whole = losses(training(data))
    for graph in (True, False):
        half = training(data, graph=graph)
        half.run_epoch()
        file = io.BytesIO()
        torch.save(half.state(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True, map_location="cuda")
        resumed = training(data)
        resumed.load_state(state)
        assert losses(resumed) == pytest.approx(whole[1:], rel=0.03)
    file.seek(0)
    on_cpu = training(data.to(torch.device("cpu")))
    on_cpu.load_state(torch.load(file, weights_only=True, map_location="cpu"))
    assert losses(on_cpu) == pytest.approx(whole[1:], rel=0.1)


def test_one_that_is_loaded_after_it_was_recorded_is_recorded_anew(data: ImageData) -> None:
    t = training(data)
    t.run_epoch()
    state = t.state()
    first = t.run_epoch().loss
    t.load_state(state)
    assert t.captured is not None
    assert t.captured.graph is None
    assert t.run_epoch().loss == pytest.approx(first, rel=0.03)


class Waits(nn.Module):
    """For the GPU, in each forward pass."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x * (1.0 if x.sum().item() < 1e30 else 0.0))


def test_what_cannot_be_recorded_is_trained_plainly_and_said(data: ImageData) -> None:
    plain = training(data, graph=False)
    torch.manual_seed(0)
    network = Architecture(Backbone("resnet20", 10, 24, 0.5), tuple(SLOTS.items())).build()
    t = ProxyTraining(Waits(network), data, RECIPE, 0)
    with pytest.warns(UserWarning, match="CUDA graph"):
        found = losses(t)
    assert found == pytest.approx(losses(plain), rel=0.03)
    assert t.captured is not None
    assert t.captured.why_not


def test_parts_of_a_batch_are_not_recorded(data: ImageData) -> None:
    assert training(data, micro_batches=2).captured is None


def test_the_steps_do_not_wait_for_the_gpu(data: ImageData) -> None:
    """Neither recorded nor plain ones, augmentation and the learning rate included."""
    for graph in (True, False):
        t = training(data, replace(RECIPE, averaged=0.9), graph=graph)
        generator = torch.Generator("cuda").manual_seed(0)
        for _ in range(WARM_UP + 1):
            t.train(data.train[:32], generator)
        images, labels = data.normalise(data.train.images[:32]), data.train.labels[:32]
        torch.cuda.set_sync_debug_mode("error")
        try:
            for _ in range(3):
                data.normalise(data.train.images[:32])
                t._learn(data.augment(images, generator), labels)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("form", ["--graph", "--eager"])
def test_the_benchmark_shows_both(tmp_path: Path, form: str) -> None:
    output = tmp_path / "step.json"
    command = [sys.executable, "benchmarks/step.py", "--cuda", form, "--operators", "spconv", "--rounds", "2"]
    subprocess.run([*command, "--output", str(output)], check=True, cwd=REPOSITORY)
    assert json.loads(output.read_text())["steps"]["spconv"]["form"] == form.removeprefix("--")
