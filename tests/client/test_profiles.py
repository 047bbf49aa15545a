"""A service as the environment or a profile says; what is missing is named, and no secret told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import InvalidInput
from holdfast.testing.faulty import Answer, FaultyServer
from tests.client.api import Shop
from tests.support import FamilyModules

SECRET = "hunter2-s3cr3t"
URL = "https://api.example.com/v1"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("auth", "variables", "field"),
    [
        ("bearer", {"SHOP_TOKEN": SECRET}, ("authorization", f"Bearer {SECRET}")),
        ("basic", {"SHOP_USERNAME": "ada", "SHOP_PASSWORD": "x"}, ("authorization", "Basic YWRhOng=")),
        ("api_key", {"SHOP_API_KEY": SECRET}, ("x-api-key", SECRET)),
        ("api_key", {"SHOP_API_KEY": SECRET, "SHOP_API_KEY_HEADER": "X-Token"}, ("x-token", SECRET)),
        (None, {"SHOP_USER_AGENT": "shop/2"}, ("user-agent", "shop/2")),
        (("ada", "x"), {}, ("authorization", "Basic YWRhOng=")),
    ],
    ids=["bearer", "basic", "key", "key in a field", "none", "given"],
)
async def test_what_the_environment_says_arrives(
    family: FamilyModules, environ: Any, auth: Any, variables: dict[str, str], field: tuple[str, str]
) -> None:
    async with FaultyServer() as server:
        server.default(Answer.json({"id": 1, "name": "Ada"}))
        environ({"SHOP_URL": f"{server.url}/v1", "SHOP_FAMILY": family.name, **variables})
        async with Shop.from_env("SHOP", auth=auth) as shop:
            await shop.users.get(1)
        (request,) = server.requests
        assert request.target == "/v1/users/1"
        assert field in [(name.decode().lower(), value.decode()) for name, value in request.headers]


@pytest.mark.parametrize(
    ("variables", "auth", "named"),
    [
        ({"SHOP_TOKEN": SECRET}, "bearer", "SHOP_URL"),
        ({"SHOP_URL": URL}, "bearer", "SHOP_TOKEN"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": ""}, "bearer", "SHOP_TOKEN"),
        ({"SHOP_URL": URL, "SHOP_USERNAME": "ada"}, "basic", "SHOP_PASSWORD"),
        ({"SHOP_URL": URL}, "api_key", "SHOP_API_KEY"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET, "SHOP_TOKN": SECRET}, "bearer", "SHOP_TOKN"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET}, None, "SHOP_TOKEN"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET, "SHOP_DEADLINE": SECRET}, "bearer", "SHOP_DEADLINE"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET, "SHOP_DEADLINE": "-1"}, "bearer", "SHOP_DEADLINE"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET, "SHOP_COMPRESS": "1.5"}, "bearer", "SHOP_COMPRESS"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": SECRET, "SHOP_FAMILY": SECRET}, "bearer", "SHOP_FAMILY"),
        ({"SHOP_URL": URL}, "magic", "auth"),
        ({"SHOP_URL": URL, "SHOP_TOKEN": f"{SECRET}\r\n"}, "bearer", None),
        ({"SHOP_URL": f"https://ada:{SECRET}@api.example.com", "SHOP_TOKEN": SECRET}, "bearer", None),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else str(value),
)
def test_what_is_wrong_in_the_environment_is_named_and_not_told(
    environ: Any, variables: dict[str, str], auth: Any, named: str | None
) -> None:
    environ(variables)
    with pytest.raises(InvalidInput) as raised:
        Shop.from_env("SHOP", auth=auth)
    assert SECRET not in f"{raised.value!r} {raised.value} {vars(raised.value)}"
    if named is not None:
        assert raised.value.argument == named
        assert named in str(raised.value)


def test_what_a_cluster_sets_for_a_service_of_that_name_is_no_slip(environ: Any) -> None:
    links = ["SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR"]
    environ({"SHOP_URL": URL, **{f"SHOP_{name}": "tcp://10.0.0.7:80" for name in links}})
    assert Shop.from_env("SHOP", auth=None).base_url == URL
    environ({"SHOP_URL": URL, "SHOP_PORTS": "80"})
    with pytest.raises(InvalidInput, match="SHOP_PORTS"):
        Shop.from_env("SHOP", auth=None)


def test_arguments_go_over_what_was_read(environ: Any, tmp_path: Path) -> None:
    environ({"SHOP_URL": URL, "SHOP_DEADLINE": "5", "SHOP_API_VERSION": "v2", "SHOP_LISTS": "comma"})
    shop = Shop.from_env("shop_", auth=None, deadline=7.0)
    call = shop.users.all(tags=["a", "b"])
    told = shop.explain(call)
    assert (told["deadline"], told["url"]) == (7.0, f"{URL}/v2/users?tag=a,b")
    file = tmp_path / "profiles.toml"
    file.write_text(f'[shop]\nurl = "{URL}"\ndeadline = 5\ndefault_headers = {{ X-Team = "a" }}\n')
    told = (shop := Shop.from_profile("shop", file)).explain(shop.users.all())
    assert told["deadline"] == 5
    assert "x-team" in told["headers"]
    environ({"HOLDFAST_PROFILES": str(file)})
    assert Shop.from_profile("shop", base_url="https://b.example").base_url == "https://b.example"


@pytest.mark.anyio
async def test_a_profile_names_the_variable_of_its_secret(family: FamilyModules, environ: Any, tmp_path: Path) -> None:
    environ({"SHOP_SECRET": SECRET})
    file = tmp_path / "profiles.toml"
    async with FaultyServer() as server:
        server.default(Answer.json({"id": 1, "name": "Ada"}))
        file.write_text(f'[shop]\nurl = "{server.url}"\nfamily = "{family.name}"\ntoken_env = "SHOP_SECRET"\n')
        async with Shop.from_profile("shop", file) as shop:
            await shop.users.get(1)
        (request,) = server.requests
        assert f"Bearer {SECRET}".encode() in [value for _, value in request.headers]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "shop"),
        ("shop = 1", "shop"),
        ("[shop]", "shop.url"),
        (f'[shop]\nurl = "{URL}"\ntoken = "{SECRET}"', "shop.token"),
        (f'[shop]\nurl = "{URL}"\ntoken_env = "SHOP_NONE"', "SHOP_NONE"),
        (f'[shop]\nurl = "{URL}"\ntimeout = 5', "shop.timeout"),
        (f'[shop]\nurl = "{URL}"\ndeadline = true', "shop.deadline"),
        (f'[shop]\nurl = "{URL}"\nallow_origins = [1]', "shop.allow_origins"),
        (f'[shop]\nurl = "{URL}"\nusername = "ada"', "shop.password_env"),
        (f'[shop]\nurl = "{URL}"\nusername = "ada"\ntoken_env = "A"', "shop"),
        (f'[shop]\nurl = "{URL}"\napi_key_header = "X-A"', "shop.api_key_env"),
        (f'[shop]\nurl = "{URL}"\ndefault_headers = {{ X-A = 1 }}', "shop.default_headers.X-A"),
        (f'[shop\nurl = "{SECRET}"', "path"),
    ],
)
def test_what_is_wrong_in_a_profile_is_named(tmp_path: Path, text: str, named: str) -> None:
    file = tmp_path / "profiles.toml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as raised:
        Shop.from_profile("shop", file)
    assert raised.value.argument == named
    assert SECRET not in str(raised.value)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Shop.from_profile("shop", tmp_path / "none.toml")
