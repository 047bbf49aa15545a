"""What is to be sent? All of it as plain data, known before any object of an HTTP library exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from holdfast.call import OPTIONS, read_options
from holdfast.client.payload import UNSET
from holdfast.core.value import Value, replace

if TYPE_CHECKING:
    from holdfast._wire import AuthLike, Credential
    from holdfast.client.interceptors import Interceptor
    from holdfast.client.payload import Payload, Unset

__all__ = ["NOTHING", "Plan", "changed", "options_of"]

NOTHING: Final[Mapping[str, Any]] = {}
"""No headers, no parameters, no options: most plans share it, and nobody writes into it."""


class Plan(Value):
    """One request to be: which, where to, with what. Never changed, so calls that are derived share its parts.

    ``path`` is filled and encoded. ``url``, where it is not None, is a link to be followed character for character
    in its place, and ``query`` is nothing then. ``query`` has parameters by name, as they stand in the URL.
    ``headers`` has (name, value) by lower-case name. ``options`` are those of ``extensions["holdfast"]``.
    ``compress``: bodies of so many bytes are sent in gzip; not given, the service says.
    """

    def __init__(
        self,
        method: str,
        template: str | None,
        path: str,
        operation: str,
        url: str | None,
        query: Mapping[str, str],
        headers: Mapping[str, tuple[bytes, bytes]],
        payload: Payload | None,
        options: Mapping[str, Any],
        auth: AuthLike | Credential | tuple[str, str] | Unset | None,
        around_call: tuple[Interceptor, ...] = (),
        around_attempt: tuple[Interceptor, ...] = (),
        compress: int | Unset | None = UNSET,
    ) -> None:
        self.method: Final = method
        self.template: Final = template
        self.path: Final = path
        self.operation: Final = operation
        self.url: Final = url
        self.query: Final = query
        self.headers: Final = headers
        self.payload: Final = payload
        self.options: Final = options
        self.auth: Final = auth
        self.around_call: Final = around_call
        self.around_attempt: Final = around_attempt
        self.compress: Final = compress

    def target(self, base: str) -> str:
        """The whole URL under a base URL."""
        if self.url is not None:
            return self.url
        query = "&".join(filter(None, self.query.values())) if self.query else ""
        return f"{base}{self.path}?{query}" if query else f"{base}{self.path}"


def changed(plan: Plan, **changes: Any) -> Plan:
    """A copy that differs in these."""
    return replace(plan, **changes)


def options_of(options: Mapping[str, Any] | None = None, **given: Any) -> Mapping[str, Any]:
    """Per-request options: what is ``given``, where it is not None, and ``options`` over it.

    Raises `InvalidOption` here, and not when they are sent.
    """
    merged = {name: value for name, value in given.items() if value is not None}
    if options:
        merged |= options
    read_options({OPTIONS: merged})
    return merged or NOTHING
