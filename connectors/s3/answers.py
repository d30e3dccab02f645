"""What an error of S3 or of the SDK means for delivery, in one place.

Messages are ours. Of an answer only the error code, and the action that AWS says is not allowed, are passed on: a proxy's
page or a store's message may quote the request.
"""

from __future__ import annotations

import re

from botocore import exceptions as sdk

from connectors.base import (
    BatchTooLarge,
    TargetError,
    TargetMisconfigured,
    TargetThrottled,
    TargetUnauthorized,
    TargetUnavailable,
)

_CODE = re.compile(r"[A-Za-z0-9.]{1,60}")
_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]{1,20}:[A-Za-z]{1,60})\b")


class ObjectExists(Exception):
    """412: the key is taken."""


class ConditionRefused(Exception):
    """501: the store knows no conditional writes."""


_NO_ACCESS = frozenset({"AccessDenied", "AccessDeniedException", "Forbidden", "403"})
_NO_CONDITIONS = frozenset({"NotImplemented", "501"})
_FULL = frozenset(
    {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage", "507"}
)
_EXPIRED = "the temporary credentials have expired"
_KEY = "check access_key_id and its secret"
_ACCOUNT = "the account cannot be used; ask its owner"
_REGION = "the bucket is in another region: set region"
_ADDRESS = "endpoint_url is no S3 service, or path_style is missing"
#: Amazon S3 error codes (API reference, "Error responses") and those of compatible stores; a number is an HTTP status
#: without a readable code.
_TABLE: dict[str, tuple[type[TargetError], str]] = {
    **dict.fromkeys(_NO_ACCESS, (TargetMisconfigured, "")),
    **dict.fromkeys(_FULL, (TargetUnavailable, "give the store room or raise its quota; delivery goes on by itself")),
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "TooManyRequests", "429", "503",
         "TooManyRequestsException", "RequestLimitExceeded", "KMS.ThrottlingException", "XMinioServerNotInitialized"),
        (TargetThrottled, ""),
    ),
    # Damaged or cut on the way, or another write of the same key is under way: the same again.
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "IncompleteBody",
         "RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "InternalError", "408", "409"),
        (TargetUnavailable, ""),
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "UnrecognizedClientException"),
        (TargetUnauthorized, _KEY),
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), (TargetUnauthorized, _EXPIRED)),
    **dict.fromkeys(("AccountProblem", "AllAccessDisabled", "NotSignedUp"), (TargetUnauthorized, _ACCOUNT)),
    "InvalidToken": (TargetUnauthorized, "check the session token"),
    "InvalidIdentityToken": (TargetUnauthorized, "check the web identity of the pod"),
    "401": (TargetUnauthorized, "check the credentials, and a proxy that asks for its own"),
    **dict.fromkeys(("EntityTooLarge", "413"), (BatchTooLarge, "")),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"),
        (TargetMisconfigured, _REGION),
    ),
    **dict.fromkeys(("MethodNotAllowed", "404", "405"), (TargetMisconfigured, _ADDRESS)),
    "NoSuchBucket": (TargetMisconfigured, "create the bucket, or mend bucket"),
    "InvalidBucketName": (TargetMisconfigured, "mend bucket"),
    "RequestTimeTooSkewed": (TargetMisconfigured, "this machine's clock is wrong: mend its time synchronisation"),
    "InvalidStorageClass": (TargetMisconfigured, "mend storage_class"),
    "InvalidObjectState": (
        TargetMisconfigured,
        "the object was moved to an archive class; let a lifecycle rule move objects only after some days",
    ),
    "InvalidTag": (TargetMisconfigured, "mend tags"),
    "InvalidRequest": (
        TargetMisconfigured,
        "with object_lock the bucket must have Object Lock enabled; else check checksum and kms_key_id",
    ),
}  # fmt: skip
_LACKING = "the store lacks something that is configured (object_lock, tags, checksum or kms_key_id)"
_KMS = "enable the KMS key, and allow kms:GenerateDataKey and kms:Decrypt on it"


def answer_error(error: sdk.ClientError, bucket: str, permission: str) -> Exception:
    """Return what to raise for an answer of the store: ObjectExists, ConditionRefused or a TargetError.

    ``permission`` names what the call needs, for the answer that says only that something is forbidden.
    """
    status, code = _status_and_code(error)
    if code == "PreconditionFailed" or status == 412:
        return ObjectExists()
    if code in _NO_CONDITIONS:
        return ConditionRefused()
    kind, hint = _meaning(status, code)
    if code in _NO_ACCESS:
        hint = f"allow {_action(error) or permission}"
    named = "s3_full" if code in _FULL else f"s3_{code}"
    text = f"S3 bucket {bucket}: HTTP {status}, {code}"
    return kind(text, hint=hint, code=named, retry_after_seconds=_retry_after(error))


def _meaning(status: int, code: str) -> tuple[type[TargetError], str]:
    if found := _TABLE.get(code) or _TABLE.get(str(status)):
        return found
    if code.startswith("KMS."):
        return TargetMisconfigured, _KMS
    if status >= 500 or status < 300:  # below 300: an error in the body of a success
        return TargetUnavailable, ""
    return TargetMisconfigured, "check the target's settings against the store"


def not_implemented(bucket: str) -> TargetMisconfigured:
    """Return the error for a 501 that no condition explains."""
    return TargetMisconfigured(f"S3 bucket {bucket}: HTTP 501, NotImplemented", hint=_LACKING, code="s3_NotImplemented")


def sdk_error(error: Exception, bucket: str) -> TargetError:
    """Return what an error without an answer means."""
    text = f"S3 bucket {bucket}: no answer ({type(error).__name__})"
    if isinstance(error, sdk.SSLError):
        hint = "set ca_file to the CA that issued the store's certificate, and check https in endpoint_url"
        return TargetMisconfigured(f"S3 bucket {bucket}: no trusted TLS connection", hint=hint, code="tls")
    if isinstance(
        error,
        sdk.NoCredentialsError
        | sdk.PartialCredentialsError
        | sdk.CredentialRetrievalError
        | sdk.MetadataRetrievalError,
    ):
        hint = "give the process a role, or set access_key_id and secret_access_key_file"
        return TargetUnauthorized(f"S3 bucket {bucket}: no usable credentials", hint=hint, code="no_credentials")
    if isinstance(error, sdk.NoRegionError):
        return TargetMisconfigured(f"S3 bucket {bucket}: no region", hint="set region", code="no_region")
    if isinstance(error, sdk.ParamValidationError | sdk.ProfileNotFound | sdk.InvalidConfigError):
        return TargetMisconfigured(text, hint="check the target's settings and the AWS profile", code="sdk_settings")
    timeout = isinstance(error, TimeoutError | sdk.ConnectTimeoutError | sdk.ReadTimeoutError)
    return TargetUnavailable(text, code="timeout" if timeout else "connection")


def _status_and_code(error: sdk.ClientError) -> tuple[int, str]:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = str(error.response.get("Error", {}).get("Code", ""))
    return int(status), code if _CODE.fullmatch(code) else str(status)


def _action(error: sdk.ClientError) -> str:
    found = _ACTION.search(str(error.response.get("Error", {}).get("Message", "")))
    return found[1] if found else ""


def _retry_after(error: sdk.ClientError) -> float | None:
    value = str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", "")).strip()
    return float(value[:9]) if value.isascii() and value.isdigit() else None
