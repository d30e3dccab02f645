"""Canonical events for tests that need some, no matter what is in them."""

from __future__ import annotations

from exporter.domain.events import encode_head

BASE_NS = 1_764_000_000_123_456_789


def event(number: int, *, tenant: str = "acme", padding: int = 0, text: str = "") -> bytes:
    """Return one encoded event; ``number`` makes it unique and can be read back with :func:`number_of`."""
    head = encode_head(f"{number:032x}", BASE_NS + number)
    return head + b'"tenant.id":"%b","message":"%b%b"}' % (tenant.encode(), text.encode(), b"x" * padding)


def events(count: int, *, start: int = 0, tenant: str = "acme", padding: int = 0) -> list[bytes]:
    return [event(number, tenant=tenant, padding=padding) for number in range(start, start + count)]


def number_of(value: bytes) -> int:
    """Return what :func:`event` was given."""
    return int(value[13:45], 16)
