"""From an uploaded file to plain UTF-8: size limits, gzip, encoding."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path

from data.errors import InvalidDataset, RowProblem

MAX_PACKED_BYTES = 50_000_000
MAX_UNPACKED_BYTES = 50_000_000
MAX_RATIO = 100  # unpacked to packed; real text stays below 20
RATIO_FREE_BYTES = 1_000_000  # a file that unpacks to no more than this may have any ratio

_GZIP_MAGIC = b"\x1f\x8b"
# UTF-32-LE begins like UTF-16-LE.
_WIDE_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_CHUNK_BYTES = 1 << 20


def read_utf8(source: bytes | Path, name: str, max_bytes: int = MAX_PACKED_BYTES) -> bytes:
    """The unpacked bytes of a file, valid UTF-8 without a byte order mark and without NULs.

    Raises:
        InvalidDataset: it is empty, above `max_bytes` packed or this module's limits unpacked, damaged gzip,
            not UTF-8, or it holds a NUL.
    """
    size_bytes = source.stat().st_size if isinstance(source, Path) else len(source)
    if size_bytes > max_bytes:
        raise refuse(name, f"the file has {size_bytes:,} bytes; at most {max_bytes:,} are accepted")
    packed = source.read_bytes() if isinstance(source, Path) else source
    is_gzip = packed.startswith(_GZIP_MAGIC) or name.lower().endswith(".gz")
    return _check_utf8(_unpack(packed, name) if is_gzip else packed, name)


def refuse(name: str, reason: str, line: int = 0) -> InvalidDataset:
    """The error for a file with one problem; `line` is 0 when the file as a whole is wrong."""
    problem = RowProblem(line, reason)
    return InvalidDataset(f"{name!r}: {problem}.", (problem,))


def _unpack(packed: bytes, name: str) -> bytes:
    """Unpacks chunk by chunk and stops at the limit, so a gzip bomb costs no more than an honest file."""
    by_ratio_bytes = max(RATIO_FREE_BYTES, MAX_RATIO * len(packed))
    unpacked = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                unpacked += chunk
                if len(unpacked) > MAX_UNPACKED_BYTES:
                    raise refuse(name, f"the file unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
                if len(unpacked) > by_ratio_bytes:
                    raise refuse(name, f"the file unpacks to more than {MAX_RATIO} times its size")
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise refuse(name, "the gzip data are damaged or cut short; pack the file again") from error
    return bytes(unpacked)


def _check_utf8(raw: bytes, name: str) -> bytes:
    head = raw[:4096]
    # In UTF-16 and UTF-32 at least every second byte of Latin text is NUL; honest text has none.
    if raw.startswith(_WIDE_BOMS) or (head and head.count(0) * 4 >= len(head)):
        raise refuse(name, "the file is UTF-16 or UTF-32; save it as UTF-8")
    raw = raw.removeprefix(codecs.BOM_UTF8)
    if not raw.strip():
        raise refuse(name, "the file is empty")
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        reason = f"byte 0x{raw[error.start]:02x} at offset {error.start:,} is not UTF-8; save it as UTF-8"
        raise refuse(name, reason, _line_of(error.start, raw)) from error
    if (offset := raw.find(0)) >= 0:
        reason = f"there is a NUL at offset {offset:,}, which no database can store"
        raise refuse(name, reason, _line_of(offset, raw))
    return raw


def _line_of(offset: int, raw: bytes) -> int:
    return raw.count(b"\n", 0, offset) + 1
