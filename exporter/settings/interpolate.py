"""``${env:NAME}`` in values, before they are validated.

Everywhere in a text value the reference is replaced by the variable. One exception: a value of a ``*_file`` (or ``*_files``) key that is
nothing but a reference stays as it is, because there it may be the place of a secret
(:class:`exporter.domain.secrets.Secret` reads it at use), and must not pass through here as plain text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from exporter.domain.secrets import ENV_REFERENCE
from exporter.errors import Finding
from exporter.settings.document import DocumentPath, dotted

#: Only this form: a LogQL regex may hold ``${`` for itself.
_REFERENCE_LIKE = re.compile(r"\$\{env:[^}]*\}?")
#: An address with a password in it, which would end up in logs.
_ADDRESS_WITH_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://[^/@\s]*:[^/@\s]+@")


def interpolate(
    data: Any, findings: list[Finding], path: DocumentPath = (), environment: Mapping[str, str] = os.environ
) -> Any:
    """Return the data with references replaced; add a finding for each one that cannot be.

    A key without a value counts as not given, so a section whose keys are all commented out keeps its defaults.
    """
    if isinstance(data, dict):
        return {
            str(key): interpolate(value, findings, (*path, str(key)), environment)
            for key, value in data.items()
            if value is not None
        }
    if isinstance(data, list):
        return [interpolate(value, findings, (*path, index), environment) for index, value in enumerate(data)]
    if not isinstance(data, str):
        return data
    if _is_secret_place(path, data):
        return data
    text = _REFERENCE_LIKE.sub(lambda match: _value_of(match, findings, path, environment), data)
    if _ADDRESS_WITH_PASSWORD.search(text):
        reason = "the address holds a password"
        findings.append(Finding(dotted(path), reason, "Take it out; secrets belong into files (`*_file` keys)."))
    return text


def _is_secret_place(path: DocumentPath, text: str) -> bool:
    key = next((step for step in reversed(path) if isinstance(step, str)), "")
    return key.endswith(("_file", "_files")) and ENV_REFERENCE.fullmatch(text.strip()) is not None


def _value_of(match: re.Match[str], findings: list[Finding], path: DocumentPath, environment: Mapping[str, str]) -> str:
    reference = ENV_REFERENCE.fullmatch(match[0])
    if reference is None:
        findings.append(Finding(dotted(path), "a reference has the wrong form", "Write ${env:NAME}."))
        return match[0]
    value = environment.get(reference[1])
    if value is None:
        reason = f"environment variable {reference[1]} is not set"
        findings.append(Finding(dotted(path), reason, "Set it, or write the value here."))
        return match[0]
    return value
