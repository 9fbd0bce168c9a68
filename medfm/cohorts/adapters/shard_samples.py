"""The samples of webdataset shards: members that share a key are a picture, its caption, its label.

The layout is that of the webdataset package: ``KEY.ENDING``, the key ending at the first dot of the file
name; ``.txt`` a caption, ``.cls`` a class, ``.json`` more of both. See github.com/webdataset/webdataset.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medfm.cohorts.adapters.pair_rows import CARRIED, LeftOut, Picture, captions_of, facts_of, one_line
from medfm.core.errors import ReadError
from medfm.io.formats import IMAGE_SUFFIXES, describe, image_format
from medfm.io.tar_members import Member, TarIndex, index_tar, read_member

PICTURES = frozenset(suffix[1:] for suffixes in IMAGE_SUFFIXES.values() for suffix in suffixes)
TEXTS, LABELS, RECORDS = ("txt", "caption", "text"), ("cls", "cls2"), ("json",)
CAPTION_KEYS = ("caption", "text", "captions", "title")
_KEY = re.compile(r"((?:.*/)?[^/.][^/.]*)\.([^/]+)", re.DOTALL)
_SPLIT = re.compile(r"(?:^|[/_.-])(train|val|valid|validation|test)(?:[/_.-]|$)")
# Captions and labels are small; anything larger is something else.
_MOST_TEXT = 4_000_000


def find_shards(source: Path) -> tuple[list[Path], list[Path]]:
    """Plain shards at or below `source` in order of their names, and packed ones."""
    if source.is_file():
        return ([source], []) if source.suffix.lower() == ".tar" else ([], [source])
    files = sorted(f for f in source.rglob("*") if f.is_file() and not f.name.startswith("."))
    packed = [f for f in files if f.name.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))]
    return [f for f in files if f.suffix.lower() == ".tar"], packed


def split_by_name(shards: list[str]) -> dict[str, str]:
    """The split of every shard by a word in its path (``train/0001.tar``, ``set-val-0001.tar``); all or none."""
    found = {}
    for shard in shards:
        words = _SPLIT.findall(shard.lower().removesuffix(".tar"))
        if not words:
            return {}
        found[shard] = {"valid": "val", "validation": "val"}.get(words[0], words[0])
    return found


def shard_pictures(
    shard: Path, name: str, columns: Mapping[str, str], left_out: LeftOut
) -> tuple[list[Picture], str | None]:
    """The pictures of one shard.

    Args:
        shard: The file.
        name: Its path relative to the cohort's root.
        columns: Column of the cohort -> key of the ``.json`` members; ``text`` for other captions.
        left_out: Gets what is malformed.

    Returns:
        The pictures, and why the shard is cut off or damaged (``None``: it is whole).

    Raises:
        ReadError: It is packed, or no tar file at all.
    """
    index = index_tar(shard)
    for member, reason in index.refused:
        left_out.add(f"{name}: {member}", f"a member of the shard: {reason}")
    stem = name[: -len(".tar")] if name.lower().endswith(".tar") else name
    found = []
    for key, parts in _samples(index, name, left_out):
        try:
            found.append(_picture(shard, name, stem, key, parts, columns))
        except ReadError as error:
            left_out.add(f"{name}: {key}", error.what)
    return found, index.damage


def _samples(index: TarIndex, name: str, left_out: LeftOut) -> Iterator[tuple[str, dict[str, tuple[str, Member]]]]:
    """Members by key and ending, in the order of the first member of each key."""
    samples: dict[str, dict[str, tuple[str, Member]]] = {}
    for member, place in index.members.items():
        match = _KEY.fullmatch(member)
        if match is None:
            left_out.add(f"{name}: {member}", "a member of the shard: its name has no key and ending (KEY.jpg)")
            continue
        key, ending = match[1].removeprefix("./"), match[2].lower()
        parts = samples.setdefault(key, {})
        if ending in parts:
            # a.JPG beside a.jpg, or ./a.jpg beside a.jpg
            parts[f"{ending} again"] = (member, place)
        parts[ending] = (member, place)
    yield from samples.items()


def _picture(
    shard: Path,
    name: str,
    stem: str,
    key: str,
    parts: Mapping[str, tuple[str, Member]],
    columns: Mapping[str, str],
) -> Picture:
    if any(ending.endswith(" again") for ending in parts):
        raise ReadError("two members of the sample have one ending")
    pictures = [ending for ending in parts if ending.rpartition(".")[2] in PICTURES]
    if not pictures:
        raise ReadError("the sample has no picture (.jpg, .png, .tif, .bmp)")
    if len(pictures) > 1:
        raise ReadError("the sample has several pictures")
    member, place = parts[pictures[0]]
    head = _head(shard, place)
    if image_format(head) is None:
        raise ReadError(f"its picture is {describe(head) if head else 'empty'}")
    record = _record(shard, parts)
    captions = _captions(shard, parts, record, columns)
    facts: dict[str, Any] = facts_of(
        record, {c: c for c in CARRIED} | {k: v for k, v in columns.items() if k not in ("path", "text")}
    )
    label = _text(shard, parts, LABELS)
    if label is not None and one_line(label):
        if facts.get("label", one_line(label)) != one_line(label):
            raise ReadError("the sample has two labels that differ (.cls and .json)")
        facts["label"] = one_line(label)
    spot = {"path": name, "member": member, "member_offset": place.offset}
    return Picture(f"{stem}/{key}", spot, captions, facts, f"{name}: {key}")


def _captions(
    shard: Path, parts: Mapping[str, tuple[str, Member]], record: Mapping[str, Any], columns: Mapping[str, str]
) -> tuple[str, ...]:
    said = [text for ending in TEXTS if (text := _text(shard, parts, (ending,))) is not None]
    # A column that was named counts alone.
    keys = (columns["text"],) if "text" in columns else CAPTION_KEYS
    listed = next((captions_of(record[key]) for key in keys if record.get(key) is not None), ())
    if "text" in columns:
        return listed
    different = {one_line(text) for text in said} - {""}
    if len(different) > 1 or (different and listed and not different & {one_line(text) for text in listed}):
        raise ReadError("the sample has two captions that differ (.txt and .json)")
    return tuple(dict.fromkeys([*said, *listed]))


def _record(shard: Path, parts: Mapping[str, tuple[str, Member]]) -> Mapping[str, Any]:
    text = _text(shard, parts, RECORDS)
    if text is None:
        return {}
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ReadError("its .json cannot be read") from error
    if not isinstance(record, dict):
        raise ReadError("its .json is no object of keys and values")
    return record


def _text(shard: Path, parts: Mapping[str, tuple[str, Member]], endings: tuple[str, ...]) -> str | None:
    for ending in endings:
        if ending in parts:
            member, place = parts[ending]
            if place.size > _MOST_TEXT:
                raise ReadError(f"its .{ending} is larger than {_MOST_TEXT // 1_000_000} MB")
            try:
                return read_member(shard, member, place.offset).decode("utf-8-sig")
            except UnicodeDecodeError as error:
                raise ReadError(f"its .{ending} is not UTF-8 text") from error
    return None


def _head(shard: Path, place: Member) -> bytes:
    try:
        with shard.open("rb") as handle:
            handle.seek(place.offset)
            return handle.read(min(place.size, 256))
    except OSError as error:
        raise ReadError(f"the shard cannot be read: {error.strerror or error}") from error
