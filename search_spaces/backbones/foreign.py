"""Networks that are not ours: torchvision's and timm's by name, and those of a user's own code.

``torchvision:resnet34``, ``timm:resnet26d``, ``my_package.nets:make``. What has a colon in its name and is of neither
library is code, and is imported only for the user who names it (``imported``) or hands it over (``give``): a YAML that
names it can have nothing run.
"""

import copy
import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..checks import BadInput

CLASSES, RESOLUTION = 1000, 224  # where nothing says otherwise
CLASS_ARGUMENTS = ("num_classes", "classes")
WITHOUT_AUXILIARIES = {  # heads that are only for training, and give more than logits
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@dataclass(frozen=True)
class Size:
    """What a network takes and gives, where its user does not say."""

    classes: int
    resolution: int


@dataclass(frozen=True)
class Own:
    """A network of the user's own: a function that makes one, or one that is there, of which copies are made.

    Its classes are an argument of the function (``num_classes`` or ``classes``), or are what it gives.
    """

    make: Callable[..., nn.Module] | nn.Module
    _given: dict[int, int] = field(default_factory=dict, compare=False, repr=False)  # resolution → classes

    @property
    def argument(self) -> str | None:
        """The function's, for the number of classes."""
        known = {} if isinstance(self.make, nn.Module) else inspect.signature(self.make).parameters
        return next((name for name in CLASS_ARGUMENTS if name in known), None)

    def build(self, classes: int, resolution: int) -> nn.Module:
        """Freshly initialised: a network that is there, too, as far as its modules can be (``reset_parameters``)."""
        if isinstance(self.make, nn.Module):
            made: Any = _reset(copy.deepcopy(self.make))
        else:
            made = self.make(**({} if self.argument is None else {self.argument: classes}))
        if not isinstance(made, nn.Module):
            raise BadInput(f"a model's function must return an nn.Module, got {made!r}")
        if self.argument is None:
            if resolution not in self._given:
                self._given[resolution] = classes_of(made, resolution)
            if self._given[resolution] != classes:
                raise BadInput(
                    f"the network gives {self._given[resolution]} classes, {classes} are wanted: "
                    "let its function take num_classes, or use data with as many"
                )
        return made

    def size(self) -> Size:
        """As its function says, or as it gives."""
        if self.argument is not None:
            default = inspect.signature(self.make).parameters[self.argument].default
            return Size(default if isinstance(default, int) else CLASSES, RESOLUTION)
        made = self.make if isinstance(self.make, nn.Module) else self.make()
        return Size(classes_of(made, RESOLUTION), RESOLUTION)


OWN: dict[str, Own] = {}  # what this process was given: a name in a YAML finds it, and nothing else


def give(model: Callable[..., nn.Module] | nn.Module, name: str = "") -> str:
    """Let a network of the user's own be built by a name, and return the name: ``my_package.nets:make``."""
    if not callable(model):
        raise BadInput(f"model must be a name, a function that returns an nn.Module, or an nn.Module, got {model!r}")
    what = type(model) if isinstance(model, nn.Module) else model
    qualified = getattr(what, "__qualname__", type(model).__name__)
    name = name or f"{getattr(what, '__module__', '__main__')}:{qualified}"
    if name.partition(":")[0] in LIBRARIES:
        raise BadInput(f"{name!r} is a name of {name.partition(':')[0]}'s; call the module otherwise")
    OWN[name] = Own(model)
    return name


def is_foreign(name: str) -> bool:
    """Whether a backbone's name is none of ours: it has a colon."""
    return ":" in name


def is_own(name: str) -> bool:
    """Whether it names code of the user's own."""
    return is_foreign(name) and name.partition(":")[0] not in LIBRARIES


def given(name: str) -> dict[str, Own]:
    """What another process needs to build it too."""
    return {name: OWN[name]} if name in OWN else {}


def require_there(name: str) -> None:
    """BadInput where no network of that name can be built."""
    library, _, rest = name.partition(":")
    if library in LIBRARIES:
        LIBRARIES[library].require(rest)
    elif name not in OWN:
        raise BadInput(
            f"{name!r} is code of its user's own, which no YAML can have run: name it by --model {name}, "
            "or in Python give the function as model="
        )


def imported(name: str) -> None:
    """Import the function that a user named, ``package.module:function``, and let it be built.

    Raises:
        BadInput: there is none; an error in the module itself keeps its traceback.
    """
    if not is_own(name):
        raise BadInput(f"--model names code of your own here, PACKAGE.MODULE:FUNCTION; {name!r} is known without it")
    place, _, function = name.partition(":")
    try:
        found: Any = import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(f"{error.name}.")):
            raise BadInput(f"--model {name}: there is no module {place!r} that Python can import") from None
        raise
    except (ValueError, TypeError):
        raise BadInput(f"--model {name}: {place!r} is no module's name") from None
    for part in function.split("."):
        if not hasattr(found, part):
            raise BadInput(f"--model {name}: {place} has no {function!r}")
        found = getattr(found, part)
    give(found, name)


def build_foreign(name: str, classes: int, resolution: int) -> nn.Module:
    """On the CPU, whatever the device is: not every network can be made without its numbers; then moved there.

    Where the default device is ``meta``, no random numbers are used up.
    """
    device = torch.get_default_device()
    library, _, rest = name.partition(":")
    devices: list[int] = []
    with torch.random.fork_rng(devices, enabled=device.type == "meta"), torch.device("cpu"):
        if library in LIBRARIES:
            return LIBRARIES[library].build(rest, classes).to(device)
        require_there(name)
        return OWN[name].build(classes, resolution).to(device)


def size_of(name: str) -> Size:
    """What a network takes and gives by itself."""
    require_there(name)
    library, _, rest = name.partition(":")
    return LIBRARIES[library].size(rest) if library in LIBRARIES else OWN[name].size()


def pretrained(name: str) -> Mapping[str, Tensor]:
    """The weights that a library has for one of its networks: it fetches them, or has fetched them before.

    Of a network that was given as a module: its own.

    Raises:
        BadInput: there are none, or they can't be had.
    """
    library, _, rest = name.partition(":")
    made = OWN[name].make if name in OWN else None
    if isinstance(made, nn.Module):
        return made.state_dict()
    if library not in LIBRARIES:
        raise BadInput(f"--weights pretrained: of {name} none are known; give a file of its state dict")
    LIBRARIES[library].require(rest)
    try:
        return LIBRARIES[library].pretrained(rest)
    except BadInput:
        raise
    except Exception as error:  # whatever a library raises where there is no network
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise BadInput(
            f"--weights pretrained: those of {name} can't be had ({said}); fetch them elsewhere, and give the file"
        ) from None


@torch.no_grad()
def classes_of(network: nn.Module, resolution: int) -> int:
    """How many logits it gives for an image of that size.

    Raises:
        BadInput: it can't take the image, or gives something else than logits ``(B, classes)``.
    """
    first = next(network.parameters(), torch.zeros(0))
    image = torch.zeros(2, 3, resolution, resolution, device=first.device, dtype=first.dtype)
    before = network.training
    try:
        found = network.eval()(image)
    except Exception as error:  # whatever a network raises that can't take it
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise BadInput(f"{type(network).__name__} can't take images (3, {resolution}, {resolution}): {said}") from None
    finally:
        network.train(before)
    if not isinstance(found, Tensor) or found.dim() != 2 or len(found) != 2:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise BadInput(f"{type(network).__name__} must give logits (B, classes) for images (B, 3, H, W), got {got}")
    return int(found.shape[1])


def _require_listed(library: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise BadInput(f"{library} has no model {name!r}: {hint}its list_models() names all {len(known)}")


def _reset(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return network


class Library(Protocol):
    """A package of networks; ``name`` is one's, without the package's."""

    def require(self, name: str) -> None:
        """BadInput where there is none of the name."""
        ...

    def build(self, name: str, classes: int) -> nn.Module: ...
    def size(self, name: str) -> Size: ...
    def pretrained(self, name: str) -> Mapping[str, Tensor]: ...


class _Torchvision:
    def require(self, name: str) -> None:
        _require_listed("torchvision", name, self._module().list_models(module=self._module()))

    def build(self, name: str, classes: int) -> nn.Module:
        extra = WITHOUT_AUXILIARIES.get(name, {})
        made: nn.Module = self._module().get_model(name, weights=None, num_classes=classes, **extra)
        return made

    def size(self, name: str) -> Size:
        found = self._module().get_model_weights(name)
        weights = getattr(found, "DEFAULT", None)
        if weights is None:
            return Size(CLASSES, RESOLUTION)
        crop = getattr(weights.transforms(), "crop_size", [RESOLUTION])
        return Size(len(weights.meta.get("categories", ())) or CLASSES, crop[0])

    def pretrained(self, name: str) -> Mapping[str, Tensor]:
        found = self._module().get_model_weights(name)
        state: Mapping[str, Tensor] = found.DEFAULT.get_state_dict(progress=False, check_hash=True)
        return state

    @staticmethod
    def _module() -> ModuleType:
        return import_module("torchvision.models")


class _Timm:
    def require(self, name: str) -> None:
        if find_spec("timm") is None:
            raise BadInput(f"timm:{name} needs timm: pip install 'layerwise-nas[timm]'")
        if not self._module().is_model(name):  # quicker than the list, which is asked for each architecture
            _require_listed("timm", name, self._module().list_models())

    def build(self, name: str, classes: int) -> nn.Module:
        made: nn.Module = self._module().create_model(name, pretrained=False, num_classes=classes)
        return made

    def size(self, name: str) -> Size:
        found = import_module("timm.models").get_pretrained_cfg(name)
        if found is None:
            return Size(CLASSES, RESOLUTION)
        return Size(found.num_classes or CLASSES, found.input_size[-1])

    def pretrained(self, name: str) -> Mapping[str, Tensor]:
        state: Mapping[str, Tensor] = self._module().create_model(name, pretrained=True).state_dict()
        return state

    @staticmethod
    def _module() -> ModuleType:
        return import_module("timm")


LIBRARIES: dict[str, Library] = {"torchvision": _Torchvision(), "timm": _Timm()}
