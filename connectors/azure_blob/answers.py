"""What an error of Azure Storage or of its SDK means for delivery, in one place.

Messages are ours. Of an answer only the error code is passed on: the service's own messages quote names and times, and a proxy's
page may quote the request.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping

from azure.core.exceptions import AzureError, HttpResponseError, ServiceRequestError, ServiceResponseError

from connectors.base import (
    BatchTooLarge,
    TargetError,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)
from connectors.http import OutcomeUnknown, parse_retry_after

_CODE = re.compile(r"[A-Za-z0-9]{1,60}")
#: A conditional write found the name taken (Put Blob, conditional headers; the two last where a policy or a SAS without write
#: permission is looked at before the condition).
EXISTS = frozenset({"BlobAlreadyExists", "ConditionNotMet", "BlobImmutableDueToPolicy", "UnauthorizedBlobOverwrite"})
_ROLE = (
    "give the identity the role Storage Blob Data Contributor on the container; a new assignment takes minutes to act"
)
_KEY = "check account_url and account_key_file, or sas_file"
#: Azure Storage error codes (REST API, common and Blob service error codes); a number is an HTTP status without a readable code.
_TABLE: dict[str, tuple[type[TargetError], str]] = {
    "AuthenticationFailed": (TargetUnauthorized, _KEY + "; a SAS may have ended, and the clock must be right"),
    "InvalidAuthenticationInfo": (TargetUnauthorized, "check account_url and auth"),
    "NoAuthenticationInformation": (TargetUnauthorized, "check auth"),
    "AuthorizationFailure": (
        TargetUnauthorized,
        "the account's firewall refuses this network: allow it, or use a private endpoint",
    ),
    "AuthorizationPermissionMismatch": (
        TargetUnauthorized,
        _ROLE + "; a SAS needs read, create, write and list (sp=rcwl)",
    ),
    "AuthorizationSourceIPMismatch": (TargetUnauthorized, "the SAS allows other addresses (sip)"),
    "AuthorizationProtocolMismatch": (TargetUnauthorized, "the SAS allows https only (spr)"),
    "AuthorizationResourceTypeMismatch": (TargetUnauthorized, "the SAS must allow objects and containers (srt=co)"),
    "AuthorizationServiceMismatch": (TargetUnauthorized, "the SAS must be for blobs (ss=b)"),
    "InsufficientAccountPermissions": (TargetUnauthorized, _ROLE),
    "KeyBasedAuthenticationNotPermitted": (TargetUnauthorized, "the account allows no shared keys: use an identity"),
    "PublicAccessNotPermitted": (TargetUnauthorized, "check auth"),
    "401": (TargetUnauthorized, "check auth"),
    "403": (TargetUnauthorized, _ROLE),
    "AccountIsDisabled": (TargetMisconfigured, "the account cannot be used; ask its owner"),
    "AccountRequiresHttps": (TargetMisconfigured, "account_url must start with https://"),
    "ContainerNotFound": (TargetMisconfigured, "create the container, or correct container"),
    "ContainerBeingDeleted": (TargetMisconfigured, "somebody deletes the container"),
    "ContainerDisabled": (TargetMisconfigured, "the container cannot be used; ask its owner"),
    "ResourceNotFound": (TargetMisconfigured, "check account_url and container"),
    "FeatureVersionMismatch": (TargetMisconfigured, "the account has no support for this; see immutability and tags"),
    "BlobImmutableDueToPolicy": (TargetMisconfigured, "a policy forbids the write"),
    "ImmutabilityPolicyNotSupported": (TargetMisconfigured, "enable version-level immutability on the container first"),
    "ContainerImmutableStorageWithVersioningNotEnabled": (
        TargetMisconfigured,
        "enable version-level immutability on the container first",
    ),
    "InvalidTagSet": (TargetMisconfigured, "check tags"),
    "NotImplemented": (TargetMisconfigured, "the store knows no immutability, tags or tiers: leave them out"),
    "501": (TargetMisconfigured, "the store knows no immutability, tags or tiers: leave them out"),
    "RequestBodyTooLarge": (BatchTooLarge, ""),
    "413": (BatchTooLarge, ""),
    "ServerBusy": (TargetThrottled, ""),
    "TooManyRequests": (TargetThrottled, ""),
    "429": (TargetThrottled, ""),
    "503": (TargetThrottled, ""),
    "OperationTimedOut": (OutcomeUnknown, ""),
    "InternalError": (OutcomeUnknown, ""),
    # Damaged or cut on the way: the same again.
    "Md5Mismatch": (TargetUnavailable, "something on the way changes what is sent"),
    "Crc64Mismatch": (TargetUnavailable, "something on the way changes what is sent"),
    "IncompleteBody": (TargetUnavailable, ""),
    "408": (OutcomeUnknown, ""),
}


class BlobExists(Exception):
    """The name is taken."""


def code_of(error: HttpResponseError) -> str:
    """Return the error code of an answer, empty when it has none that could be one. The storage library sets the attribute."""
    found = getattr(error, "error_code", None)
    code = str(getattr(found, "value", found) or "")
    return code if _CODE.fullmatch(code) else ""


def error_of_answer(error: HttpResponseError, name: str) -> TargetError | BlobExists:
    """Return what an answer means; ``name`` is the container as messages show it."""
    code = code_of(error)
    status = error.status_code or 0
    if code in EXISTS or (status == 412 and not code):
        return BlobExists()
    found = _TABLE.get(code) or _TABLE.get(str(status))
    if found is None:
        found = (
            (OutcomeUnknown, "")
            if status >= 500 or not status
            else (TargetMisconfigured, "check account_url and any proxy")
        )
    kind, hint = found
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    return kind(
        f"Azure container {name}: HTTP {status}{f' {code}' if code else ''}",
        hint=hint,
        code=code or f"http_{status}",
        retry_after_seconds=parse_retry_after(headers.get("Retry-After")),
    )


def error_of_sdk(error: BaseException, name: str) -> TargetError:
    """Return what it means when there is no answer."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TargetMisconfigured(
                f"Azure container {name}: the certificate is not trusted",
                hint="set ca_file to the CA that issued it",
                code="tls",
            )
        cause = cause.__cause__ or cause.__context__
    text = f"Azure container {name}: no answer ({type(error).__name__})"
    if isinstance(error, ServiceRequestError):
        return TargetUnavailable(text, hint="check account_url and the network", code="connection")
    if isinstance(error, ServiceResponseError | TimeoutError | OSError):
        return OutcomeUnknown(text, code="timeout" if isinstance(error, TimeoutError) else "connection")
    if isinstance(error, AzureError):
        return TargetUnavailable(text, code="sdk")
    return TargetMisconfigured(
        f"Azure container {name}: the request cannot be made ({type(error).__name__})",
        hint="check account_url, account_key_file and sas_file",
        code="sdk",
    )
