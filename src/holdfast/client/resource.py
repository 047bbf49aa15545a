"""What are the parts of an API? Classes of plain methods, hung on a service by `accessor`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from holdfast.client.plan import NOTHING
from holdfast.client.verbs import Verbs
from holdfast.core.template import template_of

if TYPE_CHECKING:
    from typing import Self

    from holdfast.client.channel import Channel

__all__ = ["Resource", "accessor"]

A = TypeVar("A", bound="Resource")


class Resource(Verbs):
    """Methods for one part of an API: ``class Users(Resource, path="/users")``.

    Each method builds a call with ``self.GET(...)`` and its like, whose paths go behind ``path``. Placeholders of
    ``path`` are filled by `at`, most often in a ``__call__`` of the class's own, whose signature says what they are:

    >>> class Orgs(Resource, path="/orgs/{org}"):
    ...     def __call__(self, org: str) -> "Orgs":
    ...         return self.at(org=org)

    Shared state is the service's; a resource has none. In a class with a method ``list``, a later annotation
    ``list[X]`` means that method: write ``Pages[X]``, or put it first.
    """

    path = ""

    def __init_subclass__(cls, *, path: str | None = None, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        if path is not None:
            template_of(path)  # raises here, and not when the first call is made
            cls.path = path.rstrip("/")

    def __init__(self, channel: Channel, prefix: str = "", values: Mapping[str, Any] = NOTHING) -> None:
        self._channel = channel
        self._prefix = prefix + self.path
        self._values = values

    def at(self, **values: Any) -> Self:
        """This resource with placeholders of its path filled. Raises `InvalidInput` for a name that is not there."""
        template = template_of(self._prefix)
        filled = {**self._values, **values}
        template.check(filled)
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)  # what a subclass keeps
        for name in [name for name, value in vars(made).items() if isinstance(value, Resource)]:
            del made.__dict__[name]  # made by accessors, with the values of this one
        made._values = filled
        return made


class accessor(Generic[A]):
    """A resource as an attribute of a service, or of another resource, under whose path it then is.

    >>> from holdfast.client import Service
    >>> class Users(Resource, path="/users"): ...
    >>> class Shop(Service):
    ...     users = accessor(Users)
    >>> shop = Shop("https://api.example.com")
    >>> shop.users is shop.users
    True
    """

    def __init__(self, resource: type[A]) -> None:
        self.resource = resource
        self._name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: Verbs, owner: type) -> A: ...
    def __get__(self, instance: Verbs | None, owner: type) -> Self | A:
        if instance is None:
            return self
        made = instance._below(self.resource, Resource)  # pyright: ignore[reportPrivateUsage]
        vars(instance)[self._name] = made  # found before this descriptor from now on
        return made
