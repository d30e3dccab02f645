"""Azure Blob Storage: block blobs, each event exactly once, with immutability policies."""

from connectors.azure_blob.connector import AzureBlobConnector
from connectors.azure_blob.settings import AzureBlobSettings
from connectors.base import ConnectorFactory

FACTORY = ConnectorFactory("azure_blob", AzureBlobSettings, AzureBlobConnector)

__all__ = ["FACTORY"]
