"""The README's example of a resource layer, as it stands there."""

from dataclasses import dataclass

from holdfast.client import Call, Resource, Service, accessor


@dataclass
class User:
    id: int
    name: str


class Users(Resource, path="/users"):
    def get(self, id: int) -> Call[User]:
        return self.GET("/{id}", User, id=id)


class Shop(Service):
    users = accessor(Users)


async def name_of(id: int, url: str = "https://api.example.com/v1") -> str:
    async with Shop(url) as shop:
        user = await shop.users.get(id)
        return user.name
