"""Picture files as hospitals have them: odd but right ones, and broken ones with the reason they are refused for."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIDE = 64

# What is odd about a right file -> how far its pixels may lie from the plain picture (0: equal; None: another picture).
ODD: dict[str, float | None] = {
    "plain.png": 0,
    "deep.png": 0,
    "deep.tif": 0,
    "wide.png": 0,
    "wide.tif": 0,
    "wide_deep.tif": 0,
    "opaque.png": 0,
    "wide.jpg": 6,
    "cmyk.jpg": 12,
    "cmyk.tif": 2,
    "palette.png": 30,
    "holes.png": None,
    "grey.png": None,
    "grey_deep.png": None,
    "bits.png": None,
}
# What is broken -> words of the reason.
BROKEN: dict[str, str] = {
    "half.tif": "half-written: 2 of its 4 strips hold no data",
    "half_deep.tif": "half-written",
    "cut.tif": "cut off",
    "early.tif": "end too early",
    "jpeg_inside.tif": "lacks its end mark",
    "cut.jpg": "cut off",
    "cut.png": "cut off",
    "short.png": "Not enough image data",
    "zero.png": "empty (0 bytes)",
    "moving.gif": "a GIF",
    "moving.png": "animated PNG",
    "bomb.png": "60000 x 60000 pixels, more than the 100 million allowed",
    "bomb.jpg": "60000 x 60000 pixels, more than the 100 million allowed",
    "bomb.tif": "60000 x 60000 pixels, more than the 100 million allowed",
    "pages.tif": "2 pages",
    "float.tif": "floating-point",
}


def plain(seed: int = 0) -> np.ndarray:
    """A smooth colour picture, RGB uint8 (64, 64, 3), bright on the left."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    waves = np.stack([np.sin(5 * x + 3 * y + p) for p in phase], axis=-1)
    return np.rint(120 + 60 * waves + 40 * (1 - x)[..., None]).astype(np.uint8)


def png(width: int, height: int, rows: bytes, *, bits: int = 8) -> bytes:
    """A PNG that promises `width` x `height` RGB pixels and ends properly after `rows`."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def wide_profile() -> bytes:
    """A matrix profile (ICC.1:2001) with primaries far outside sRGB (ProPhoto's, D50) and gamma 1.8."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    gamma = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(1.8 * 256)) + b"\0\0"
    words = b"wide\0"
    desc = b"desc\0\0\0\0" + struct.pack(">I", len(words)) + words + bytes(78)
    tags = {
        b"desc": desc + b"\0" * (-len(desc) % 4),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.7977, 0.2880, 0.0),
        b"gXYZ": xyz(0.1352, 0.7119, 0.0),
        b"bXYZ": xyz(0.0313, 0.0001, 0.8249),
        b"rTRC": gamma,
        b"gTRC": gamma,
        b"bTRC": gamma,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
    }
    table, body, start = struct.pack(">I", len(tags)), b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    size = 128 + len(table) + len(body)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    assert len(header) == 128, len(header)
    return header + table + body


def strips_never_written(path: Path, first: int) -> None:
    """Set place and size of every strip from number `first` on to 0, as a writer that was killed leaves them."""
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tags = [page.tags[code] for code in (273, 279)]
        places = [(t.valueoffset, t.count, {3: 2, 4: 4, 16: 8}[int(t.dtype)]) for t in tags]
    data = bytearray(path.read_bytes())
    for offset, count, size in places:
        data[offset + first * size : offset + count * size] = bytes((count - first) * size)
    path.write_bytes(data)


def put_odd(folder: Path) -> None:
    """Write every file of ``ODD``."""
    array, profile = plain(), wide_profile()
    picture, deep = Image.fromarray(array), array.astype(np.uint16) * 257
    picture.save(folder / "plain.png")
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (folder / "deep.png").write_bytes(png(SIDE, SIDE, rows, bits=16))
    tifffile.imwrite(folder / "deep.tif", deep, photometric="rgb")
    for name in ("wide.png", "wide.tif", "wide.jpg"):
        picture.save(folder / name, icc_profile=profile, **({"quality": 98} if name.endswith("jpg") else {}))
    tifffile.imwrite(folder / "wide_deep.tif", deep, photometric="rgb", iccprofile=profile)
    opaque = np.dstack([array, np.full((SIDE, SIDE), 255, np.uint8)])
    Image.fromarray(opaque).save(folder / "opaque.png")
    opaque[:20, :, 3] = 0
    Image.fromarray(opaque).save(folder / "holes.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=98)
    picture.convert("CMYK").save(folder / "cmyk.tif")
    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(folder / "palette.png")
    picture.convert("L").save(folder / "grey.png")
    Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257).save(folder / "grey_deep.png")
    picture.convert("1").save(folder / "bits.png")


def put_broken(folder: Path) -> None:
    """Write every file of ``BROKEN``; none is larger than 100 kB."""
    array = plain(1)
    picture = Image.fromarray(array)
    for name, values in (("half.tif", array), ("half_deep.tif", array.astype(np.uint16) * 257)):
        tifffile.imwrite(folder / name, values, photometric="rgb", rowsperstrip=16)
        strips_never_written(folder / name, 2)
    tifffile.imwrite(folder / "cut.tif", array, photometric="rgb")
    (folder / "cut.tif").write_bytes((folder / "cut.tif").read_bytes()[:9000])
    for name, compression in (("early.tif", "zlib"), ("jpeg_inside.tif", "jpeg")):
        tifffile.imwrite(folder / name, array, photometric="rgb", compression=compression, rowsperstrip=32)
        with tifffile.TiffFile(folder / name) as tiff:
            start, size = tiff.pages[0].dataoffsets[1], tiff.pages[0].databytecounts[1]
        data = bytearray((folder / name).read_bytes())
        data[start + size // 2 : start + size] = bytes(size - size // 2)
        (folder / name).write_bytes(data)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=95)
    (folder / "cut.jpg").write_bytes(jpeg.getvalue()[: len(jpeg.getvalue()) // 2])
    whole = io.BytesIO()
    picture.save(whole, "PNG")
    (folder / "cut.png").write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    (folder / "short.png").write_bytes(png(SIDE, SIDE, b"".join(b"\0" + row.tobytes() for row in array[:30])))
    (folder / "zero.png").write_bytes(b"")
    frames = [Image.fromarray(plain(seed)) for seed in (2, 3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(folder / "moving.png", save_all=True, append_images=frames[1:])
    (folder / "bomb.png").write_bytes(png(60000, 60000, bytes(50_000)))
    data = bytearray(jpeg.getvalue())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    (folder / "bomb.jpg").write_bytes(data)
    tifffile.imwrite(folder / "bomb.tif", array, photometric="rgb")
    with tifffile.TiffFile(folder / "bomb.tif", mode="r+") as tiff:
        for code in (256, 257):
            tiff.pages[0].tags[code].overwrite(60000)
    tifffile.imwrite(folder / "pages.tif", np.stack([array, array]), photometric="rgb")
    tifffile.imwrite(folder / "float.tif", array.astype(np.float32) / 255, photometric="rgb")
