"""Loading a configuration for a command, with the checks of the layers above the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.domain.secrets import SecretError
from exporter.errors import ConfigurationError, Finding

if TYPE_CHECKING:  # pydantic and the models cost more than `--help` may take
    from pydantic import BaseModel

    from exporter.settings.model import Settings

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="The configuration file.", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def target_models() -> Mapping[str, type[BaseModel]]:
    """Return the settings model of every installed connector. Look-up raises ConfigurationError for a broken one."""
    from connectors.registry import settings_models  # noqa: PLC0415 - looks at every installed package

    return settings_models()


def read_settings(path: Path, *, policies: bool) -> Settings:
    """Load and check a configuration. ``policies``: also compile every tenant's pipeline, which runs its policy's own
    tests. Raises ConfigurationError with the findings of everything.
    """
    from exporter.settings.load import load_settings  # noqa: PLC0415

    checks = [selector_findings, signing_findings]
    checks += [policy_findings] if policies else []
    return load_settings(path, target_models(), checks)


def selector_findings(settings: Settings) -> Iterator[Finding]:
    """Check every tenant's selector as LogQL."""
    from exporter.loki.selector import validate_selector  # noqa: PLC0415

    for name, tenant in settings.tenants.items():
        try:
            validate_selector(tenant.selector)
        except ValueError as error:
            reason, _, cure = str(error).partition("; ")
            cure = cure or 'write a pure stream selector such as {job=~".+"}'
            yield Finding(f"tenants.{name}.selector", reason, f"{cure[:1].upper()}{cure[1:]}.")


def signing_findings(settings: Settings) -> Iterator[Finding]:
    """Look whether the ledger can be signed, long before the first export."""
    if settings.service.signing_key_file is None:
        return
    from exporter.custody.signing import signing_key  # noqa: PLC0415

    try:
        signing_key(settings.service.signing_key_file)
    except ConfigurationError as error:
        yield from error.findings


def policy_findings(settings: Settings) -> Iterator[Finding]:
    """Compile every tenant's pipeline and run the tests of its packs."""
    from exporter.pipeline import compile_pipeline  # noqa: PLC0415
    from exporter.pipeline.checks import failed_findings, run_tests  # noqa: PLC0415
    from exporter.pipeline.redact.policy import uses_pseudonyms  # noqa: PLC0415
    from exporter.pseudonyms.keys import master_keys  # noqa: PLC0415

    if any(uses_pseudonyms(tenant.policy) for tenant in settings.tenants.values()):
        try:
            master_keys(settings.service.pseudonym_key_file)
        except ConfigurationError as error:
            yield from error.findings
    key = settings.service.identity_key_file
    try:
        identity_key = key.reveal().encode()[:64] if key is not None else b""
    except SecretError:
        identity_key = b""  # reported by the loader
    for name, tenant in settings.tenants.items():
        try:
            pipeline = compile_pipeline(name, tenant, identity_key=identity_key)
            yield from failed_findings(run_tests(pipeline, tenant.tests))
        except ConfigurationError as error:
            yield from error.findings
