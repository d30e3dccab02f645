from __future__ import annotations

import os
from pathlib import Path

import pytest

from exporter.domain.secrets import Secret, SecretError


def test_a_rotated_file_is_read_again_and_never_shown(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("hunter-one\n")
    secret = Secret(path=path)
    assert secret.reveal() == "hunter-one"
    replacement = tmp_path / "next"
    replacement.write_text("hunter-two")
    replacement.rename(path)  # as Kubernetes swaps a mounted secret
    assert secret.reveal() == "hunter-two"
    assert "hunter" not in repr(secret) + str(secret) + f"{secret}"


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_missing_empty_or_unreadable_secret_says_where_it_should_be(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SecretError, match="token"):
        Secret(path=path).reveal()


def test_a_secret_from_the_environment() -> None:
    os.environ["LOKI_SIEM_TEST_TOKEN"] = "hunter-three"
    try:
        assert Secret(env="LOKI_SIEM_TEST_TOKEN").reveal() == "hunter-three"
    finally:
        del os.environ["LOKI_SIEM_TEST_TOKEN"]
    with pytest.raises(SecretError, match="LOKI_SIEM_TEST_TOKEN"):
        Secret(env="LOKI_SIEM_TEST_TOKEN").reveal()
