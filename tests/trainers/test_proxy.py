"""Training a proxy: it learns, the same seed gives the same, a resumed training goes on, a diverged one says so."""

import io
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from search_spaces import Architecture, Backbone
from search_spaces.backbones import BACKBONES
from trainers.data.base import ImageData
from trainers.data.digits_on_photos import load
from trainers.full.recipe import OF_BACKBONE, full_recipe
from trainers.loop import add_gradients, train_epoch
from trainers.proxy import DivergedError, ProxyTraining
from trainers.recipe import Recipe

QUICK = Recipe(epochs=2, images_per_epoch=128, batch=32)


@pytest.fixture(scope="module")
def data() -> ImageData:
    data = load(None, 24)
    return replace(data, validation=data.validation[:256], test=data.test[:256])


def training(data: ImageData, recipe: Recipe = QUICK, seed: int = 0) -> ProxyTraining:
    torch.manual_seed(seed)
    return ProxyTraining(Architecture(Backbone("resnet20", 10, 24, 0.5)).build(), data, recipe, seed)


def weights(t: ProxyTraining) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in t.model.parameters()])


def test_the_last_weights_are_averaged_and_the_average_is_scored(data: ImageData) -> None:
    """Over the share of the steps that the recipe says; without one the last weights are scored."""
    recipe = Recipe(epochs=2, images_per_epoch=320, averaged=0.3)  # 20 steps
    averaging, plain = training(data, recipe), training(data, replace(recipe, averaged=0.0))
    averaging.run_epoch()
    assert averaging.trained is averaging.model
    averaging.run_epoch()
    assert int(averaging.averaged.n_averaged) == 6
    assert averaging.trained is not averaging.model
    for _ in range(2):
        plain.run_epoch()
    assert plain.trained is plain.model
    assert torch.equal(weights(plain), weights(averaging))  # averaging changes what is scored, not how it learns
    last, mean = weights(averaging), torch.cat([p.detach().flatten() for p in averaging.trained.parameters()])
    assert not torch.equal(last, mean)


@pytest.mark.slow
def test_a_network_learns(data: ImageData) -> None:
    """ResNet-20 of half width in 25 seconds: far above the 10% of guessing, on images it was never trained on."""
    t = training(data, Recipe(epochs=6, images_per_epoch=1024))
    results = [t.run_epoch() for _ in range(6)]
    assert results[-1].loss < results[0].loss - 0.5
    assert results[-1].score.accuracy > 0.4
    assert t.test_accuracy() > 0.4


def test_one_seed_gives_one_training(data: ImageData) -> None:
    first, again, other = training(data), training(data), training(data, seed=1)
    a, b, c = (t.run_epoch() for t in (first, again, other))
    assert a == b
    assert torch.equal(weights(first), weights(again))
    assert a.loss != c.loss


def test_a_resumed_training_goes_on_as_if_nothing_had_been(data: ImageData) -> None:
    whole, half = training(data), training(data)
    whole.run_epoch()
    half.run_epoch()
    file = io.BytesIO()
    torch.save(half.state(), file)
    file.seek(0)
    resumed = training(data, seed=0)
    resumed.load_state(torch.load(file, weights_only=True))
    assert resumed.epoch == 1
    assert resumed.run_epoch() == whole.run_epoch()
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.done


def test_dropout_is_the_same_in_a_training_that_is_gone_on_with(data: ImageData) -> None:
    def dropping() -> ProxyTraining:
        made = training(data)
        made.model.fc.register_forward_pre_hook(lambda layer, given: nn.functional.dropout(given[0], 0.5))
        return made

    whole, half = dropping(), dropping()
    whole.run_epoch()
    half.run_epoch()
    state = half.state()
    resumed = dropping()
    torch.rand(7)  # whatever another process drew before
    resumed.load_state(state)
    assert resumed.run_epoch() == whole.run_epoch()


def test_a_loss_that_is_not_finite_is_said(data: ImageData) -> None:
    t = training(data)
    with torch.no_grad():
        next(t.model.parameters()).fill_(math.inf)
    with pytest.raises(DivergedError, match="epoch 1"):
        t.run_epoch()


@pytest.mark.parametrize("parts", [2, 5])
def test_micro_batches_have_the_gradient_of_the_batch(data: ImageData, parts: int) -> None:
    """Without BatchNorm, which sees the parts; but for the rounding of bfloat16 where that is used."""

    def gradient(micro_batches: int) -> torch.Tensor:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.Flatten(), torch.nn.Linear(968, 10))
        generator = torch.Generator().manual_seed(0)

        def learn(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
            return add_gradients(model, images, labels, 0.1, micro_batches)

        train_epoch(model, data, data.train[:32], 32, learn, generator)
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    whole = gradient(1)
    assert (gradient(parts) - whole).norm() < 0.01 * whole.norm()


def test_kernels_decay_and_scales_do_not(data: ImageData) -> None:
    groups = training(data).optimizer.param_groups
    assert [g["weight_decay"] for g in groups] == [QUICK.weight_decay, 0]
    assert all(p.dim() > 1 for p in groups[0]["params"])
    assert all(p.dim() == 1 for p in groups[1]["params"])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 0}, {"images_per_epoch": 0}])
def test_impossible_recipes_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Recipe(**wrong)


def test_full_recipes_are_the_papers() -> None:
    of_imagenet = full_recipe("resnet50", 224, ["spconv", "vanilla"], None)
    assert (of_imagenet.epochs, of_imagenet.dataset) == (90, "imagefolder")
    assert full_recipe("resnet50", 224, ["compconv", "vanilla"], None).epochs == 100
    assert full_recipe("resnet20", 32, ["spconv", "ghost"], None).weight_decay == 1e-4  # of that network, in SPConv
    assert "horizontal_flip" not in full_recipe("resnet20", 28, ["spconv"], "mnist").augmentation


def test_a_recipe_belongs_to_the_backbone_and_the_data_not_to_the_size() -> None:
    """ResNet-18 on small images is trained as ResNet-18 is; the data that was searched on is what it is trained on."""
    small = full_recipe("resnet18", 64, ["spconv"], None)
    assert (small.epochs, small.augmentation[0]) == (90, "random_resized_crop 64")
    other = full_recipe("resnet20", 48, ["spconv"], "cifar100")
    assert (other.dataset, other.augmentation[0]) == ("cifar100", "random_crop 48 padding 4")
    assert set(OF_BACKBONE) == set(BACKBONES)


@pytest.mark.gpu
def test_a_network_trains_on_a_gpu(data: ImageData) -> None:
    t = training(data.to(torch.device("cuda")))
    assert math.isfinite(t.run_epoch().loss)
    assert weights(t).is_cuda
