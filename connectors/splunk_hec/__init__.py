"""Splunk HTTP Event Collector: canonical events in batches, gzipped, with the bad event isolated."""

from connectors.base import ConnectorFactory
from connectors.splunk_hec.connector import SplunkHecConnector
from connectors.splunk_hec.settings import SplunkHecSettings

FACTORY = ConnectorFactory("splunk_hec", SplunkHecSettings, SplunkHecConnector)

__all__ = ["FACTORY"]
