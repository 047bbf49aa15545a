"""May it be asked elsewhere, where, and what of it is for the first origin's eyes alone?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from holdfast.core.fallback import Alternatives, Elsewhere, may_be_asked_elsewhere
from holdfast.core.fault import Fault
from holdfast.core.proof import is_proof

BASES: Mapping[str, Sequence[str]] = {
    "https://a.example": ("https://b.example", "http://c.example:8080/mirror/"),
    "https://A.example:443/v1/": ("https://d.example/v2",),
    "http://[::1]:81": ("https://[::2]",),
}


@pytest.mark.parametrize(
    ("url", "others"),
    [
        ("https://a.example/", ["https://b.example/", "http://c.example:8080/mirror/"]),
        (
            "https://a.example/users/1?b=2",
            ["https://b.example/users/1?b=2", "http://c.example:8080/mirror/users/1?b=2"],
        ),
        ("https://a.example/v1/users", ["https://d.example/v2/users"]),  # the longer base
        ("https://a.example/v10", ["https://b.example/v10", "http://c.example:8080/mirror/v10"]),
        ("https://a.example/x%2Fy", ["https://b.example/x%2Fy", "http://c.example:8080/mirror/x%2Fy"]),
        ("https://a.example/?", ["https://b.example/?", "http://c.example:8080/mirror/?"]),
        ("https://a.example.evil/", []),
        ("https://a.example:8443/", []),
        ("http://a.example/", []),
        ("https://other.example/", []),
        ("http://[::1]:81/x", ["https://[::2]/x"]),
        (
            "https://a.example/v1/s?q=a&api_key=1&Access-Token=2&page_token=3",
            ["https://d.example/v2/s?q=a&page_token=3"],
        ),
        ("https://a.example/v1/s?%61pi_key=1&q", ["https://d.example/v2/s?q"]),
        ("https://a.example/v1/s?token=1", ["https://d.example/v2/s"]),
    ],
)
def test_the_rest_of_the_url_goes_behind_the_other_base(url: str, others: list[str]) -> None:
    assert [other.url for other in Alternatives(BASES).of(url)] == others


def test_a_key_is_that_of_the_other_origin_and_parameters_are_kept_by_name() -> None:
    others = Alternatives(BASES, kept=("api-key",))
    assert others.of("https://a.example/?api_key=1&token=2") == (
        Elsewhere("https://b.example/?api_key=1", "https://b.example:443"),
        Elsewhere("http://c.example:8080/mirror/?api_key=1", "http://c.example:8080"),
    )
    assert others.of("http://[::1]:81/") == (Elsewhere("https://[::2]/", "https://[::2]:443"),)


@pytest.mark.parametrize(
    "url",
    [
        "b.example",
        "/b",
        "ftp://b.example",
        "https://",
        "https://user:pass@b.example",
        "https://b.example?a",
        "https://b#c",
    ],
)
def test_what_is_no_base_url_is_refused_and_no_secret_is_shown(url: str) -> None:
    for bases in ({url: ("https://b.example",)}, {"https://a.example": (url,)}):
        with pytest.raises(ValueError, match="URL") as caught:
            Alternatives(bases)
        assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "proof"),
    [
        ("authorization", True),
        ("proxy-authorization", True),
        ("cookie", True),
        ("x-api-key", True),
        ("x-auth-token", True),
        ("x-amz-security-token", True),
        ("ocp-apim-subscription-key", True),
        ("signature-input", True),
        ("idempotency-key", False),
        ("accept", False),
        ("content-type", False),
        ("traceparent", False),
        ("if-none-match", False),
    ],
)
def test_header_fields_that_look_like_credentials(name: str, proof: bool) -> None:
    assert is_proof(name) is proof


@pytest.mark.parametrize(
    ("method", "given", "allowed"),
    [
        ("GET", {"fault": Fault.INTERRUPTED}, True),
        ("PUT", {"status": 503}, True),
        ("POST", {"status": 503}, False),
        ("POST", {"fault": Fault.INTERRUPTED}, False),
        ("POST", {"fault": Fault.UNSENT}, True),
        ("POST", {"fault": Fault.UNPROCESSED}, True),
        ("POST", {"status": 429}, True),
        ("POST", {"status": 503, "idempotent": True}, True),
        ("POST", {"status": 503, "keyed": True}, False),
        ("POST", {"fault": Fault.UNSENT, "keyed": True}, True),
        ("POST", {"fault": Fault.UNSENT, "keyed": True, "sends": 2}, False),  # the first may have been acted on
        ("POST", {"fault": Fault.UNSENT, "sends": 2}, True),  # or there had been no second
        ("POST", {"sends": 0}, True),  # refused by us
    ],
    ids=str,
)
def test_only_what_cannot_be_done_twice_is_asked_elsewhere(
    method: str, given: dict[str, object], allowed: bool
) -> None:
    plain = {"idempotent": False, "keyed": False, "sends": 1, "status": None, "fault": None}
    assert may_be_asked_elsewhere(method, **{**plain, **given}) is allowed  # type: ignore[arg-type]
