"""The servers, each started once for a file that needs it; skipped by name where node or its packages are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

HERE = Path(__file__).parent
MODULES = "HOLDFAST_NODE_MODULES"
"""Names the node_modules directory in which `npm install` has put the packages of package.json."""


@pytest.fixture(scope="session")
def node_modules() -> str:
    """The packages; a failure where HOLDFAST_REQUIRE_NODE says that they must be there."""
    found = os.environ.get(MODULES, str(HERE / "node_modules"))
    missing = None
    if shutil.which("node") is None:
        missing = "node is not installed (https://nodejs.org), and oidc-provider runs on it"
    elif not (Path(found) / "oidc-provider").is_dir():
        missing = f"oidc-provider is not in {found}: npm install --prefix tests/oauth, or set {MODULES}"
    if missing is not None:
        if os.environ.get("HOLDFAST_REQUIRE_NODE"):
            pytest.fail(missing)
        pytest.skip(missing)
    return found


@pytest.fixture(scope="session")
def signers() -> dict[str, Any]:
    """Private keys by algorithm; the server knows the public ones as clients of that name."""
    return {
        "RS256": rsa.generate_private_key(65537, 2048),
        "PS256": rsa.generate_private_key(65537, 2048),
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    }


@pytest.fixture(scope="session")
def oidc_provider(node_modules: str, signers: dict[str, Any]) -> Iterator[str]:
    """The issuer of a running oidc-provider."""
    rsa_key, curve, edwards = RSAAlgorithm.to_jwk, ECAlgorithm.to_jwk, OKPAlgorithm.to_jwk
    turn: dict[str, Any] = {"RS": rsa_key, "PS": rsa_key, "ES": curve, "Ed": edwards}
    keys = [
        {**json.loads(turn[name[:2]](key.public_key())), "kid": name, "alg": name, "use": "sig"}
        for name, key in signers.items()
    ]
    for key in keys:
        key.pop("key_ops", None)
    with running("oidc_provider.mjs", node_modules, SIGNERS=json.dumps(keys)) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def mock_server(node_modules: str) -> Iterator[str]:
    """The issuer of a running oauth2-mock-server."""
    with running("mock_server.mjs", node_modules) as port:
        yield f"http://localhost:{port}"


@contextmanager
def running(script: str, modules: str, **environment: str) -> Generator[int]:
    """A node of its own, and its port."""
    node = subprocess.Popen(
        ["node", "--no-warnings", str(HERE / script)],
        env={**os.environ, MODULES: modules, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert node.stdout is not None
        lines: list[str] = []
        for line in node.stdout:
            lines.append(line)
            if line.strip().isdigit():
                break
        else:
            pytest.fail(f"{script} did not start:\n{''.join(lines)}")
        yield int(line)
    finally:
        node.communicate()  # closes its standard input, which ends it
