"""Files that are written whole or not at all, on this disk or wherever fsspec reaches."""

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


def files_at(url: str | Path) -> tuple[Any, str]:
    """The file system of ``url`` and the path in it. A path is a path, even one with ``::`` in it."""
    if "://" in str(url):
        files, path = fsspec.core.url_to_fs(str(url))
        return files, str(path)
    return LocalFileSystem(), str(Path(url).absolute())


def write_whole(url: str | Path, data: bytes) -> None:
    """Write ``data`` to ``url``, a path or an address such as ``s3://…``; its folder is made where it is missing.

    Whatever happens, there is either the new file or what was there before. On a disk it is fsynced when this returns;
    object stores show an object when it is whole.

    Raises:
        OSError: it can't be written; nothing is left of it.
    """
    if "://" in str(url):
        _write_remote(str(url), data)
    else:
        _write_here(Path(url), data)


def sync_folder(folder: Path) -> None:
    """A file's name is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_here(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")  # two writers never share one
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_remote(url: str, data: bytes) -> None:
    files, path = files_at(url)
    partial = f"{path}.partial"
    files.makedirs(files._parent(path), exist_ok=True)
    try:
        files.pipe_file(partial, data)
        files.mv(partial, path)
    except OSError:
        with suppress(FileNotFoundError):
            files.rm_file(partial)
        raise
