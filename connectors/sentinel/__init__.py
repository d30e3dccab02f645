"""Microsoft Sentinel by the Logs Ingestion API: canonical events as rows of a custom table."""

from connectors.base import ConnectorFactory
from connectors.sentinel.connector import SentinelConnector
from connectors.sentinel.settings import SentinelSettings

FACTORY = ConnectorFactory("sentinel", SentinelSettings, SentinelConnector)

__all__ = ["FACTORY"]
