"""How is a call written down? The methods of HTTP, on a service and on each of its resources."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, cast, overload

from holdfast.client.call import Call
from holdfast.client.channel import Channel, Reading
from holdfast.client.fields import headers_of
from holdfast.client.payload import UNSET, Content, Payload, Unset, payload_of
from holdfast.client.plan import NOTHING, Plan
from holdfast.core.address import is_absolute
from holdfast.core.query import Query, encode_query
from holdfast.core.scalar import Scalar
from holdfast.core.template import template_of
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from typing_extensions import TypeForm

__all__ = ["Verbs"]

T = TypeVar("T")
A = TypeVar("A")
V = TypeVar("V", bound="_Verb")

_KEYED: Mapping[str, Any] = {"idempotent": True}


class _Verb:
    """A method of HTTP, on one service or resource."""

    __slots__ = ("_method", "_site")

    def __init__(self, site: Verbs, method: str) -> None:
        self._site = site
        self._method = method


class _Reading(_Verb):
    """One whose request has no body."""

    __slots__ = ()

    @overload
    def __call__(
        self,
        path: str,
        into: TypeForm[T],
        /,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        **values: Scalar,
    ) -> Call[T]: ...
    @overload
    def __call__(
        self,
        path: str,
        into: Callable[[Any], T],
        /,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        **values: Scalar,
    ) -> Call[T]: ...
    def __call__(
        self,
        path: str,
        into: Any,
        /,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        **values: Scalar,
    ) -> Call[Any]:
        call = self._site._call  # pyright: ignore[reportPrivateUsage]
        return call(self._method, path, into, query, headers, unwrap, operation, None, values)


class _Writing(_Verb):
    """One whose request may have a body. Without a type, what comes back is not looked at."""

    __slots__ = ()

    @overload
    def __call__(
        self,
        path: str,
        /,
        *,
        query: Query | None = None,
        json: Any = UNSET,
        content: Content | None = None,
        form: Query | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        idempotent: bool | Literal["key"] = False,
        **values: Scalar,
    ) -> Call[None]: ...
    @overload
    def __call__(
        self,
        path: str,
        into: TypeForm[T],
        /,
        *,
        query: Query | None = None,
        json: Any = UNSET,
        content: Content | None = None,
        form: Query | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        idempotent: bool | Literal["key"] = False,
        **values: Scalar,
    ) -> Call[T]: ...
    @overload
    def __call__(
        self,
        path: str,
        into: Callable[[Any], T],
        /,
        *,
        query: Query | None = None,
        json: Any = UNSET,
        content: Content | None = None,
        form: Query | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        idempotent: bool | Literal["key"] = False,
        **values: Scalar,
    ) -> Call[T]: ...
    def __call__(
        self,
        path: str,
        into: Any = None,
        /,
        *,
        query: Query | None = None,
        json: Any = UNSET,
        content: Content | None = None,
        form: Query | None = None,
        files: Any = None,
        headers: Mapping[str, str] | None = None,
        unwrap: str | Unset | None = UNSET,
        operation: str | None = None,
        idempotent: bool | Literal["key"] = False,
        **values: Scalar,
    ) -> Call[Any]:
        site = self._site
        payload = payload_of(json, content, form, files, site._channel.list_style)  # pyright: ignore[reportPrivateUsage]
        call = site._call  # pyright: ignore[reportPrivateUsage]
        return call(self._method, path, into, query, headers, unwrap, operation, payload, values, idempotent)


class verb(Generic[V]):
    """A method of HTTP as an attribute of `Verbs`: one signature for all that are alike."""

    def __init__(self, kind: Callable[[Verbs, str], V], method: str) -> None:
        self._kind = kind
        self._method = method

    def __get__(self, site: Verbs, owner: type) -> V:
        return self._kind(site, self._method)


class Verbs:
    """Makes calls under a prefix. A method of a subclass that returns ``self.GET(...)`` names the operation:
    ``Users.get``. Elsewhere it is the method and the template: ``GET /users/{id}``.

    ``into`` is the type of the value: whatever `holdfast.client.decode` takes, a function of the parsed JSON, or the
    HTTP library's Response. ``path`` is a template; its ``{names}`` come as keywords, one encoded segment each. It may
    be an absolute URL of the service's origin, or of an allowed one, which is used as it is.

    ``query``: parameters; None is left out. ``headers`` go over the service's. ``unwrap="data"``: the value is there
    in the body. ``operation`` names it otherwise. A body is one of ``json``, ``content`` (bytes, text, an iterator, or
    a function that makes one), ``form``, and ``files`` with or without ``form`` (multipart). ``idempotent``: True, it
    may be sent again; "key", it carries an ``Idempotency-Key`` that makes it so.

    Raises `InvalidInput`, which names the argument, before anything is sent, and `ForeignOrigin`.
    """

    GET = verb(_Reading, "GET")
    """Read a resource."""
    HEAD = verb(_Writing, "HEAD")
    """Read what GET would tell of it; `Call.reply` has the headers."""
    POST = verb(_Writing, "POST")
    """Have a resource act on a body: create one below it, most often."""
    PUT = verb(_Writing, "PUT")
    """Put a resource there as it is given."""
    PATCH = verb(_Writing, "PATCH")
    """Change part of a resource."""
    DELETE = verb(_Writing, "DELETE")
    """Take a resource away."""

    _channel: Channel
    _prefix: str
    _values: Mapping[str, Any]
    _operations: ClassVar[dict[CodeType, str | None]]

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls._operations = {}

    def _below(self, resource: type[A], base: type) -> A:
        """A resource under this one's path; ``base`` is the class of all of them."""
        if self._channel.validate == "strict":
            from holdfast.client.inputs import checked

            resource = checked(resource, base)
        make = cast("Callable[..., A]", resource)  # each is a Resource, which cannot be named here
        return make(self._channel, self._prefix, self._values)

    def _call(
        self,
        method: str,
        path: str,
        into: Any,
        query: Query | None,
        headers: Mapping[str, str] | None,
        unwrap: str | Unset | None,
        operation: str | None,
        payload: Payload | None,
        values: Mapping[str, Any],
        idempotent: bool | Literal["key"] = False,
    ) -> Call[Any]:
        channel = self._channel
        parameters = NOTHING if query is None else encode_query(query, channel.list_style)
        fields: Mapping[str, tuple[bytes, bytes]] = NOTHING if headers is None else headers_of(headers)
        options = NOTHING
        if idempotent:
            options = _KEYED
            if idempotent == "key":
                fields = {"idempotency-key": (b"Idempotency-Key", _fresh_key()), **fields}
        if path == "" or (path[0] == "/" and path[1:2] != "/"):
            template = template_of(self._prefix + path)
            filled = template.fill({**self._values, **values} if self._values else values)
            text, url = template.text, None
        else:
            text, filled, url = None, "", self._link(path, values, query)
        named = operation or self._operation(sys._getframe(2).f_code)  # pyright: ignore[reportPrivateUsage]
        name = named or f"{method} {text or channel.address.origin}"
        plan = Plan(method, text, filled, name, url, parameters, fields, payload, options, UNSET)
        return Call(channel, plan, Reading(into, unwrap))

    def _link(self, path: str, values: Mapping[str, Any], query: Query | None) -> str:
        if not is_absolute(path):
            raise InvalidInput(f"a path begins with a slash, got {path!r}", argument="path")
        if values or query:
            raise InvalidInput("an absolute URL is used as it is: no values go into it, and no query", argument="path")
        return self._channel.address.reach(path)[0]

    def _operation(self, code: CodeType) -> str | None:
        """``Users.get``, if this is the code of a method of this class; looked up once."""
        known = self._operations
        if code not in known:
            if len(known) > 1024:  # code that is compiled again and again
                known.clear()
            name = _method_with(type(self), code)
            known[code] = None if name is None else f"{type(self).__name__}.{name}"
        return known[code]


def _method_with(cls: type, code: CodeType) -> str | None:
    """The name of the method whose code this is, or that of a comprehension or a lambda in it."""
    qualified = code.co_qualname
    while qualified.endswith(">"):
        qualified = qualified.rpartition(".<locals>.")[0]
    name = qualified.rpartition(".")[2]
    for base in cls.__mro__:
        member: Any = vars(base).get(name)
        while member is not None:
            if _holds(getattr(member, "__code__", None), code):
                return name
            # behind a decorator, in a property
            member = getattr(member, "__wrapped__", None) or getattr(member, "fget", None)
    return None


def _holds(outer: Any, code: CodeType) -> bool:
    if outer is code:
        return True
    inner = getattr(outer, "co_consts", ())
    return any(_holds(each, code) for each in inner if isinstance(each, CodeType) and each.co_name.startswith("<"))


def _fresh_key() -> bytes:
    from uuid import uuid4

    return str(uuid4()).encode()
