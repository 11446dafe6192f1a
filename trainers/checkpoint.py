"""Checkpoints of a training: one file, on this disk or wherever fsspec reaches, written whole or not at all."""

import io
from collections.abc import Container
from contextlib import suppress
from typing import Any

import torch

from .whole_file import files_at, write_whole


def save(url: str, state: dict[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``url``, a path or an fsspec address such as ``s3://…``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(url, buffer.getvalue())


def load(url: str, device: torch.device) -> dict[str, Any] | None:
    """What ``save`` wrote, or ``None`` if nothing can be had there. No code in it is run (``weights_only``)."""
    files, path = files_at(url)
    try:
        data = files.cat_file(path)
    except OSError:  # nothing there, or a storage that is gone: it begins again
        return None
    return torch.load(io.BytesIO(data), weights_only=True, map_location=device)


def delete_all(folder: str, keys: Container[str]) -> None:
    """Delete the checkpoints ``folder/KEY.pt`` of these keys, half-written ones too, then the folder if it is empty.

    Raises:
        OSError: the folder can't be reached.
    """
    files, path = files_at(folder)
    for name in _names(folder):
        if name.lstrip(".").partition(".pt")[0] in keys:
            with suppress(FileNotFoundError):
                files.rm_file(f"{path}/{name}")
    with suppress(OSError):  # something is left
        files.rmdir(path)


def move_all(source: str, target: str) -> None:
    """To another folder, one by one, each whole."""
    files, path = files_at(source)
    for name in _names(source):
        if not name.startswith("."):
            write_whole(f"{target}/{name}", files.cat_file(f"{path}/{name}"))
        files.rm_file(f"{path}/{name}")
    with suppress(OSError):
        files.rmdir(path)


def _names(folder: str) -> list[str]:
    files, path = files_at(folder)
    try:
        return [str(name).rpartition("/")[2] for name in files.ls(path, detail=False)]
    except FileNotFoundError:
        return []
