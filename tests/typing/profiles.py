"""Services of the environment and of profiles as a user's editor sees them."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from holdfast.client import Service


class Shop(Service):
    pass


def a_service_is_of_its_class() -> None:
    assert_type(Shop.from_env("SHOP"), Shop)
    assert_type(Shop.from_env("SHOP", auth="basic", deadline=5.0), Shop)
    assert_type(Shop.from_profile("shop", Path("profiles.toml")), Shop)
    Shop.from_env("SHOP", auth="magic")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
