"""How is the usual part of an API written down? A class of two lines: list, get, create, update, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

from holdfast.client.resource import Resource
from holdfast.core.query import Query
from holdfast.core.scalar import Scalar
from holdfast.errors import InvalidInput

if TYPE_CHECKING:
    from holdfast.client.call import Call
    from holdfast.client.pages import Pages
    from holdfast.core.paging import PagingRule

__all__ = ["Crud"]

T = TypeVar("T")
UpdateBy = Literal["PATCH", "PUT"]


class Crud(Resource, Generic[T]):
    """A collection of one type: ``class Users(Crud[User], path="/users")``, and methods of your own besides.

    ``paging`` is how its pages hang together (default: the service's), ``update_by`` the method of `update`: "PATCH"
    (the default) sends changes, "PUT" all of it. Operations are named after the class: ``Users.list``.

    >>> from holdfast.client import Service, accessor
    >>> class Users(Crud[dict[str, str]], path="/users"): ...
    >>> class Shop(Service):
    ...     users = accessor(Users)
    >>> print(Shop("https://api.example.com").users.delete(1).as_curl())
    curl -X DELETE https://api.example.com/users/1
    """

    paging: ClassVar[PagingRule | None] = None
    update_by: ClassVar[UpdateBy] = "PATCH"
    _item: ClassVar[Any] = None

    def __init_subclass__(
        cls, *, paging: PagingRule | None = None, update_by: UpdateBy | None = None, **settings: Any
    ) -> None:
        super().__init_subclass__(**settings)
        if paging is not None:
            cls.paging = paging
        if update_by is not None:
            if update_by not in ("PATCH", "PUT"):
                raise InvalidInput(f'update_by is "PATCH" or "PUT", got {update_by!r}', argument="update_by")
            cls.update_by = update_by
        for base in vars(cls).get("__orig_bases__", ()):
            origin, arguments = get_origin(base), get_args(base)
            if isinstance(origin, type) and issubclass(origin, Crud) and not isinstance(arguments[0], TypeVar):
                cls._item = arguments[0]

    def list(
        self, parameters: Query | None = None, /, **named: Scalar | Sequence[Scalar] | Set[Scalar] | None
    ) -> Pages[T]:
        """All of them, page by page; with these parameters in the query, None left out."""
        from holdfast.client.pages import pages_in

        many: Any = GenericAlias(list, (self._type(),))
        call = self.GET("", many, query={**(parameters or {}), **named})
        return pages_in(call, self._channel, self.paging)

    def get(self, id: Scalar) -> Call[T]:
        """The one of this id."""
        return self.GET("/{id}", self._type(), id=id)

    def create(self, value: T | Mapping[str, Any], *, idempotent: bool | Literal["key"] = False) -> Call[T]:
        """Add one; as the server has it then. ``idempotent`` as with ``POST``."""
        return self.POST("", self._type(), json=value, idempotent=idempotent)

    def update(self, id: Scalar, changes: T | Mapping[str, Any]) -> Call[T]:
        """Change the one of this id; as the server has it then."""
        verb = self.PATCH if self.update_by == "PATCH" else self.PUT
        return verb("/{id}", self._type(), json=changes, id=id)

    def delete(self, id: Scalar) -> Call[None]:
        """Take the one of this id away."""
        return self.DELETE("/{id}", id=id)

    def _type(self) -> Any:
        if self._item is None:
            raise InvalidInput(f"{type(self).__name__} does not say of what it is: class Users(Crud[User])")
        return self._item
