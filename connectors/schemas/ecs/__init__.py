"""Elastic Common Schema: categories of kinds (``kinds``), names of keys (``keys``), and the mapping (``mapper``)."""
