"""Texts that are shown nowhere: not by ``repr``, ``str`` or ``vars``, not among a traceback's locals; not pickled."""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Final, NoReturn

from holdfast.core.masking import MASK

__all__ = ["Hidden", "Secret"]


class Secret:
    """A password, key or token. Only `reveal` gives it, so a search for that word finds every place that sees it.

    Compared in constant time, equal to a `Secret` alone. Raises ValueError for an empty one: that is a setting which
    nobody has made. What it cannot do: keep the text out of the process's memory.

    >>> Secret("s3cr3t")
    Secret('***')
    >>> f"{Secret('s3cr3t')}", Secret("s3cr3t") == Secret("s3cr3t"), Secret("s3cr3t").reveal()
    ('***', True, 's3cr3t')
    """

    __slots__ = ("__text",)  # a slot, so that vars() has nothing

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]  (a bytes would be shown as one)
            raise TypeError(f"a secret is a str, got {type(text).__name__}")
        if not text:
            raise ValueError("a secret must not be empty")
        self.__text: Final = text

    @classmethod
    def of(cls, text: str | Secret) -> Secret:
        """The secret itself, or one of this text."""
        return text if isinstance(text, Secret) else cls(text)

    def reveal(self) -> str:
        """The text."""
        return self.__text

    def fingerprint(self, purpose: bytes) -> str:
        """32 hex digits that tell this secret from others. Of a long random one, they say nothing else."""
        return blake2b(self.__text.encode("utf-8", "surrogatepass"), digest_size=16, person=purpose).hexdigest()

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = (text.encode("utf-8", "surrogatepass") for text in (self.__text, other.__text))
        return hmac.compare_digest(mine, theirs)

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled: where it is unpickled, it would lie open in a file or on a wire")


class Hidden(Mapping[str, str]):
    """A mapping, such as the environment of a process, whose values no repr shows.

    >>> Hidden({"TOKEN": "s3cr3t"})
    Hidden(1 names)
    """

    __slots__ = ("__values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.__values: Final = values

    def __getitem__(self, name: str) -> str:
        return self.__values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__values)

    def __len__(self) -> int:
        return len(self.__values)

    def __repr__(self) -> str:
        return f"Hidden({len(self)} names)"
