import os
from pathlib import Path

import pytest
import torch

from nas.question import check_run, create_run, resolve_device

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@NO_GPU
def test_without_a_gpu_auto_is_the_cpu() -> None:
    assert resolve_device("auto", None, None) == ("cpu", 0.0)
    assert resolve_device("auto", 0.5, "auto") == ("cuda", 0.5)  # the cluster's business


@NO_GPU
@pytest.mark.parametrize(("device", "gpus"), [("auto", 1.0), ("cuda", None), ("cpu", 1.0)])
def test_a_gpu_that_is_not_there_is_refused(device: str, gpus: float | None) -> None:
    with pytest.raises(ValueError, match=r"no GPU|goes with --device cuda"):
        resolve_device(device, gpus, None)


def test_a_run_is_made_once(tmp_path: Path) -> None:
    create_run(tmp_path / "results" / "mine")
    check_run(tmp_path / "results" / "mine")  # killed before it was written down what was asked: the name is free
    (tmp_path / "results" / "mine" / "search.yaml").touch()
    with pytest.raises(ValueError, match=r"exists: go on with it by --resume .* or choose"):
        check_run(tmp_path / "results" / "mine")


def test_a_folder_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't be written"):
        check_run(tmp_path / "file" / "mine")
    if os.geteuid() == 0:
        with pytest.raises(ValueError, match="can't be written"):
            create_run(Path("/proc/results/mine"))
