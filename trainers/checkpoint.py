"""Checkpoints of a training: one file, on this disk or wherever fsspec reaches, written whole or not at all."""

import io
from collections.abc import Container
from contextlib import suppress
from typing import Any

import fsspec
import torch

from .whole_file import write_whole


def save(url: str, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``url``, a path or an fsspec address such as ``s3://…``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(url, buffer.getvalue())


def load(url: str, device: torch.device) -> dict[str, Any] | None:
    """What ``save`` wrote, or ``None`` if there is nothing. No code in it is run (``weights_only``)."""
    files, path = fsspec.core.url_to_fs(url)
    try:
        data = files.cat_file(path)
    except FileNotFoundError:
        return None
    return torch.load(io.BytesIO(data), weights_only=True, map_location=device)


def delete_all(folder: str, keys: Container[str]) -> None:
    """Delete the checkpoints ``folder/KEY.pt`` of these keys, and then the folder if nothing is left in it."""
    files, path = fsspec.core.url_to_fs(folder)
    try:
        names = [str(name).rpartition("/")[2] for name in files.ls(path, detail=False)]
    except FileNotFoundError:
        return
    for name in names:
        if name.removesuffix(".pt") in keys:
            delete(f"{folder}/{name}")
    with suppress(OSError):  # something is left
        files.rmdir(path)


def delete(url: str) -> None:
    """Nothing happens if it is not there."""
    files, path = fsspec.core.url_to_fs(url)
    try:
        files.rm_file(path)
    except FileNotFoundError:
        return
