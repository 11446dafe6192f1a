"""A trial: one proxy network, trained epoch by epoch as a Ray Tune class Trainable whose actor is reused."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
from ray import tune

from search_spaces import Architecture, proxy_of
from trainers.data import ImageData
from trainers.proxy import DivergedError, ProxyTraining
from trainers.recipe import Recipe

CHECKPOINT = "training.pt"


class ProxyTrial(tune.Trainable):
    """``config["architecture"]`` is a target architecture; its proxy is trained, one epoch a step.

    Everything that a step reports goes into the ledger. A training that diverges ends its trial with a ``reason``;
    any other error reaches Tune, which restarts the trial from its last checkpoint.
    """

    def setup(
        self,
        config: dict[str, Any],
        data: ImageData,
        recipe: Recipe,
        seed: int,
        proxy: dict[str, float],
        device: str,
        threads: int,
    ) -> None:
        torch.set_num_threads(threads)
        self.data, self.recipe, self.seed, self.proxy = data.to(torch.device(device)), recipe, seed, proxy
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.started = time.time()
        self.train_s = 0.0
        self.accuracies: list[float] = []
        self.losses: list[float] = []
        target = Architecture.from_dict(config["architecture"])
        proxy, self.substituted = proxy_of(
            target,
            width=self.proxy["width"],
            resolution=int(self.proxy["resolution"]),
            classes=self.data.classes,
        )
        torch.manual_seed(self.seed)
        self.training = ProxyTraining(proxy.build(), self.data, self.recipe, self.seed)

    def step(self) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            result = self.training.run_epoch()
        except DivergedError as error:
            return {**self._report(start), "accuracy": 0.0, "reason": str(error), "done": True}
        self.accuracies.append(result.accuracy)
        self.losses.append(result.loss)
        last = {"test_accuracy": self.training.test_accuracy(), "done": True} if self.training.done else {}
        return {**self._report(start), "accuracy": result.accuracy, **last}

    def _report(self, start: float) -> dict[str, Any]:
        """What the ledger says of the trial so far, but its accuracy."""
        self.train_s += time.perf_counter() - start
        cuda = self.training.device.type == "cuda"
        return {
            "epoch": self.training.epoch,
            "accuracy_by_epoch": list(self.accuracies),
            "loss_by_epoch": list(self.losses),
            "started": self.started,
            "ended": time.time(),
            "train_s": self.train_s,
            "substituted": list(self.substituted),
            "node": platform.node(),
            "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.get_num_threads()} thread(s)",
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        progress = {
            "accuracies": self.accuracies,
            "losses": self.losses,
            "train_s": self.train_s,
            "started": self.started,
        }
        path = Path(checkpoint_dir, CHECKPOINT)
        torch.save({"training": self.training.state(), "progress": progress}, path.with_suffix(".partial"))
        os.replace(path.with_suffix(".partial"), path)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        saved = torch.load(Path(checkpoint_dir, CHECKPOINT), weights_only=True, map_location=self.training.device)
        self.training.load_state(saved["training"])
        progress = saved["progress"]
        self.accuracies, self.losses = progress["accuracies"], progress["losses"]
        self.train_s, self.started = progress["train_s"], progress["started"]
