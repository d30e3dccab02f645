"""Splunk's Common Information Model: models and tags of kinds (``kinds``), field names (``keys``), the mapping (``mapper``)."""
