"""Signatures of manifests: Ed25519 (RFC 8032) in a DSSE envelope (secure-systems-lab/dsse, protocol.md).

The envelope carries the exact bytes that were signed, so nobody has to write JSON in the same way to check it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from exporter.domain.secrets import Secret, SecretError
from exporter.errors import ConfigurationError, Finding

PAYLOAD_TYPE = "application/vnd.loki-siem.ledger-manifest+json"
_MAKE = "openssl genpkey -algorithm ed25519 -out FILE"
_EXTRACT = "openssl pkey -in FILE -pubout -out FILE.pub"


class SignatureBroken(ValueError):
    """An envelope does not prove what it claims. The message says why."""


def key_id(key: Ed25519PublicKey) -> str:
    """Return the name of a key in envelopes: SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()


def signing_key(secret: Secret, path: str = "service.signing_key_file") -> Ed25519PrivateKey:
    """Return the private key. Raises ConfigurationError, which shows nothing of the file."""
    try:
        key = load_pem_private_key(secret.reveal().encode(), password=None)
    except SecretError as error:
        raise ConfigurationError([Finding(path, str(error), f"Make one: {_MAKE}")]) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        reason = "is no Ed25519 private key in PEM without a passphrase"
        raise ConfigurationError([Finding(path, reason, f"Make one: {_MAKE}")])
    return key


def public_key(path: Path) -> Ed25519PublicKey:
    """Return the public key in a PEM file. Raises ConfigurationError."""
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigurationError(
            [Finding("--public-key", f"{path}: {error.strerror}", "Name a readable file.")]
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        reason = f"{path} is no Ed25519 public key in PEM"
        raise ConfigurationError([Finding("--public-key", reason, f"Get it from the private one: {_EXTRACT}")])
    return key


def _to_sign(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def envelope(payload: bytes, key: Ed25519PrivateKey) -> bytes:
    """Return the signed envelope."""
    signature = {
        "keyid": key_id(key.public_key()),
        "sig": base64.b64encode(key.sign(_to_sign(payload))).decode(),
    }
    body = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [signature],
    }
    return orjson.dumps(body) + b"\n"


def check(raw: bytes, payload: bytes, key: Ed25519PublicKey) -> None:
    """Raise SignatureBroken unless the envelope holds exactly this payload, signed by this key."""
    try:
        found: dict[str, Any] = orjson.loads(raw)
        held = base64.b64decode(found["payload"], validate=True)
        signatures = [base64.b64decode(item["sig"], validate=True) for item in found["signatures"]]
        kind = found["payloadType"]
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
        raise SignatureBroken("its signature file is no DSSE envelope") from None
    if kind != PAYLOAD_TYPE or held != payload:
        raise SignatureBroken("its signature is for something else")
    for signature in signatures:
        try:
            key.verify(signature, _to_sign(held))
        except InvalidSignature:
            continue
        return
    raise SignatureBroken("it is not signed by this key")
