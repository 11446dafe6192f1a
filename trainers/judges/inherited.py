"""The judge ``inherited``: a proxy of the candidate starts from the trained vanilla network's weights."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from search_spaces import Architecture, inherit
from search_spaces.checks import BadInput

from .scratch import Scratch

IMAGES = 256  # on which layers are fitted and BatchNorms set


@dataclass(frozen=True)
class Inherited(Scratch):
    """As ``Scratch``, but each candidate starts near the network that it replaces, and is trained briefly.

    What an operator takes over of a dense kernel is its own business (``Operator.inherit``); other layers are copied.
    """

    def network(self, proxy: Architecture, seed: int) -> nn.Module:
        """All candidates see the same images, whatever the seed: it decides the training alone."""
        model, dense = super().network(proxy, seed).to(self.device), self._dense(proxy)
        inherit(model, dense, self._images)
        return model

    @property
    def device(self) -> torch.device:
        return torch.device(self.setting.device)

    @cached_property
    def _images(self) -> torch.Tensor:
        """Training images, normalised: ``(B, 3, H, W)``."""
        generator = torch.Generator(self.device).manual_seed(0)
        return self.data.normalise(self.data.epoch(IMAGES, generator).images)

    def _dense(self, proxy: Architecture) -> nn.Module:
        """The parent, as vanilla network of the proxy's backbone."""
        dense = Architecture(proxy.backbone).build().to(self.device)
        if self.setting.parent is None:
            raise BadInput("the judge inherited needs the weights of a trained vanilla network, got none")
        dense.load_state_dict(dict(self.setting.parent))
        return dense.eval()
