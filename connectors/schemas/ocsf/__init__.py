"""OCSF: which class an event is (``classes``), where its keys go (``keys``), and the mapping itself (``mapper``)."""
