"""Webhook: events as JSON to any HTTP receiver, signed, with the bad event isolated by halving."""

from connectors.base import ConnectorFactory
from connectors.webhook.connector import WebhookConnector
from connectors.webhook.settings import WebhookSettings

FACTORY = ConnectorFactory("webhook", WebhookSettings, WebhookConnector)

__all__ = ["FACTORY"]
