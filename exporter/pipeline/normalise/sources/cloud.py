"""Audit logs of cloud providers and identity services: AWS CloudTrail, Google Cloud, Azure, Entra ID, Okta.

Sources: docs.aws.amazon.com, "CloudTrail record contents"; cloud.google.com, "AuditLog"; learn.microsoft.com, "Azure activity
log event schema" and "SigninLogs"; developer.okta.com, "System Log" and its event types.
"""

from __future__ import annotations

from exporter.pipeline.normalise.source import Derive, Source, Variant, keys
from exporter.pipeline.normalise.sources.packed import open_records

_LOGON = Variant("auth.logon")
_TICKET = Variant("auth.ticket")
_TARGET = {"user.target.name": "requestParameters.userName"}
_GROUP = {"group.name": "requestParameters.groupName", "user.target.name": "requestParameters.userName"}
_POLICY = {
    "user.target.name": "requestParameters.userName",
    "role.name": "requestParameters.policyArn requestParameters.policyName requestParameters.roleName",
}
_CLOUDTRAIL = Source(
    "cloudtrail",
    "AWS CloudTrail, one event a line",
    {"api.operation": "eventName", "api.service.name": "eventSource", "cloud.region": "awsRegion",
     "cloud.account.id": "recipientAccountId userIdentity.accountId", "event.source_id": "eventID", "event.request_id": "requestID",
     "event.category": "eventCategory eventType", "user.name": "userIdentity.userName userIdentity.sessionContext.sessionIssuer.userName userIdentity.principalId",
     "user.id": "userIdentity.arn", "user.type": "userIdentity.type", "source.ip": "sourceIPAddress", "user_agent.original": "userAgent",
     "error.code": "errorCode", "error.message": "errorMessage", "event.outcome": "responseElements.ConsoleLogin",
     "tls.protocol.version": "tlsDetails.tlsVersion", "tls.cipher": "tlsDetails.cipherSuite", "url.domain": "tlsDetails.clientProvidedHostHeader"},
    keys("eventVersion eventSource eventName", "eventSource eventName awsRegion"),
    {"observer.vendor": "AWS", "observer.product": "CloudTrail", "cloud.provider": "aws"},
    kind="cloud.api",
    by=("eventName",),
    variants={
        "ConsoleLogin": _LOGON, "AssumeRole": _TICKET, "AssumeRoleWithSAML": _TICKET, "AssumeRoleWithWebIdentity": _TICKET,
        "GetSessionToken": _TICKET, "GetFederationToken": _TICKET, "SwitchRole": Variant("auth.elevate"),
        "CreateUser": Variant("iam.user.create", fields=_TARGET), "DeleteUser": Variant("iam.user.delete", fields=_TARGET),
        "UpdateUser": Variant("iam.user.update", fields=_TARGET),
        "CreateLoginProfile": Variant("iam.password.change", fields=_TARGET), "UpdateLoginProfile": Variant("iam.password.change", fields=_TARGET),
        "AddUserToGroup": Variant("iam.group.change", fields=_GROUP), "RemoveUserFromGroup": Variant("iam.group.change", fields=_GROUP),
        "CreateGroup": Variant("iam.group.change", fields=_GROUP), "DeleteGroup": Variant("iam.group.change", fields=_GROUP),
        "AttachUserPolicy": Variant("iam.priv.assign", fields=_POLICY), "AttachRolePolicy": Variant("iam.priv.assign", fields=_POLICY),
        "PutUserPolicy": Variant("iam.priv.assign", fields=_POLICY), "PutRolePolicy": Variant("iam.priv.assign", fields=_POLICY),
        "DetachUserPolicy": Variant("iam.priv.revoke", fields=_POLICY), "DetachRolePolicy": Variant("iam.priv.revoke", fields=_POLICY),
        "DeleteUserPolicy": Variant("iam.priv.revoke", fields=_POLICY), "DeleteRolePolicy": Variant("iam.priv.revoke", fields=_POLICY),
    },
    # "errorCode: the AWS service error if the request returns an error": without one the call was done.
    absent=(("error.code", "event.outcome", "success"), ("event.outcome", "event.outcome", "failure")),
)  # fmt: skip
_DELIVERY = Source(
    "cloudtrail_delivery",
    "AWS CloudTrail as it is delivered, one event in `Records`; of several the line stays whole",
    signatures=(frozenset(("Records",)),),
    prepare=open_records,
)
_GCP = Source(
    "gcp_audit",
    "Google Cloud audit logs",
    {"api.operation": "protoPayload.methodName", "api.service.name": "protoPayload.serviceName", "severity.text": "severity",
     "user.name": "protoPayload.authenticationInfo.principalEmail", "user.id": "protoPayload.authenticationInfo.principalSubject",
     "source.ip": "protoPayload.requestMetadata.callerIp", "user_agent.original": "protoPayload.requestMetadata.callerSuppliedUserAgent",
     "cloud.resource.id": "protoPayload.resourceName", "cloud.account.id": "resource.labels.project_id", "cloud.region": "resource.labels.location",
     "event.source_id": "insertId", "error.code": "protoPayload.status.code", "error.message": "protoPayload.status.message",
     "event.category": "logName", "trace.id": "trace"},
    keys("protoPayload logName", "protoPayload insertId"),
    {"observer.vendor": "Google", "observer.product": "Cloud Audit Logs", "cloud.provider": "gcp"},
    kind="cloud.api",
    # AuditLog.status is an empty google.rpc.Status, or left out, where the call was done.
    absent=(("error.code", "event.outcome", "success"), ("event.outcome", "event.outcome", "failure")),
)  # fmt: skip
#: "resultType: 0 is success, everything else an error code" (SigninLogs).
_BY_CODE = Derive("error.code", "event.outcome", lambda code: "success" if code == "0" else "failure")
_SIGNIN = Source(
    "entra_signin",
    "Microsoft Entra ID sign-ins",
    {"user.name": "userPrincipalName properties.userPrincipalName", "user.id": "userId properties.userId",
     "source.ip": "callerIpAddress ipAddress properties.ipAddress", "service.name": "appDisplayName properties.appDisplayName",
     "event.source_id": "id properties.id", "event.request_id": "correlationId", "error.code": "resultType status.errorCode properties.status.errorCode",
     "event.reason": "resultDescription status.failureReason properties.status.failureReason", "event.category": "category",
     "event.action": "operationName", "user_agent.original": "userAgent properties.userAgent", "auth.method": "authenticationRequirement properties.authenticationRequirement",
     "api.operation": "operationName"},
    keys("userPrincipalName appDisplayName ipAddress", "userPrincipalName appId ipAddress"),
    {"observer.vendor": "Microsoft", "observer.product": "Entra ID", "cloud.provider": "azure"},
    kind="auth.logon",
    derive=(_BY_CODE,),
)  # fmt: skip
_SIGNIN_CATEGORY = Variant(
    "auth.logon",
    {"observer.product": "Entra ID"},
    {name: names for name, names in _SIGNIN.fields.items() if name != "api.operation"},
)
_AZURE = Source(
    "azure",
    "Azure activity and Entra ID logs as diagnostic settings export them",
    {"api.operation": "operationName.value operationName", "cloud.resource.id": "resourceId ResourceId", "event.category": "category.value category",
     "severity.text": "level Level", "source.ip": "callerIpAddress httpRequest.clientIpAddress", "user.name": "caller identity.claims.name identity",
     "event.request_id": "correlationId", "event.outcome": "resultType status.value resultSignature", "event.reason": "resultDescription",
     "cloud.account.id": "subscriptionId tenantId", "event.source_id": "eventDataId operationId", "cloud.region": "location"},
    keys("operationName category resourceId", "operationName resourceId caller", "operationName category resultType"),
    {"observer.vendor": "Microsoft", "observer.product": "Azure", "cloud.provider": "azure", "cloud.service.name": "azure"},
    kind="cloud.api",
    by=("category",),
    variants=dict.fromkeys(("SignInLogs", "NonInteractiveUserSignInLogs", "ServicePrincipalSignInLogs", "ManagedIdentitySignInLogs"), _SIGNIN_CATEGORY),
    derive=(_BY_CODE,),
)  # fmt: skip
_OKTA = Source(
    "okta",
    "Okta's system log",
    {"event.action": "eventType", "message": "displayMessage", "severity.text": "severity", "event.source_id": "uuid",
     "user.name": "actor.alternateId", "user.id": "actor.id", "user.type": "actor.type", "source.ip": "client.ipAddress",
     "user_agent.original": "client.userAgent.rawUserAgent", "event.outcome": "outcome.result", "event.reason": "outcome.reason",
     "session.id": "authenticationContext.externalSessionId", "api.operation": "transaction.type"},
    keys("eventType uuid actor outcome", "eventType published actor"),
    {"observer.vendor": "Okta", "observer.product": "Okta"},
    by=("eventType",),
    variants={
        "user.session.start": _LOGON, "user.authentication.sso": _LOGON, "user.authentication.auth_via_mfa": _LOGON,
        "user.session.end": Variant("auth.logoff"), "app.oauth2.token.grant.access_token": _TICKET,
        "user.session.impersonation.initiate": Variant("auth.elevate"),
    },
)  # fmt: skip

SOURCES = (_CLOUDTRAIL, _DELIVERY, _GCP, _SIGNIN, _AZURE, _OKTA)
