"""Vaults on stores that are gone with the test."""

from __future__ import annotations

from typing import Any

from exporter.errors import PseudonymsUnavailable
from exporter.pipeline import Pipeline, compile_pipeline
from exporter.pseudonyms.keys import Sealer
from exporter.pseudonyms.sqlite import SqliteSaltStore
from exporter.pseudonyms.store import SaltStore
from exporter.pseudonyms.vault import Vault
from tests.support.pipelines import TENANT, settings_of

MASTER = b"master key of the tests 0123456789"


def sealer(tenant: str = TENANT) -> Sealer:
    return Sealer([MASTER], tenant)


def vault_of(store: SaltStore | None = None, tenant: str = TENANT) -> Vault:
    return Vault(store or SqliteSaltStore(None), sealer(tenant), "month")


def policy_pipeline(policy: Any, store: SaltStore | None = None, **changes: Any) -> Pipeline:
    settings = settings_of(policy=policy, **changes)
    return compile_pipeline(TENANT, settings, tokens=vault_of(store))


class Unsteady:
    """A store that is away for the first calls; counts round trips."""

    def __init__(self, inner: SaltStore, away: int = 0) -> None:
        self._inner, self.away, self.adds, self.gets = inner, away, 0, 0

    def _answer(self) -> SaltStore:
        if self.away:
            self.away -= 1
            raise PseudonymsUnavailable("the store is away")
        return self._inner

    def get(self, places):
        self.gets += 1
        return self._answer().get(places)

    def add(self, records):
        self.adds += 1
        return self._answer().add(records)

    def places(self, prefix):
        return self._answer().places(prefix)

    def delete(self, places):
        return self._answer().delete(places)

    def generation(self):
        return self._answer().generation()

    def close(self):
        self._inner.close()
