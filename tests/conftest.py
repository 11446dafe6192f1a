"""One thread for every test: on a busy machine more of them are slower."""

import os

import pytest
import torch

os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  tests run side by side: a trial that yields to all others would starve
os.environ["LAYERWISE_NAS_PATIENCE_S"] = "0"  # nor would a measurement ever be alone


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # a training sets it, for the whole process: hypothesis wants to know of none
    torch.manual_seed(0)
