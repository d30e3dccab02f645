"""From a tenant's settings to its pipeline: packs, policy, filters; every fault in one report."""

from __future__ import annotations

from exporter.domain.clock import Clock
from exporter.errors import ConfigurationError, Finding
from exporter.pipeline.filters import Filters, compile_filters
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.redact.actions import Tokens
from exporter.pipeline.redact.engine import Redactor, sample_findings
from exporter.pipeline.redact.policy import NoTokens, SampleTokens, compile_policy, outcome_findings
from exporter.pipeline.redact.rules import load_rules
from exporter.settings.model import TenantSettings

#: Tells whether a policy replaces addresses (RFC 5737: stands for nobody's).
_ADDRESS = "source.ip=192.0.2.7"
#: Redactors by the digest of their packs. Most tenants share their packs, and compiling costs a third of a second.
_COMPILED: dict[str, Redactor] = {}


def compile_pipeline(
    tenant: str,
    settings: TenantSettings,
    *,
    identity_key: bytes = b"",
    tokens: Tokens | None = None,
    clock: Clock | None = None,
) -> Pipeline:
    """Compile a tenant's pipeline; called once at start and by ``check``.

    ``identity_key`` is that of the event ids (it names the streams too). ``tokens`` makes pseudonyms; without it a policy that
    needs them can be checked, but holds back every event that they are for. Raises ConfigurationError with every finding:
    unknown packs, patterns that do not compile, samples that fail, policies and filters that name what is not there.
    """
    redactor, digest = _redactor(tenant, settings)
    where = f"tenants.{tenant}.policy"
    sample, findings = compile_policy(settings.policy, redactor.rules, SampleTokens(), where)
    findings = findings or outcome_findings(redactor, sample, where)
    acting = redactor.acting(sample.actions, None)
    filters = _filters(tenant, settings, acting, findings)
    source = (tokens or NoTokens()) if sample.needs_tokens else None
    policy, _ = compile_policy(settings.policy, redactor.rules, source or NoTokens(), where)
    if policy.actions != tuple(rule.action for rule in redactor.rules):
        redactor = redactor.acting(policy.actions, source.learn if source else None)
    digests = (digest, policy.digest) if policy.digest else (digest,)
    return Pipeline(tenant, settings, redactor, filters, digests, identity_key, policy.fields, source, clock)


def _redactor(tenant: str, settings: TenantSettings) -> tuple[Redactor, str]:
    """Return the compiled packs and their digest."""
    path = f"tenants.{tenant}.redaction"
    rules, digest, findings = load_rules(settings.redaction, path)
    redactor = _COMPILED.get(digest)
    if redactor is None and not findings:
        try:
            redactor = Redactor(rules)
            findings = sample_findings(redactor, path)
        except ValueError as error:
            findings = [Finding(path, str(error), "Correct the scan pattern of the pack.")]
    if findings or redactor is None:
        raise ConfigurationError(findings)
    _COMPILED[digest] = redactor
    return redactor, digest


def _filters(tenant: str, settings: TenantSettings, redactor: Redactor, findings: list[Finding]) -> Filters | None:
    """Return the compiled filters. Raises ConfigurationError with what was found before and here."""
    hides_addresses = bool(redactor.redact([_ADDRESS], {}).changed)
    filters = compile_filters(tenant, settings.filters, findings, hides_addresses=hides_addresses)
    if findings:
        raise ConfigurationError(findings)
    return filters
