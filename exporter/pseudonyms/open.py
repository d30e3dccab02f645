"""Which store a configuration has, and everything of one tenant opened. Called by ``exporter.app`` and the commands."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.pseudonyms.kafka import KafkaSaltStore
from exporter.pseudonyms.keys import Sealer, master_keys
from exporter.pseudonyms.sqlite import SqliteSaltStore
from exporter.pseudonyms.store import SaltStore
from exporter.pseudonyms.vault import Vault
from exporter.settings.model import KafkaBus, Settings


def open_store(settings: Settings, tenant: str) -> SaltStore:
    """Return a tenant's store: beside the bus, a file of its own or a topic of its own. Touches the world only in its methods."""
    if isinstance(settings.bus, KafkaBus):
        return KafkaSaltStore(settings.bus, tenant)
    return SqliteSaltStore(settings.service.state_dir / "pseudonyms" / f"{tenant}.db")


def open_sealer(settings: Settings, tenant: str) -> Sealer:
    """Return what opens a tenant's records. Raises ConfigurationError when there is no usable master key."""
    return Sealer(master_keys(settings.service.pseudonym_key_file), tenant)


def open_vaults(settings: Settings, tenants: Sequence[str]) -> dict[str, Vault]:
    """Return the vaults of these tenants, one for each. Raises ConfigurationError."""
    return {
        name: Vault(
            open_store(settings, name), open_sealer(settings, name), settings.tenants[name].policy.pseudonym_epoch
        )
        for name in tenants
    }
