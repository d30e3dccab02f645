"""Rules that concern several keys at once, which no single field can check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from exporter.domain.keys import ENVELOPE, KEYS
from exporter.errors import Finding
from exporter.settings.findings import nearest
from exporter.settings.model import ClientTls, KafkaBus, Settings


def cross_findings(settings: Settings, known_targets: frozenset[str]) -> Iterator[Finding]:
    """Yield what does not fit together. ``known_targets`` are all names written under ``targets``, valid or not, so that
    a fault in a target is not reported again at every tenant that uses it.
    """
    for name, tenant in settings.tenants.items():
        for index, target in enumerate(tenant.targets):
            if target not in known_targets:
                cure = nearest(target, known_targets)
                yield Finding(f"tenants.{name}.targets[{index}]", f"there is no target named {target}", cure)
        for target, times in Counter(tenant.targets).items():
            if times > 1:
                yield Finding(f"tenants.{name}.targets", f"{target} is named {times} times", "Name it once.")
        yield from _fields(tenant.fields, f"tenants.{name}.fields")
    yield from _tls(settings.loki.tls, "loki.tls")
    if isinstance(settings.bus, KafkaBus):
        yield from _kafka(settings.bus)


def _fields(fields: Mapping[str, str], path: str) -> Iterator[Finding]:
    """Yield what is wrong with a tenant's own mapping."""
    for key, target in fields.items():
        place = f"{path}.{key}"
        if not key.strip():
            yield Finding(path, "a key is empty", "Write the key as it stands in the line; dots lead into objects.")
        elif target in ENVELOPE:
            yield Finding(place, f"{target} is written by the exporter alone", "Map the key to another name.")
        elif target not in KEYS:
            close = nearest(target, KEYS)
            cure = close if close.startswith("Did") else "Choose a name of docs/reference/keys.md."
            yield Finding(place, "there is no canonical name like that", cure)
        for other in fields:
            if other.startswith(f"{key}."):
                reason = f"cannot be a value and hold {other[len(key) + 1 :]} as well"
                yield Finding(place, reason, f"Map {key} or {other}, not both.")


def _tls(tls: ClientTls, path: str) -> Iterator[Finding]:
    if (tls.cert_file is None) != (tls.key_file is None):
        missing = "cert_file" if tls.cert_file is None else "key_file"
        yield Finding(f"{path}.{missing}", "is missing", "A client certificate needs both cert_file and key_file.")


def _kafka(bus: KafkaBus) -> Iterator[Finding]:
    yield from _tls(bus.tls, "bus.tls")
    if bus.min_insync_replicas > bus.replication_factor:
        reason = f"is greater than replication_factor ({bus.replication_factor}), so nothing could ever be written"
        yield Finding("bus.min_insync_replicas", reason, "Make it smaller: with 3 replicas 2 is usual, with 1 only 1.")
    sasl = bus.security_protocol.startswith("SASL_")
    if sasl and not bus.sasl_username:
        yield Finding("bus.sasl_username", f"is missing with {bus.security_protocol}", "Add the user's name.")
    if sasl and bus.sasl_password_file is None:
        yield Finding("bus.sasl_password_file", f"is missing with {bus.security_protocol}", "Name the password's file.")
    if not sasl and (bus.sasl_username or bus.sasl_password_file):
        cure = "Set it to SASL_SSL, or remove sasl_username and sasl_password_file."
        yield Finding("bus.security_protocol", f"{bus.security_protocol} sends no user and password", cure)
    if not bus.security_protocol.endswith("SSL") and bus.tls != ClientTls():
        cure = "Set it to SSL or SASL_SSL, or remove tls."
        yield Finding("bus.security_protocol", f"{bus.security_protocol} does not encrypt, but tls is given", cure)
