"""Kinds → classes of OCSF, with what each class requires.

Read from the published schema, versions 1.1.0 to 1.7.0 (github.com/ocsf/ocsf-schema); ``tests/unit/connectors/schemas`` checks
every produced event against those versions. An event that lacks what its class requires becomes a Base Event.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSIONS = ("1.1.0", "1.3.0", "1.5.0", "1.7.0")
DEFAULT_VERSION = "1.5.0"

Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Class:
    """``holds``: attributes of ours that it has; ``requires``: of each group one. ``old_requires`` holds before 1.5.0.

    ``since``: first of our versions that has the class, ``device_since`` that has its ``device`` and ``actor``.
    """

    uid: int
    name: str
    category: str
    holds: tuple[str, ...]
    requires: Groups = ()
    old_requires: Groups = ()
    since: str = "1.1.0"
    device_since: str = "1.1.0"


_IAM, _SYSTEM = "Identity & Access Management", "System Activity"
_NETWORK, _APPLICATION, _FINDINGS = "Network Activity", "Application Activity", "Findings"
_ENDS = ("src_endpoint", "dst_endpoint")
_HOST = ("device", "actor")

BASE = Class(0, "Base Event", "Uncategorized", _HOST, device_since="1.5.0")
AUTHENTICATION = Class(
    3002,
    "Authentication",
    _IAM,
    ("user", "service", "device", "actor", *_ENDS),
    (("user",), ("service", "dst_endpoint")),
)
ACCOUNT_CHANGE = Class(3001, "Account Change", _IAM, ("user", "actor", "device", "src_endpoint"), (("user",),))
USER_ACCESS = Class(3005, "User Access Management", _IAM, ("user", "privileges", *_HOST), (("user",), ("privileges",)))
GROUP_MANAGEMENT = Class(
    3006, "Group Management", _IAM, ("group", "user", "privileges", *_HOST), (("group",),), (("user", "privileges"),)
)
NETWORK = Class(
    4001, "Network Activity", _NETWORK, ("app_name", *_ENDS, *_HOST), (_ENDS,), (("dst_endpoint",), ("src_endpoint",))
)
HTTP = Class(
    4002,
    "HTTP Activity",
    _NETWORK,
    ("http_request", "http_response", "app_name", *_ENDS, *_HOST),
    (("http_request", "http_response"),),
    (("http_request",), ("http_response",), ("dst_endpoint",), ("src_endpoint",)),
)
DNS = Class(
    4003,
    "DNS Activity",
    _NETWORK,
    ("query", "answers", "rcode", "app_name", *_ENDS, *_HOST),
    (_ENDS,),
    (("src_endpoint",),),
)
DHCP = Class(4004, "DHCP Activity", _NETWORK, ("app_name", *_ENDS, *_HOST), (_ENDS,))
EMAIL = Class(4009, "Email Activity", _NETWORK, ("email", *_ENDS, *_HOST), (("email",),))
FILE = Class(1001, "File System Activity", _SYSTEM, ("file", *_HOST), (("device",), ("actor",), ("file",)))
JOB = Class(1006, "Scheduled Job Activity", _SYSTEM, ("job", *_HOST), (("device",), ("job",)), since="1.7.0")
PROCESS = Class(1007, "Process Activity", _SYSTEM, ("process", *_HOST), (("device",), ("actor",), ("process",)))
MODULE = Class(1005, "Module Activity", _SYSTEM, ("module", *_HOST), (("device",), ("actor",), ("module",)))
REGISTRY = Class(201001, "Registry Key Activity", _SYSTEM, ("reg_key", *_HOST), (("device",), ("actor",), ("reg_key",)))
API = Class(
    6003,
    "API Activity",
    _APPLICATION,
    ("api", "actor", "src_endpoint", "dst_endpoint", "device", "http_request", "resources"),
    (("api",), ("actor",), ("src_endpoint",)),
    device_since="1.5.0",
)
LIFECYCLE = Class(6002, "Application Lifecycle", _APPLICATION, ("app", *_HOST), (("app",),))
APP_ERROR = Class(6008, "Application Error", _APPLICATION, _HOST, since="1.5.0")
FINDING = Class(2004, "Detection Finding", _FINDINGS, ("finding_info", "device", "actor"), (("finding_info",),))

#: Kind → class, activity id and its name. Activities that depend on the event are in ``mapper``.
KINDS: dict[str, tuple[Class, int, str]] = {
    "log": (BASE, 99, "Log"),
    "app.error": (APP_ERROR, 1, "General Error"),
    "auth.logon": (AUTHENTICATION, 1, "Logon"),
    "auth.logoff": (AUTHENTICATION, 2, "Logoff"),
    "auth.elevate": (AUTHENTICATION, 99, "Elevate"),
    "auth.ticket": (AUTHENTICATION, 3, "Authentication Ticket"),
    "iam.user.create": (ACCOUNT_CHANGE, 1, "Create"),
    "iam.user.update": (ACCOUNT_CHANGE, 99, "Update"),
    "iam.user.delete": (ACCOUNT_CHANGE, 6, "Delete"),
    "iam.user.lock": (ACCOUNT_CHANGE, 9, "Lock"),
    "iam.password.change": (ACCOUNT_CHANGE, 3, "Password Change"),
    "iam.group.change": (GROUP_MANAGEMENT, 99, "Change"),
    "iam.priv.assign": (USER_ACCESS, 1, "Assign Privileges"),
    "iam.priv.revoke": (USER_ACCESS, 2, "Revoke Privileges"),
    "net.flow": (NETWORK, 6, "Traffic"),
    "net.session": (NETWORK, 1, "Open"),
    "dns.query": (DNS, 1, "Query"),
    "dhcp.lease": (DHCP, 5, "Ack"),
    "http.request": (HTTP, 99, "Other"),
    "email.message": (EMAIL, 99, "Message"),
    "process.start": (PROCESS, 1, "Launch"),
    "process.stop": (PROCESS, 2, "Terminate"),
    "file.create": (FILE, 1, "Create"),
    "file.read": (FILE, 2, "Read"),
    "file.write": (FILE, 3, "Update"),
    "file.delete": (FILE, 4, "Delete"),
    "file.attributes": (FILE, 6, "Set Attributes"),
    "registry.change": (REGISTRY, 3, "Modify"),
    "service.change": (LIFECYCLE, 99, "Change"),
    "job.run": (JOB, 99, "Run"),
    "kernel.module": (MODULE, 1, "Load"),
    "k8s.api": (API, 99, "Other"),
    "cloud.api": (API, 99, "Other"),
    "config.change": (BASE, 99, "Change"),
    "detection": (FINDING, 1, "Create"),
}

#: Names of objects → what each must hold; an object without it is left out and its values go to ``unmapped``.
OBJECTS: dict[str, Groups] = {
    "actor": (("user", "process"),),
    "api": (("operation",),),
    "app": (("name",),),
    "device": (("hostname", "ip", "name"),),
    "dst_endpoint": (("ip", "name", "hostname"),),
    "email": (("from",), ("to",)),
    "file": (("name",),),
    "finding_info": (("title",), ("uid",)),
    "group": (("name", "uid"),),
    "http_response": (("code",),),
    "job": (("name",),),
    "module": (("file",),),
    "process": (("pid", "uid"),),
    "parent_process": (("pid", "uid"),),
    "query": (("hostname",),),
    "reg_key": (("path",),),
    "service": (("name",),),
    "src_endpoint": (("ip", "name", "hostname"),),
    "url": (("url_string", "path"),),
    "user": (("name", "uid"),),
}
