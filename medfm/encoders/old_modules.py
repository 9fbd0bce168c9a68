"""Whole networks in PyTorch's old file format (before 1.6): taking out the source code that lies beside each class.

In that format the first mention of a layer's class is a persistent id ``('module', class, file name, source)``,
which loading with ``weights_only`` refuses. The stream is rewritten with the class alone in its place, without
running any of it; torch's restricted reader then reads the result.
"""

from __future__ import annotations

import io
import pickletools
from pathlib import Path
from typing import Any

_PUTS = ("BINPUT", "LONG_BINPUT", "PUT")
_GETS = ("BINGET", "LONG_BINGET", "GET")
_TEXTS = ("BINUNICODE", "SHORT_BINSTRING", "BINSTRING", "UNICODE")
_BEFORE = 3  # magic number, version and machine come before the network


def without_sources(path: Path) -> io.BytesIO:
    """The content of an old checkpoint file with every class bare.

    Raises:
        ValueError: The stream is damaged.
    """
    data = path.read_bytes()
    stream = io.BytesIO(data)
    for _ in range(_BEFORE):
        for _ in pickletools.genops(stream):
            pass
    start = stream.tell()
    operations = [(code.name, argument, at) for code, argument, at in pickletools.genops(stream)]
    end = stream.tell()
    return io.BytesIO(data[:start] + _rewritten(data, operations, end) + data[end:])


def _rewritten(data: bytes, operations: list[tuple[str, Any, int | None]], end: int) -> bytes:
    starts = [at or 0 for _, _, at in operations] + [end]
    pieces: list[bytes] = []
    texts: dict[int, tuple[Any, bytes]] = {}  # memo number -> text, and the operation that makes it
    gone: set[int] = set()
    for index, (name, argument, _) in enumerate(operations):
        piece = data[starts[index] : starts[index + 1]]
        if name in _PUTS and operations[index - 1][0] in _TEXTS:
            texts[int(argument)] = (operations[index - 1][1], data[starts[index - 1] : starts[index]])
        elif name in _GETS and int(argument) in gone:
            piece = texts[int(argument)][1]  # the text that was remembered is no longer in the stream
        elif name == "BINPERSID":
            found = _module_tuple(operations, index, texts)
            if found is not None:
                mark, keep = found
                dropped = [i for i in range(mark, index) if i not in keep]
                gone.update(int(operations[i][1]) for i in dropped if operations[i][0] in _PUTS)
                for i in dropped:
                    pieces[i] = b""
                piece = b""
        pieces.append(piece)
    return b"".join(pieces)


def _module_tuple(
    operations: list[tuple[str, Any, int | None]], index: int, texts: dict[int, tuple[Any, bytes]]
) -> tuple[int, set[int]] | None:
    """Where the tuple before a persistent id begins, and its operations that give the class; ``None`` for a storage."""
    mark = index
    while mark >= 0 and operations[mark][0] != "MARK":
        mark -= 1
    elements: list[list[int]] = []
    for i in range(mark + 1, index):
        if operations[i][0] in _PUTS and elements:
            elements[-1].append(i)
        else:
            elements.append([i])
    if mark < 0 or len(elements) < 3:
        return None
    name, argument, _ = operations[elements[0][0]]
    first = texts.get(int(argument), (None, b""))[0] if name in _GETS else argument
    return (mark, set(elements[1])) if first == "module" else None
