"""Which request bodies are sent gzip-encoded? Those that are long enough, and get shorter by it.

The same bytes always make the same bytes, so that a body can be sent again, signed and compared.
"""

from __future__ import annotations

import re
import zlib
from typing import Final

__all__ = ["gzipped"]

_COMPRESSED: Final = (
    r"(?i)(?:image/(?!svg|bmp)|video/|audio/(?!wav)|font/woff|application/(?:zip|gzip|x-gzip|zstd|x-7z|x-bzip2|x-xz|vnd\.rar|pdf"
    r"|vnd\.openxmlformats|epub))"
)
_QUICKLY: Final = 256 * 1024  # beyond it an event loop would be held up for more than some milliseconds
_GZIP: Final = 31  # zlib's window bits for the gzip format, whose header then has no time


def gzipped(body: bytes, media_type: str | None, at_least: int) -> bytes | None:
    """The body in gzip (RFC 1952); None if it goes as it is.

    That is so below ``at_least`` bytes, for media types that are compressed already, and where it would not get
    shorter.
    """
    if len(body) < at_least or (media_type is not None and re.match(_COMPRESSED, media_type.strip())):
        return None
    made = zlib.compress(body, 6 if len(body) <= _QUICKLY else 1, _GZIP)
    return made if len(made) < len(body) else None
