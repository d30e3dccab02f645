"""The ledger's commands on an installation: what an auditor does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from typer.testing import Result

from tests.support.cli import invoke
from tests.support.service import Installation


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write an Ed25519 key pair as openssl does; return the private and the public file."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / "ledger.key", folder / "ledger.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def ledger(installation: Installation, *arguments: str | Path) -> tuple[int, Any]:
    """Run ``ledger …``; return the exit code and its JSON."""
    return _answer(invoke("ledger", *arguments, "-c", installation.write(), "--json"))


def verify(*arguments: str | Path) -> tuple[int, Any]:
    """Run ``verify …``; return the exit code and its JSON."""
    return _answer(invoke("verify", *arguments, "--json"))


def _answer(result: Result) -> tuple[int, Any]:
    return result.exit_code, json.loads(result.stdout) if result.stdout else result.stderr


def proven(
    installation: Installation, *, out: str = "ledger", archive: str = "out", target: str = "archive"
) -> dict[str, Any]:
    """Export the ledger, prove it together with a target's files, and return the figures of both. Anything wrong fails the test."""
    code, answer = ledger(installation, "verify")
    assert code == 0, answer
    directory = installation.directory
    code, answer = ledger(installation, "export", "--out", directory / out)
    assert code == 0, answer
    code, answer = verify(directory / out, directory / archive, "--target", target)
    problems = [problem for part in answer["verified"] for problem in part["problems"]]
    assert (code, problems) == (0, [])
    return {name: number for part in answer["verified"] for name, number in part["figures"].items()}


def with_copy(folder: Path, name: str) -> Path:
    """Copy a folder beside itself, to be spoiled."""
    copy = folder.with_name(name)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    return copy
