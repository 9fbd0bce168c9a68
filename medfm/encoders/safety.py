"""Reading checkpoint files without running anything that is inside them.

Only safetensors and PyTorch's ``weights_only`` loading are used. A pickle that asks for
anything but tensors and plain containers is refused, and the message names what it asked for.
Classes that a card names are replaced by empty ones; see :mod:`medfm.encoders.inert`.
"""

from __future__ import annotations

import contextlib
import io
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from medfm.core.errors import WeightsError
from medfm.core.names import nearest
from medfm.encoders.inert import Inert, may_be_inert, stand_in, state_of
from medfm.encoders.old_modules import without_sources

# What a card may additionally allow in ``safe_globals``: plain holders of settings.
_HARMLESS = ("argparse.Namespace", "types.SimpleNamespace", "collections.Counter", "collections.defaultdict")


def load_checkpoint(path: str | Path, safe_globals: tuple[str, ...] = ()) -> Any:
    """The content of a checkpoint file, tensors on the CPU; of a whole pickled network its state dict.

    Args:
        path: A ``.safetensors`` file or one written by ``torch.save``; told apart by content.
        safe_globals: Names that the card declares harmless beyond tensors and containers.

    Raises:
        WeightsError: The file is missing, a folder, empty, cut off, no checkpoint, or unsafe.
    """
    file = Path(path)
    size = require_checkpoint(file)
    try:
        with file.open("rb") as handle:
            head = handle.read(512)
    except OSError as error:
        raise WeightsError(f"The checkpoint cannot be opened ({error.strerror}).", where=str(file)) from error
    if head.startswith(b"PK\x03\x04"):
        return _load_torch(file, safe_globals, zipped=True)
    if _is_safetensors(head):
        return _load_safetensors(file, size)
    if head[:1] == b"\x80":
        return _load_torch(file, safe_globals, zipped=False)
    raise WeightsError(_what_it_is(head), where=str(file), expected="a .safetensors file or one written by torch.save")


def require_checkpoint(path: str | Path) -> int:
    """Bytes of the checkpoint file at `path`, seen without opening it.

    Raises:
        WeightsError: There is none, it is a folder, or it is empty.
    """
    file = Path(path)
    if file.is_dir():
        raise WeightsError(
            "A folder was given where a checkpoint file is needed.",
            where=str(file),
            expected="a .safetensors, .pth, .pt or .bin file",
            fix="for a folder written by 'medfm pretrain' give the folder as the encoder, without weights",
        )
    try:
        size = file.stat().st_size
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        raise WeightsError(
            "The checkpoint file does not exist." if missing else f"The checkpoint cannot be read ({error.strerror}).",
            where=str(file),
            expected="a .safetensors, .pth, .pt or .bin file, or 'random' for the untrained network",
            fix=_find_it(file) if missing else "see that you may read it, and that its disk is there",
        ) from error
    if size == 0:
        raise WeightsError("The checkpoint file is empty (0 bytes).", where=str(file), fix="download it again")
    return size


def _find_it(file: Path) -> str:
    """What to do about a missing file: near names where its path leaves what is there, and where weights come from."""
    whole = file.absolute()
    there = next((folder for folder in whole.parents if folder.exists()), whole.parent)
    try:
        others = [path.name for path in there.iterdir()] if there.is_dir() else []
    except OSError:
        others = []
    like = nearest(whole.relative_to(there).parts[0], others)
    hint = f"in {there} there is {' and '.join(like)}; " if like else ""
    hint = hint if there.is_dir() else f"{there} is a file, not a folder; "
    return f"{hint}'medfm doctor' says which weights are here; leave weights away to take the card's own"


def _what_it_is(head: bytes) -> str:
    start = head.lstrip()[:200].lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "This is a web page, not a checkpoint; the download probably ended at a login page."
    if start.startswith(b"version https://git-lfs"):
        return "This is a Git LFS pointer, not the checkpoint itself."
    return "This file is not a checkpoint."


def _is_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and 2 <= length < 100_000_000 and head[8:9] == b"{"


def _load_safetensors(file: Path, size: int) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file, device="cpu")
    except SafetensorError as error:
        raise WeightsError(
            f"The safetensors file of {size:,} bytes is damaged or only half downloaded ({error}).",
            where=str(file),
            fix="delete it and download it again",
        ) from error


def _load_torch(file: Path, safe_globals: tuple[str, ...], *, zipped: bool) -> Any:
    import torch

    if zipped and not zipfile.is_zipfile(file):
        raise WeightsError(
            f"The checkpoint of {file.stat().st_size:,} bytes ends too early: it is only half downloaded.",
            where=str(file),
            fix="delete it and download it again",
        )
    if zipped and _is_program(file):
        raise WeightsError(
            "This is a TorchScript archive: a program together with its weights, which cannot be read without running it.",
            where=str(file),
            expected="a state dict, as safetensors or written by torch.save",
            fix="take the same model from the hub as safetensors or .bin ('medfm encoders show ID' names the file)",
        )
    requested = [name for name in requested_globals(file) if name in safe_globals]
    asked = [name for name in requested if name in _HARMLESS or may_be_inert(name)]
    try:
        with contextlib.ExitStack() as stack:
            if asked:
                allowed = [_resolve(name) if name in _HARMLESS else stand_in(name) for name in asked]
                stack.enter_context(torch.serialization.safe_globals(allowed))
            # torch goes by this suffix, not by the content; an open file has none.
            misnamed = file.suffix == ".safetensors"
            source: Any = stack.enter_context(file.open("rb")) if misnamed else file
            if asked and not zipped:
                source = without_sources(file)
            # mmap: heads of several hundred megabytes that the card drops are never read.
            content = torch.load(source, map_location="cpu", weights_only=True, mmap=zipped and not misnamed)
            return state_of(content, str(file)) if isinstance(content, Inert) else content
    except (UnpicklingError, AttributeError, TypeError) as error:
        foreign = [name for name in requested_globals(file) if name not in asked and not _known(name)]
        if foreign:
            raise WeightsError(
                f"The checkpoint is refused: loading it would call {', '.join(foreign[:5])}, which could run any code.",
                where=str(file),
                expected="tensors and plain containers only",
                fix="ask its author for safetensors, or for a file with the state dict alone",
            ) from error
        raise WeightsError(
            "The checkpoint cannot be read safely: it holds more than tensors and plain containers.",
            where=str(file),
            fix="ask its author for safetensors, or for a file with the state dict alone",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"The checkpoint is damaged or only half downloaded: {_first_line(error)}",
            where=str(file),
            fix="delete it and download it again",
        ) from error


def _is_program(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _resolve(name: str) -> Any:
    import importlib

    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _known(name: str) -> bool:
    return name.startswith(("torch.", "torch._utils.", "collections.OrderedDict", "numpy.")) or name in (
        "_codecs.encode",
        "builtins.set",
        "__builtin__.set",
    )


def requested_globals(path: str | Path) -> list[str]:
    """Dotted names that the pickle inside a checkpoint asks for; found by reading, not running."""
    file = Path(path)
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                data = b"".join(archive.read(name) for name in names)
        else:
            with file.open("rb") as handle:
                data = handle.read(1 << 24)
    except (OSError, zipfile.BadZipFile):
        return []
    found: dict[str, None] = {}
    stream = io.BytesIO(data)
    try:
        while stream.tell() < len(data):  # the old format is several pickles in a row
            _collect(stream, found)
    except Exception as error:  # tensor bytes, or a damaged stream: what was found so far counts
        if not found:
            found[f"an unreadable pickle ({type(error).__name__})"] = None
    return list(found)


def _collect(stream: io.BytesIO, found: dict[str, None]) -> None:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST") and isinstance(argument, str):
            found[argument.replace(" ", ".")] = None
        elif opcode.name == "STACK_GLOBAL" and len(strings) >= 2:
            found[".".join(strings[-2:])] = None
        elif isinstance(argument, str):
            strings.append(argument)


def check_state(value: Any, where: str) -> Mapping[str, Any]:
    """`value` as a mapping; a clear error for a whole pickled module, a list or a bare tensor."""
    if not isinstance(value, Mapping):
        raise WeightsError(
            f"The checkpoint holds a {type(value).__name__}, not a dictionary of tensors.",
            where=where,
            expected="a state dict, bare or nested (such as {'teacher': {...}})",
        )
    return value
