"""The secret that new UIDs, patient ids and date shifts come from: a file that stays with its owner."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from medfm.core.errors import ConfigError, ReadError
from medfm.core.files import make_folder, write_error

_BYTES = 32
_DAYS = (400, 3652)  # between one and ten years: never the true year, never a date to come


class Key:
    """Derives everything that must be consistent; the same secret gives the same answers on every machine.

    HMAC-SHA-256 of the old value under the secret: without the secret nobody can compute or test the new one.

    Args:
        secret: At least 16 bytes.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < 16:
            raise ConfigError("The key is too short to be secret.", expected="at least 16 bytes")
        self._secret = secret

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.new(self._secret, f"{kind}|{value}".encode(), hashlib.sha256).digest()

    def uid(self, old: str) -> str:
        """A new UID, ``2.25.`` and a number of at most 39 digits (PS3.5 B.2), for `old`."""
        number = int.from_bytes(self._digest("uid", old)[:16], "big")
        return f"2.25.{number}"

    def patient(self, old: str) -> str:
        """A new patient id: ``P`` and 12 letters and digits (60 bits)."""
        return "P" + base64.b32encode(self._digest("patient", old)[:8]).decode()[:12]

    def days(self, old: str) -> int:
        """By how many whole days the dates of patient `old` move into the past."""
        low, high = _DAYS
        return low + int.from_bytes(self._digest("days", old)[:8], "big") % (high - low + 1)

    def name(self, content: bytes) -> str:
        """A file name for a file of this content: 20 characters that tell nothing."""
        return self._digest("file", hashlib.sha256(content).hexdigest())[:10].hex()

    @property
    def mark(self) -> str:
        """Eight characters that tell two keys apart and give nothing of them away."""
        return self._digest("mark", "")[:4].hex()


def read_key(path: str | Path, *, create: bool = True) -> tuple[Key, bool]:
    """The key in a file, made (readable by its owner alone) where there is none; and whether it was made.

    Raises:
        ReadError: The file holds no key, or others may read it.
        StoreError: It cannot be written.
    """
    file = Path(path).expanduser()
    if not file.exists():
        if not create:
            raise ReadError("There is no key file.", where=str(file))
        make_folder(file.parent)
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise write_error(error, file) from error
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(secrets.token_hex(_BYTES) + "\n")
        return read_key(file, create=False)[0], True
    try:
        text = file.read_text(encoding="ascii").strip()
        mode = stat.S_IMODE(file.stat().st_mode)
        secret = bytes.fromhex(text)
    except (OSError, ValueError) as error:
        raise ReadError("This file holds no key.", where=str(file), expected="64 hexadecimal digits") from error
    if os.name != "nt" and mode & 0o077:
        raise ReadError(
            "The key can be read by others on this machine.", where=str(file), fix="chmod 600 FILE, or make a new one"
        )
    if len(secret) < 16:
        raise ReadError("This file holds no key.", where=str(file), expected="64 hexadecimal digits")
    return Key(secret), False
