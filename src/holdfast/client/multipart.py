"""How does a form with long files leave? Part by part (RFC 7578), each file as its `Upload` sends it.

Forms without an `Upload` are the HTTP library's to write: it reads their files on the event loop, and they are sent
once.
"""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, Final, TypeAlias, cast

from holdfast.client.upload import Upload
from holdfast.errors import InvalidInput

__all__ = ["Form", "form_of"]

Part: TypeAlias = "bytes | Upload"


class Form:
    """A body of ``fields`` and ``files``, made once, so that it is the same in each attempt. See `Upload`."""

    def __init__(self, fields: Mapping[str, str | list[str]], files: Iterable[tuple[str, Any]]) -> None:
        self.fields: Final = fields
        self.files: Final = [*files]
        self._boundary = token_hex(16)
        self._parts: list[Part] = []
        for name, value in fields.items():
            for text in value if isinstance(value, list) else [value]:
                self._add(name, text.encode())
        for name, file in self.files:
            self._add_file(name, file)
        self._parts.append(f"--{self._boundary}--\r\n".encode())

    @property
    def type(self) -> str:
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def replayable(self) -> bool:
        """Whether it can be sent again: all of its files can."""
        return all(part.replayable for part in self._parts if isinstance(part, Upload))

    def length(self) -> int | None:
        """Bytes that there are to send; None if nobody knows. Raises OSError."""
        lengths = [part.length() if isinstance(part, Upload) else len(part) for part in self._parts]
        return None if None in lengths else sum(cast("list[int]", lengths))

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Joined(self._parts)

    def _add_file(self, name: str, file: Any) -> None:
        filename, content, kind, headers = _told(file)
        if isinstance(content, str):
            content = content.encode()
        if not isinstance(content, (bytes, Upload)):
            raise InvalidInput(f"the file {name} of a form with an Upload is one too, or bytes", argument="files")
        if filename is None:
            path = content.path if isinstance(content, Upload) else None
            filename = "upload" if path is None else Path(path).name
        kind = kind or mimetypes.guess_type(filename)[0] or "application/octet-stream"
        self._add(name, content, f'; filename="{_quoted(filename)}"', {"Content-Type": kind, **(headers or {})})

    def _add(self, name: str, content: Part, more: str = "", headers: Mapping[str, str] | None = None) -> None:
        lines = [f"--{self._boundary}", f'Content-Disposition: form-data; name="{_quoted(name)}"{more}']
        lines += [f"{field}: {value}" for field, value in (headers or {}).items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise InvalidInput(f"a header field of the part {name} is no line of text", argument="files")
        self._parts += ["\r\n".join([*lines, "", ""]).encode(), content, b"\r\n"]


class _Joined:
    """One part's pieces after another's. Not a generator, because trio warns of one that is left half-way."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = iter(parts)
        self._pieces: AsyncIterator[bytes] | None = None

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            piece = None if self._pieces is None else await anext(self._pieces, None)
            if piece is not None:
                return piece
            part = next(self._parts, None)
            if part is None:
                raise StopAsyncIteration
            if isinstance(part, bytes):
                self._pieces = None
                return part
            self._pieces = aiter(part)


def form_of(fields: Mapping[str, str | list[str]], files: Any) -> Form | None:
    """The form, if one of its files is an `Upload`; None if it is for the library to write. Raises `InvalidInput`."""
    named: list[tuple[str, Any]] = [*(files.items() if isinstance(files, Mapping) else files)]
    return Form(fields, named) if any(isinstance(_told(file)[1], Upload) for _, file in named) else None


def _told(file: Any) -> list[Any]:
    """Filename, content, type and header fields of what the library takes: a content, or a tuple of the first few."""
    several = file
    given: list[Any] = [*several] if isinstance(file, tuple) else [None, file]
    return [*given, None, None, None][:4]


def _quoted(text: str) -> str:
    """As the HTML standard has it: nothing of a name ends the field that it stands in."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
