"""A real broker with TLS, client certificates, logins and ACLs. All certificates are made here, for one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificate

from tests.support.kafka import KafkaServer, free_port
from tests.support.programs import wait_until

USER = "siem"
#: Grepped for in everything that is printed.
PASSWORD = "pass-word-of-the-tests-4711"
LISTENERS = ("sasl", "mtls", "tls", "expired", "misnamed")


def make_certificates(directory: Path) -> None:
    """Write ``ca.pem``, ``stranger-ca.pem``, the brokers' keystores and the clients' certificates and keys."""
    directory.mkdir(parents=True)
    ca, stranger = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    stranger.cert_pem.write_to_path(str(directory / "stranger-ca.pem"))
    past = datetime.now(UTC) - timedelta(days=2)
    issued = {
        "broker": ca.issue_cert("127.0.0.1", "localhost"),
        "expired": ca.issue_cert("127.0.0.1", not_before=past - timedelta(days=2), not_after=past),
        "misnamed": ca.issue_cert("elsewhere.example"),
        "client": ca.issue_cert(
            "siem.example", common_name="siem-client", organization_name="Example", organization_unit_name="SOC"
        ),
        "stranger": stranger.issue_cert("siem.example", common_name="stranger"),
        "expired-client": ca.issue_cert("siem.example", not_before=past - timedelta(days=2), not_after=past),
    }
    for name, leaf in issued.items():
        key = load_pem_private_key(leaf.private_key_pem.bytes(), None)
        pkcs8 = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # the only form that Java reads
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        (directory / f"{name}.pem").write_bytes(pkcs8 + chain)
        (directory / f"{name}.key").write_bytes(pkcs8)
        (directory / f"{name}.crt").write_bytes(chain)


@dataclass
class SecureKafka:
    """The running broker: ports by listener name, certificates, and its ACLs."""

    server: KafkaServer
    ports: dict[str, int]
    certificates: Path

    @cached_property
    def admin(self) -> AdminClient:
        """The super user's client; it must outlive its requests."""
        return AdminClient({"bootstrap.servers": self.server.bootstrap_servers})

    def connection(self, listener: str) -> dict[str, object]:
        """Return the keys of a bus section that reach one listener in the right way."""
        tls: dict[str, object] = {"ca_file": str(self.certificates / "ca.pem")}
        keys: dict[str, object] = {"bootstrap_servers": f"127.0.0.1:{self.ports[listener]}", "tls": tls}
        if listener == "sasl":
            (self.certificates / "password").write_text(PASSWORD)
            login = {"sasl_username": USER, "sasl_password_file": str(self.certificates / "password")}
            return keys | login | {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
        if listener == "mtls":
            tls |= self.client("client")
        return keys | {"security_protocol": "SSL"}

    def client(self, name: str) -> dict[str, object]:
        """Return the keys of a client certificate for ``tls``."""
        return {"cert_file": str(self.certificates / f"{name}.crt"), "key_file": str(self.certificates / f"{name}.key")}

    def principal(self, listener: str) -> str:
        """Return who we are for the broker there; Java prints a subject as RFC 2253 has it."""
        if listener == "sasl":
            return f"User:{USER}"
        certificate = load_pem_x509_certificate((self.certificates / "client.crt").read_bytes())
        return f"User:{certificate.subject.rfc4514_string()}"

    def grant(
        self, principal: str, resource: str, name: str, operations: Sequence[str], *, literal: bool = False
    ) -> None:
        """Allow operations on everything that begins with ``name`` (or only on it)."""
        for future in self.admin.create_acls(
            [_binding(principal, resource, name, operation, literal=literal) for operation in operations]
        ).values():
            future.result(20)
        for operation in operations:
            self._wait(_filter(principal, resource, AclOperation[operation], name), present=True)

    def grant_all(self, principal: str, prefix: str) -> None:
        """What ``docs/kafka.md`` tells an administrator to grant."""
        self.grant(principal, "TOPIC", f"{prefix}.", ["CREATE", "READ", "WRITE", "DESCRIBE_CONFIGS"])
        self.grant(principal, "GROUP", f"{prefix}.", ["READ"])
        self.grant(principal, "TRANSACTIONAL_ID", f"{prefix}-shard-", ["WRITE"])

    def revoke(self, principal: str, resource: str, operation: str | None = None) -> None:
        """Take away what was granted on one kind of resource."""
        wanted = AclOperation[operation] if operation else AclOperation.ANY
        every = _filter(principal, resource, wanted)
        for future in self.admin.delete_acls([every]).values():
            future.result(20)
        self._wait(every, present=False)

    def _wait(self, wanted: AclBindingFilter, *, present: bool) -> None:
        """The controller answers before the broker has heard of the change."""
        what = "the broker knows of the change of ACLs"
        wait_until(lambda: bool(self.admin.describe_acls(wanted).result(20)) is present, what)


def _filter(principal: str, resource: str, operation: AclOperation, name: str | None = None) -> AclBindingFilter:
    kind, every = ResourceType[resource], ResourcePatternType.ANY
    return AclBindingFilter(kind, name, every, principal, None, operation, AclPermissionType.ANY)


def _binding(principal: str, resource: str, name: str, operation: str, *, literal: bool) -> AclBinding:
    pattern = ResourcePatternType.LITERAL if literal else ResourcePatternType.PREFIXED
    kind = ResourceType[resource]
    return AclBinding(kind, name, pattern, principal, "*", AclOperation[operation], AclPermissionType.ALLOW)


@contextmanager
def secure_kafka(directory: Path) -> Iterator[SecureKafka]:
    """Start the broker for the block. Raises KafkaMissingError."""
    certificates = directory / "certificates"
    make_certificates(certificates)
    ports = {name: free_port() for name in LISTENERS}
    values = {f"{name}_port": port for name, port in ports.items()}
    values |= {"certificates": certificates, "user": USER, "password": PASSWORD}
    scram = [f"{m}=[name={USER},password={PASSWORD}]" for m in ("SCRAM-SHA-256", "SCRAM-SHA-512")]
    server = KafkaServer(
        directory / "broker",
        template="secure.properties",
        values=values,
        format_arguments=[argument for each in scram for argument in ("--add-scram", each)],
        heap_mbytes=256,
    )
    try:
        yield SecureKafka(server.start(), ports, certificates)
    finally:
        server.stop()
