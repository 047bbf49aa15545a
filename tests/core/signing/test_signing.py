"""Signatures on plain data: every vector that the standards publish, and what cannot be signed."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.core.secret import Secret
from holdfast.core.signing import aws, hmac_scheme
from holdfast.core.signing.digests import content_digest
from holdfast.core.signing.hmac_scheme import Part
from holdfast.core.signing.http_message import Parameters, signature_base, signature_fields
from holdfast.core.signing.message import Message, Unsignable

# RFC 9421 B.2, the test request.
REQUEST = Message(
    method="POST",
    scheme="https",
    authority="Example.com:443",
    target="/foo?param=Value&Pet=dog",
    headers=[
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        (
            "Content-Digest",
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
        ),
        ("Content-Length", "18"),
    ],
    body=b'{"hello": "world"}',
)
CREATED = 1618884473


def hmac_key() -> Callable[[bytes], bytes]:
    import hmac

    key = b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
    return lambda text: hmac.digest(key, text, "sha256")


def ed25519_key() -> Callable[[bytes], bytes]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(b64decode("n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=")).sign


@pytest.mark.parametrize(
    ("message", "label", "components", "keyid", "key", "signature"),
    [
        (
            REQUEST,
            "sig-b25",
            ("date", "@authority", "content-type"),
            "test-shared-secret",
            hmac_key,
            "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=",
        ),
        (
            REQUEST,
            "sig-b26",
            ("date", "@method", "@path", "@authority", "content-type", "content-length"),
            "test-key-ed25519",
            ed25519_key,
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==",
        ),
        (
            Message(
                method="GET",
                scheme="https",
                authority="example.org",
                target="/demo?name1=Value1&Name2=value2",
                headers=[("Accept", "application/json"), ("Accept", "*/*")],
            ),
            "transform",
            ("@method", "@path", "@authority", "accept"),
            "test-key-ed25519",
            ed25519_key,
            "ZT1kooQsEHpZ0I1IjCqtQppOmIqlJPeo7DHR3SoMn0s5JZ1eRGS0A+vyYP9t/LXlh5QMFFQ6cpLt2m0pmj3NDA==",
        ),
    ],
    ids=["B.2.5 HMAC", "B.2.6 Ed25519", "B.4 Ed25519"],
)
def test_the_signatures_of_rfc_9421_come_out(
    message: Message,
    label: str,
    components: tuple[str, ...],
    keyid: str,
    key: Callable[[], Callable[[bytes], bytes]],
    signature: str,
) -> None:
    base, signed = signature_base(message, components, Parameters(created=CREATED, keyid=keyid))
    names = " ".join(f'"{component}"' for component in components)
    assert signature_fields(label, signed, key()(base.encode())) == (
        ("Signature-Input", f'{label}=({names});created={CREATED};keyid="{keyid}"'),
        ("Signature", f"{label}=:{signature}:"),
    )


def rsa_pss_verifies(signature: bytes, text: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(
        b64decode(  # B.1.2, test-key-rsa-pss
            "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr4tmm3r20Wd/PbqvP1s2+QEtvpuRaV8Yq40gjUR8y2Rjxa6dpG2GXHbPfvMs8ct+"
            "Lh1GH45x28Rw3Ry53mm+oAXjyQ86OnDkZ5N8lYbggD4O3w6M6pAvLkhk95AndTrifbIFPNU8PPMO7OyrFAHqgDsznjPFmTOtCEcN2Z1FpWgc"
            "hwuYLPL+Wokqltd11nqqzi+bJ9cvSKADYdUAAN5WUtzdpiy6LbTgSxP7ociU4Tn0g5I6aDZJ7A8Lzo0KSyZYoA485mqcO0GVAdVw9lq4aOT9"
            "v6d+nb4bnNkQVklLQ3fVAvJm+xdDOp9LCNCN48V2pnDOkFV6+U9nV5oyc6XI2wIDAQAB"
        )
    )
    assert isinstance(key, rsa.RSAPublicKey)
    key.verify(signature, text, padding.PSS(padding.MGF1(hashes.SHA512()), 64), hashes.SHA512())


def p256_verifies(signature: bytes, text: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, utils

    key = ec.EllipticCurvePublicKey.from_encoded_point(  # B.1.3, test-key-ecc-p256
        ec.SECP256R1(),
        b64decode("BKiFWGVSwqz2Rxh4z9ewk1tP/g/S38NBJI6he8QeBYrwMc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0="),
    )
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256()))


RSA_KEY, P256_KEY = "test-key-rsa-pss", "test-key-ecc-p256"
SIG1 = ("@method", "@authority", "@path", "content-digest", "content-length", "content-type")
PROXIED = Message(  # B.3
    method="POST",
    scheme="https",
    authority="service.internal.example",
    target="/foo?param=Value&Pet=dog",
    headers=[
        (
            "Client-Cert",
            (
                ":MIIBqDCCAU6gAwIBAgIBBzAKBggqhkjOPQQDAjA6MRswGQYDVQQKDBJMZXQncyBBdXRoZW50aWNhdGUxGzAZBgNVBAMMEkxBIEludGVybWVk"
                "aWF0ZSBDQTAeFw0yMDAxMTQyMjU1MzNaFw0yMTAxMjMyMjU1MzNaMA0xCzAJBgNVBAMMAkJDMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"
                "8YnXXfaUgmnMtOXU/IncWalRhebrXmckC8vdgJ1p5Be5F/3YC8OthxM4+k1M6aEAEFcGzkJiNy6J84y7uzo9M6NyMHAwCQYDVR0TBAIwADAf"
                "BgNVHSMEGDAWgBRm3WjLa38lbEYCuiCPct0ZaSED2DAOBgNVHQ8BAf8EBAMCBsAwEwYDVR0lBAwwCgYIKwYBBQUHAwIwHQYDVR0RAQH/BBMw"
                "EYEPYmRjQGV4YW1wbGUuY29tMAoGCCqGSM49BAMCA0gAMEUCIBHda/r1vaL6G3VliL4/Di6YK0Q6bMjeSkC3dFCOOB8TAiEAx/kHSB4urmiZ"
                "0NX5r5XarmPk0wmuydBVoU4hBVZ1yhk=:"
            ),
        )
    ],
)


@pytest.mark.parametrize(
    ("message", "components", "parameters", "verifies", "signature"),
    [
        (
            REQUEST,
            (),
            Parameters(created=CREATED, keyid=RSA_KEY, nonce="b3k2pp5k7z-50gnwp.yemd"),
            rsa_pss_verifies,
            (
                "d2pmTvmbncD3xQm8E9ZV2828BjQWGgiwAaw5bAkgibUopemLJcWDy/lkbbHAve4cRAtx31Iq786U7it++wgGxbtRxf8Udx7zFZsckzXaJMkA"
                "7ChG52eSkFxykJeNqsrWH5S+oxNFlD4dzVuwe8DhTSja8xxbR/Z2cOGdCbzR72rgFWhzx2VjBqJzsPLMIQKhO4DGezXehhWwE56YCE+O6c0m"
                "KZsfxVrogUvA4HELjVKWmAvtl6UnCh8jYzuVG5WSb/QEVPnP5TmcAnLH1g+s++v6d4s8m0gCw1fV5/SITLq9mhho8K3+7EPYTU8IU1bLhdxO"
                "5Nyt8C8ssinQ98Xw9Q=="
            ),
        ),
        (
            REQUEST,
            ("@authority", "content-digest", '@query-param;name="Pet"'),
            Parameters(created=CREATED, keyid=RSA_KEY, tag="header-example"),
            rsa_pss_verifies,
            (
                "LjbtqUbfmvjj5C5kr1Ugj4PmLYvx9wVjZvD9GsTT4F7GrcQEdJzgI9qHxICagShLRiLMlAJjtq6N4CDfKtjvuJyE5qH7KT8UCMkSowOB4+EC"
                "xCmT8rtAmj/0PIXxi0A0nxKyB09RNrCQibbUjsLS/2YyFYXEu4TRJQzRw1rLEuEfY17SARYhpTlaqwZVtR8NV7+4UKkjqpcAoFqWFQh62s7C"
                "l+H2fjBSpqfZUJcsIk4N6wiKYd4je2U/lankenQ99PZfB4jY3I5rSV2DSBVkSFsURIjYErOs0tFTQosMTAoxk//0RoKUqiYY8Bh0aaUEb0rQ"
                "l3/XaVe4bXTugEjHSw=="
            ),
        ),
        (
            REQUEST,
            ("date", "@method", "@path", "@query", "@authority", "content-type", "content-digest", "content-length"),
            Parameters(created=CREATED, keyid=RSA_KEY),
            rsa_pss_verifies,
            (
                "bbN8oArOxYoyylQQUU6QYwrTuaxLwjAC9fbY2F6SVWvh0yBiMIRGOnMYwZ/5MR6fb0Kh1rIRASVxFkeGt683+qRpRRU5p2voTp768ZrCUb38"
                "K0fUxN0O0iC59DzYx8DFll5GmydPxSmme9v6ULbMFkl+V5B1TP/yPViV7KsLNmvKiLJH1pFkh/aYA2HXXZzNBXmIkoQoLd7YfW91kE9o/CCo"
                "C1xMy7JA1ipwvKvfrs65ldmlu9bpG6A9BmzhuzF8Eim5f8ui9eH8LZH896+QIF61ka39VBrohr9iyMUJpvRX2Zbhl5ZJzSRxpJyoEZAFL2FU"
                "o5fTIztsDZKEgM4cUA=="
            ),
        ),
        (
            PROXIED,
            ("@path", "@query", "@method", "@authority", "client-cert"),
            Parameters(created=CREATED, keyid=P256_KEY),
            p256_verifies,
            "xVMHVpawaAC/0SbHrKRs9i8I3eOs5RtTMGCWXm/9nvZzoHsIg6Mce9315T6xoklyy0yzhD9ah4JHRwMLOgmizw==",
        ),
        (
            REQUEST,
            SIG1,
            Parameters(created=CREATED, keyid=RSA_KEY),
            rsa_pss_verifies,
            (
                "HIbjHC5rS0BYaa9v4QfD4193TORw7u9edguPh0AW3dMq9WImrlFrCGUDih47vAxi4L2YRZ3XMJc1uOKk/J0ZmZ+wcta4nKIgBkKq0rM9hs3C"
                "QyxXGxHLMCy8uqK488o+9jrptQ+xFPHK7a9sRL1IXNaagCNN3ZxJsYapFj+JXbmaI5rtAdSfSvzPuBCh+ARHBmWuNo1UzVVdHXrl8ePL4ccc"
                "qlazIJdC4QEjrF+Sn4IxBQzTZsL9y9TP5FsZYzHvDqbInkTNigBcE9cKOYNFCn4D/WM7F6TNuZO9EgtzepLWcjTymlHzK7aXq6Am6sfOrpIC"
                "49yXjj3ae6HRalVc/g=="
            ),
        ),
    ],
    ids=["B.2.1 minimal", "B.2.2 selective", "B.2.3 full", "B.3 proxy", "3.2"],
)
def test_the_random_signatures_of_rfc_9421_are_of_our_text(
    message: Message,
    components: tuple[str, ...],
    parameters: Parameters,
    verifies: Callable[[bytes, bytes], None],
    signature: str,
) -> None:
    from cryptography.exceptions import InvalidSignature

    base, _ = signature_base(message, components, parameters)
    verifies(b64decode(signature), base.encode())
    with pytest.raises(InvalidSignature):
        verifies(b64decode(signature), f"{base} ".encode())


QUERY = "/demo?name1=Value1&Name2=value2"
JSON, ANY = ("Accept", "application/json"), ("Accept", "*/*")


@pytest.mark.parametrize(
    ("method", "authority", "target", "headers", "holds"),
    [
        ("GET", "example.org", f"{QUERY}&param=added", [JSON, ANY, ("Accept-Language", "en-US,en;q=0.5")], True),
        ("GET", "example.org", QUERY, [("Accept", "application/json, */*"), ("Referer", "https://a.example")], True),
        ("GET", "example.org", QUERY, [JSON, ("Date", "Fri, 15 Jul 2022 14:24:55 GMT"), ANY], True),
        ("POST", "example.com", QUERY, [JSON, ANY], False),
        ("GET", "example.org", QUERY, [ANY, JSON], False),
    ],
    ids=["more query and fields", "one field", "other order of fields", "other request", "other order of values"],
)
def test_a_signature_outlives_what_rfc_9421_b4_lets_a_proxy_change(
    method: str, authority: str, target: str, headers: list[tuple[str, str]], holds: bool
) -> None:
    def text(method: str, authority: str, target: str, headers: list[tuple[str, str]]) -> str:
        message = Message(method=method, scheme="https", authority=authority, target=target, headers=headers)
        components = ("@method", "@path", "@authority", "accept")
        return signature_base(message, components, Parameters(created=CREATED, keyid="test-key-ed25519"))[0]

    assert (text(method, authority, target, headers) == text("GET", "example.org", QUERY, [JSON, ANY])) is holds


def request(target: str, *headers: tuple[str, str], method: str = "GET", body: bytes | None = b"") -> Message:
    return Message(
        method=method, scheme="https", authority="www.example.com", target=target, headers=headers, body=body
    )


ENCODED = (
    "/parameters?var=this%20is%20a%20big%0Amultiline%20value&bar=with+plus+whitespace&fa%C3%A7ade%22%3A%20=something"
)


@pytest.mark.parametrize(
    ("message", "component", "line"),
    [  # the examples of RFC 9421 2.1 and 2.2
        (request("/path?param=value"), "@target-uri", '"@target-uri": https://www.example.com/path?param=value'),
        (request("/path"), "@scheme", '"@scheme": https'),
        (request("/path?param=value"), "@request-target", '"@request-target": /path?param=value'),
        (request(""), "@path", '"@path": /'),
        (request("/path"), "@query", '"@query": ?'),
        (request("/path?"), "@query", '"@query": ?'),
        (request("/path?queryString"), "@query", '"@query": ?queryString'),
        (request("/p?param=value&baz=batman&qux="), '@query-param;name="baz"', '"@query-param";name="baz": batman'),
        (request("/p?param=value&baz=batman&qux="), '@query-param;name="qux"', '"@query-param";name="qux": '),
        (
            request(ENCODED),
            '@query-param;name="var"',
            '"@query-param";name="var": this%20is%20a%20big%0Amultiline%20value',
        ),
        (request(ENCODED), '@query-param;name="bar"', '"@query-param";name="bar": with%20plus%20whitespace'),
        (
            request(ENCODED),
            '@query-param;name="fa%C3%A7ade%22%3A%20"',
            '"@query-param";name="fa%C3%A7ade%22%3A%20": something',
        ),
        (
            request("/", ("Cache-Control", "max-age=60"), ("Cache-Control", "    must-revalidate")),
            "cache-control",
            '"cache-control": max-age=60, must-revalidate',
        ),
        (request("/", ("X-Empty-Header", "")), "x-empty-header", '"x-empty-header": '),
        (
            request("/", ("Example-Header", "value, with, lots"), ("Example-Header", "of, commas")),
            "example-header;bs",
            '"example-header";bs: :dmFsdWUsIHdpdGgsIGxvdHM=:, :b2YsIGNvbW1hcw==:',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_component_has_the_value_that_rfc_9421_shows(message: Message, component: str, line: str) -> None:
    assert signature_base(message, [component], Parameters())[0].split("\n")[0] == line


@pytest.mark.parametrize(
    ("message", "components", "reason"),
    [
        (request("/"), ["content-digest"], "no such header field"),
        (request("/"), ["@status"], "no component of a request"),
        (request("/"), ["@method", "@method"], "covered twice"),
        (request("/"), ["@method;req"], "no component that can be signed"),
        (request("/"), ["Date"], "no component that can be signed"),
        (request("/"), ["@path;bs"], "no form"),
        (request("/"), ['@path;name="a"'], "takes no name"),
        (request("/?a=1"), ["@query-param"], "needs ;name="),
        (request("/?a=1&a=2"), ['@query-param;name="a"'], "occurs 2 times"),
        (request("/?a=1"), ['@query-param;name="b"'], "occurs 0 times"),
        (request("/", ("X-Name", "Zoë")), ["x-name"], "not ASCII"),
        (request("/", ("X-Fold", "a\n b")), ["x-fold"], "line breaks"),
    ],
    ids=str,
)
def test_what_two_sides_could_read_differently_is_not_signed(
    message: Message, components: list[str], reason: str
) -> None:
    with pytest.raises(Unsignable, match=reason):
        signature_base(message, components, Parameters())


def test_a_parameter_or_label_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(Unsignable, match="printable ASCII"):
        signature_base(request("/"), ["@method"], Parameters(keyid="schlüssel"))
    with pytest.raises(ValueError, match="label"):
        signature_fields("Sig 1", "()", b"")
    assert signature_base(request("/"), [], Parameters(keyid='a"\\b', expires=2))[1] == '();expires=2;keyid="a\\"\\\\b"'


@pytest.mark.parametrize(
    ("body", "algorithm", "digest"),
    [
        (b'{"hello": "world"}\n', "sha-256", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
        (
            b'{"hello": "world"}\n',
            "sha-512",
            "sha-512=:YMAam51Jz/jOATT6/zvHrLVgOYTGFy1d6GJiOHTohq4yP+pgk4vf2aCsyRZOtw8MjkM7iw7yZ/WkppmM44T3qg==:",
        ),
        (b"", "sha-256", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
        (b'"world"}\n', "sha-256", "sha-256=:jjcgBDWNAtbYUXI37CVG3gRuGOAjaaDRGpIUFsdyepQ=:"),
        (  # the content coding is digested too; bytes by erratum 8890
            bytes.fromhex("0b0980") + b'{"hello": "world"}\n\x03',
            "sha-256",
            "sha-256=:d435Qo+nKZ+gLcUHn7GQtQ72hiBVAgqoLsZnZPiTGPk=:",
        ),
        (
            bytes.fromhex("0b0980") + b'{"hello": "world"}\n\x03',
            "sha-512",
            "sha-512=:db7fdBbgZMgX1Wb2MjA8zZj+rSNgfmDCEEXM8qLWfpfoNY0sCpHAzZbj09X1/7HAb7Od5Qfto4QpuBsFbUO3dQ==:",
        ),
        (b'{"title": "New Title"}\n', "sha-256", "sha-256=:mEkdbO7Srd9LIOegftO0aBX+VPTVz7/CSHes2Z27gc4=:"),
        (b'{"hello": "world"}', "sha-256", "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"),
        (
            b'{"hello": "world"}',
            "sha-512",
            "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:",
        ),
    ],
    ids=["B.1", "2", "B.2", "B.3", "B.4 br", "B.6 br", "B.7", "RFC 9421 7.2.8", "RFC 9421 B.2"],
)
def test_digests_are_those_of_rfc_9530(body: bytes, algorithm: Any, digest: str) -> None:
    assert content_digest(body, algorithm) == digest


AWS: Any = {
    "access_key": "AKIDEXAMPLE",
    "secret_key": Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    "region": "us-east-1",
}


def test_the_example_of_the_aws_guide_comes_out() -> None:
    message = Message(
        method="GET",
        scheme="https",
        authority="iam.amazonaws.com",
        target="/?Action=ListUsers&Version=2010-05-08",
        headers=[("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), ("User-Agent", "any")],
    )
    assert aws.authorization(message, service="iam", at="20150830T123600Z", **AWS) == [
        ("X-Amz-Date", "20150830T123600Z"),
        (
            "Authorization",
            (
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request,"
                " SignedHeaders=content-type;host;x-amz-date,"
                " Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
            ),
        ),
    ]


@pytest.mark.parametrize(
    ("headers", "signature"),
    [  # from AWS's own test suite for Version 4
        (
            [("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")],
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            [("My-Header1", "value1,value2,value3")],
            "ba17b383a53190154eb5fa66a1b836cc297cc0a3d70a5d00705980573d8ff790",
        ),
    ],
    ids=["get-header-key-duplicate", "get-header-value-multiline"],
)
def test_the_vectors_of_the_aws_suite_come_out(headers: list[tuple[str, str]], signature: str) -> None:
    message = Message(
        method="GET", scheme="https", authority="example.amazonaws.com", target="/", headers=headers, body=b""
    )
    added = aws.authorization(message, service="service", at="20150830T123600Z", sign_also=("my-header1",), **AWS)
    assert added[-1][1].endswith(f"SignedHeaders=host;my-header1;x-amz-date, Signature={signature}")


SEGMENT = st.text("abzAZ09-_.~ äé/%:@!$&'()*,;=", max_size=8)


@given(
    st.lists(SEGMENT, max_size=4),
    st.lists(st.tuples(SEGMENT, SEGMENT), max_size=4),
    st.binary(max_size=40),
    st.sampled_from([None, "token/+="]),
    st.sampled_from(["execute-api", "s3"]),
)
def test_aws_signatures_are_those_of_botocore(
    segments: list[str], query: list[tuple[str, str]], body: bytes, token: str | None, service: str
) -> None:
    from datetime import UTC, datetime
    from unittest.mock import patch  # botocore reads its own clock, and has no door for another
    from urllib.parse import quote, urlencode

    from botocore import auth as botocore_auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    path = "/" + "/".join(quote(segment, safe="/~!$&'()*,;=:@") for segment in segments)
    target = path + ("?" + urlencode(query, quote_via=quote, safe="") if query else "")
    headers = {"Content-Type": "application/json", "X-Amz-Target": " a   b "}
    theirs = AWSRequest("PUT", f"https://abc.amazonaws.com{target}", headers=headers, data=body)
    signer = botocore_auth.S3SigV4Auth if service == "s3" else botocore_auth.SigV4Auth
    now = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
    with patch.object(botocore_auth, "get_current_datetime", lambda *_, **__: now.replace(tzinfo=None)):
        signer(Credentials(AWS["access_key"], AWS["secret_key"].reveal(), token), service, AWS["region"]).add_auth(
            theirs
        )
    ours = aws.authorization(
        Message(
            method="PUT",
            scheme="https",
            authority="abc.amazonaws.com",
            target=target,
            headers=headers.items(),
            body=body,
        ),
        service=service,
        at="20261122T103000Z",
        session_token=None if token is None else Secret(token),
        **AWS,
    )
    assert dict(ours)["Authorization"] == theirs.headers["Authorization"]
    assert {name: theirs.headers[name] for name, _ in ours} == dict(ours)


def test_a_query_that_aws_services_read_in_two_ways_is_not_signed() -> None:
    with pytest.raises(Unsignable, match="%20 or %2B"):
        aws.authorization(request("/?q=a+b"), service="es", at="20261122T103000Z", **AWS)


def test_a_stream_is_signed_only_without_its_body() -> None:
    stream = request("/", body=None)
    with pytest.raises(Unsignable, match="stream"):
        aws.authorization(stream, service="s3", at="20261122T103000Z", **AWS)
    added = dict(aws.authorization(stream, service="s3", at="20261122T103000Z", unsigned_payload=True, **AWS))
    assert added["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
    with pytest.raises(Unsignable, match="stream"):
        hmac_scheme.canonical(stream, timestamp="1", nonce="n")
    assert hmac_scheme.canonical(stream, timestamp="1", nonce="n", parts=("method", "nonce")) == b"GET\nn"


@pytest.mark.parametrize(
    ("parts", "separator", "signed"),
    [
        (
            hmac_scheme.ALL_PARTS,
            "\n",
            (
                b"POST\nexample.com\n/foo\nparam=Value&Pet=dog\n"
                b"5f8f04f6a3a892aaabbddb6cf273894493773960d4a325b105fee46eef4304f1\n1700000000\nn-1"
            ),
        ),
        (("timestamp", "method", "target", "body"), "", b'1700000000POST/foo?param=Value&Pet=dog{"hello": "world"}'),
        (("scheme", "authority"), "|", b"https|example.com"),
    ],
    ids=["all", "as exchanges do", "two"],
)
def test_an_hmac_covers_the_parts_it_names(parts: tuple[Part, ...], separator: str, signed: bytes) -> None:
    assert (
        hmac_scheme.canonical(REQUEST, timestamp="1700000000", nonce="n-1", parts=parts, separator=separator) == signed
    )


def test_an_hmac_is_spelled_as_asked() -> None:
    # RFC 4231, test case 2
    mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert hmac_scheme.signature(b"Jefe", b"what do ya want for nothing?") == mac
    spelled = hmac_scheme.signature(b"Jefe", b"what do ya want for nothing?", encoding="base64")
    assert spelled == b64encode(bytes.fromhex(mac)).decode()


@pytest.mark.parametrize("change", ["method", "authority", "target", "body", "timestamp", "nonce"])
def test_no_part_of_a_signed_request_can_be_changed(change: str) -> None:
    given_parts: dict[str, Any] = {
        "method": "POST",
        "authority": "a.example",
        "target": "/x?y=1",
        "body": b"b",
        "timestamp": "1",
        "nonce": "n",
    }
    other = {**given_parts, change: b"c" if change == "body" else given_parts[change] + "2"}

    def signed(parts: dict[str, Any]) -> bytes:
        timestamp, nonce = parts["timestamp"], parts["nonce"]
        names = ("method", "authority", "target", "body")
        message = Message(scheme="https", **{name: parts[name] for name in names})
        return hmac_scheme.canonical(message, timestamp=timestamp, nonce=nonce)

    assert signed(given_parts) != signed(other)
