"""A tenant's policy as a versioned artefact: everything that decides what becomes of a line, and its digest ``policy.id``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from exporter.settings.model import TenantSettings

#: Version of the document's own form.
FORMAT_VERSION = 1


def policy_document(
    settings: TenantSettings, redaction_version: int, digests: Sequence[str], table_digests: Mapping[str, str]
) -> dict[str, Any]:
    """Return the policy. Lookup files stand in it by the digest of their content, not by their place, so moving a
    configuration to another folder is no new policy. ``digests``: of the packs, and of actions and field policies.
    """
    # Masks everywhere is no policy of its own, however it was written.
    parts = {"format", "fields", "tempo_url"} | ({"policy"} if len(digests) > 1 else set())
    dumped = settings.model_dump(mode="json", include=parts)
    filters = [item.model_dump(mode="json", exclude_none=True) for item in settings.filters]
    for index, item in enumerate(filters):
        if "lookup" in item:
            name = item.get("name", f"filter-{index + 1}")
            item["lookup"]["file"] = f"sha256:{table_digests.get(name, '')}"
    return {
        "v": FORMAT_VERSION,
        "redaction_version": redaction_version,
        "packs": [Path(pack).name for pack in settings.redaction],
        "digests": list(digests),
        **dumped,
        "original": settings.original,
        "data_class": settings.data_class,
        "filters": filters,
    }


def policy_id_of(policy: Mapping[str, Any]) -> str:
    """Return the digest of a policy: BLAKE2b of its JSON with sorted keys, 16 hex digits."""
    return hashlib.blake2b(_canonical(policy), digest_size=8).hexdigest()


def keep_policy(policy: Mapping[str, Any], directory: Path) -> Path:
    """Write a policy to ``<id>.json``, where an auditor can look its id up later; an existing file is left alone.

    Raises OSError.
    """
    file = directory / f"{policy_id_of(policy)}.json"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        # Two processes may write the same policy at once: same name, same bytes, each into place by one rename.
        part = directory / f".{file.name}.{os.getpid()}"
        part.write_bytes(_canonical(policy))
        part.replace(file)
    return file


def _canonical(policy: Mapping[str, Any]) -> bytes:
    # Not orjson: a filter may name an integer of any size.
    return json.dumps(policy, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
