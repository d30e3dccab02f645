"""Keep, drop, sample, cap and enrich events: the ``filters`` of a tenant.

``program`` compiles and runs them, ``conditions`` decides which events, ``names`` knows which fields there are, ``caps`` and
``lookup`` hold what two of the actions remember, ``values`` how a value is compared.
"""

from exporter.pipeline.filters.conditions import StreamView
from exporter.pipeline.filters.program import Filters, compile_filters

__all__ = ["Filters", "StreamView", "compile_filters"]
