"""Microsoft's ASIM: schemas of kinds (``kinds``), columns of keys (``keys``), and the mapping (``mapper``)."""
