"""From a search to the file that is shipped: by one process, by two, and by two of which all are killed meanwhile."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from nas import search
from search_spaces import build
from trainers.data.digits_on_photos import load

from .beforehand import measured_beforehand

ROOT = Path(__file__).parent.parent
EPOCHS = 3
OPTIONS = ["--dataset", "imagefolder", "--resolution", "16", "--epochs", str(EPOCHS), "--batch", "64", "--lr", "0.01"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the embedded images, as a folder."""
    root, data = tmp_path_factory.mktemp("images"), load(None, 16)
    for part, split, count in (("train", data.train, 640), ("val", data.test, 128)):
        for i, (image, label) in enumerate(zip(split.images[:count], split.labels[:count].tolist(), strict=True)):
            folder = root / part / f"digit{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short search on the embedded data finds."""
    output = measured_beforehand(tmp_path_factory.mktemp("results"), "mixed_resnet20")
    short = {"trials": 2, "epochs": 1, "references": False, "final": 0, "repeats": 0}
    outcome = search("mixed_resnet20", "20MFLOPs", output=output, name="run", **short)
    assert outcome.best is not None
    return output / "run" / "best.yaml"


def trained(*words: object, kill_after: int | None = None) -> str:
    """What ``python -m trainers.full`` says; killed when so many epochs are on disk, if that is asked for."""
    command = [sys.executable, "-m", "trainers.full", *map(str, words)]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if kill_after is not None:
        metrics = Path(words[words.index("--output") + 1]) / "metrics.jsonl"  # type: ignore[arg-type]
        while process.poll() is None and not (metrics.exists() and len(metrics.read_text().split()) >= kill_after):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    said, _ = process.communicate(timeout=400)
    assert process.returncode == (0 if kill_after is None else -signal.SIGKILL), said
    return said


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "best.safetensors")


@pytest.mark.slow
def test_from_a_search_to_the_file_that_is_shipped(best: Path, images: Path, tmp_path: Path) -> None:
    """Two processes of half a batch each lose what one does that takes a batch in two parts; a killed one goes on."""
    one, two, killed = tmp_path / "one", tmp_path / "two", tmp_path / "killed"
    trained(best, "--data-root", images, *OPTIONS, "--micro-batches", 2, "--output", one)
    trained(best, "--data-root", images, *OPTIONS, "--workers", 2, "--output", two)
    assert len(losses(one)) == EPOCHS
    assert losses(two) == pytest.approx(losses(one), rel=2e-3)
    assert losses(two)[0] == pytest.approx(losses(one)[0], rel=1e-4)  # rounding grows with the steps
    trained(best, "--data-root", images, *OPTIONS, "--workers", 2, "--output", killed, kill_after=1)
    assert len(losses(killed)) < EPOCHS
    trained("--resume", killed, "--workers", 2)
    assert losses(killed) == losses(two)
    for name, tensor in weights(two).items():
        assert torch.allclose(weights(killed)[name].float(), tensor.float(), atol=1e-6), name

    exported = tmp_path / "net.onnx"
    command = [sys.executable, "-m", "nas.export", str(one / "trained.yaml"), "--onnx", str(exported)]
    command += ["--data-root", str(images)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    network = build(one / "trained.yaml").eval()
    network.load_state_dict(weights(one))
    batch = torch.from_numpy(np.random.default_rng(0).normal(size=(32, 3, 16, 16)).astype(np.float32))
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: batch.numpy()})[0])
    with torch.no_grad():
        wanted = network(batch)
    assert torch.equal(found.argmax(1), wanted.argmax(1))
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.slow
def test_a_batch_that_has_no_equal_parts_is_said_at_once(best: Path, images: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainers.full", str(best), "--data-root", str(images), *OPTIONS]
    command += ["--workers", "3", "--output", str(tmp_path / "three")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    assert "--batch must be a multiple of --workers 3, got 64" in done.stderr
    assert not (tmp_path / "three").exists()
