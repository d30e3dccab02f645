"""The policies that ship, one a data class (docs/privacy/policy.md tells what each is meant for). A rule of a pack that the tenant does not
use is passed over; every rule that is not named masks.
"""

from __future__ import annotations

from exporter.settings.policy import SHIPPED, PolicySettings

#: rule → action
_SECURITY_RULES = {
    "email": "pseudonym",
    "phone": "pseudonym",
    "phone-field": "pseudonym",
    "ipv4": "ip_prefix",
    "ipv6": "ip_prefix",
    "mac": "pseudonym",
    "mac-dotted": "pseudonym",
}
_PERSONAL_RULES = {
    "email": "pseudonym",
    "phone": "pseudonym",
    "phone-field": "pseudonym",
    "ipv4": "pseudonym",
    "ipv6": "pseudonym",
    "mac": "pseudonym",
    "mac-dotted": "pseudonym",
}
_FINANCIAL_RULES = {
    "card": {"partial": 4},
    "iban": {"partial": 4},
}
#: field → action
_USER_PSEUDONYMS = {
    "user.name": "pseudonym",
    "user.id": "pseudonym",
    "user.email": "pseudonym",
    "user.full_name": "pseudonym",
    "user.target.name": "pseudonym",
    "user.target.id": "pseudonym",
    "user.effective.name": "pseudonym",
    "http.request.header.cookie": "drop_field",
}
_CLIENT_PSEUDONYMS = {
    "source.address": "pseudonym",
    "source.mac": "pseudonym",
    "client.address": "pseudonym",
    "host.mac": "pseudonym",
    "device.id": "pseudonym",
}
_USER_MASKS = {
    "user.*": "mask",
    "source.*": "mask",
    "client.*": "mask",
    "http.request.header.cookie": "drop_field",
    "url.query": "drop_field",
}

POLICIES: dict[str, PolicySettings] = {
    "technical": PolicySettings(),
    "ops": PolicySettings(),
    "security": PolicySettings.model_validate({"actions": _SECURITY_RULES, "fields": _USER_PSEUDONYMS}),
    "personal": PolicySettings.model_validate(
        {"actions": _PERSONAL_RULES, "fields": _USER_PSEUDONYMS | _CLIENT_PSEUDONYMS}
    ),
    "special": PolicySettings.model_validate({"fields": _USER_MASKS}),
    "financial": PolicySettings.model_validate({"actions": _FINANCIAL_RULES, "fields": {"user.*": "mask"}}),
    "secret": PolicySettings.model_validate({"fields": {"http.request.header.*": "drop_field"}}),
}
assert tuple(POLICIES) == SHIPPED


def resolved(policy: PolicySettings) -> PolicySettings:
    """Return a policy with what it is based on written into it; its own keys win."""
    if policy.based_on is None:
        return policy
    base = POLICIES[policy.based_on]
    changes = {
        "based_on": None,
        "actions": {**base.actions, **policy.actions},
        "fields": {**base.fields, **policy.fields},
    }
    return policy.model_copy(update=changes)
