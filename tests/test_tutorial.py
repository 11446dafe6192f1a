"""docs/tutorial.md is run as it stands there: from a network and images of one's own to ONNX."""

import os
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest
import torch
import yaml
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```(python|sh)\n(.*?)```", flags=re.DOTALL)


@pytest.mark.slow
def test_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    """Its Python is written into the files that it names, its commands are run; the ONNX file does what torch does."""
    bin_folder = str(Path(sys.executable).parent)
    settings = {**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"}
    for kind, text in BLOCK.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")):
        if kind == "python":
            (tmp_path / text.split("\n")[0].removeprefix("# ")).write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-e", "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    folder = tmp_path / "results" / "mine" / "full-best"
    trained = yaml.safe_load((folder / "trained.yaml").read_text())
    assert trained["backbone"] == {"name": "nets:make", "classes": 3, "resolution": 48, "width": 1.0}
    assert trained["metrics"]["trained"]["epochs"] == 2
    assert "5.weight" not in load_file(folder / "best.safetensors")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: torch.zeros(3, 3, 48, 48).numpy()})[0]
    assert found.shape == (3, 3)
    assert (tmp_path / "net.int8.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size
    assert "nets:make" in (tmp_path / "MODEL_CARD.md").read_text()
