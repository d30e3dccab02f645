"""Keys and values of any format → names of the canonical event, by table.

| module | holds |
|---|---|
| names | what programs commonly call things; labels |
| sources/ | vocabularies of single sources, and by which keys they are recognised |
| severity, checks | scales of levels; what a value must be to be kept under a name |
| plan, compiled | where the values of one shape go: the careful way, and the fast one that does the same |
| labels | labels and structured metadata |
| normaliser | the way in: :class:`Normaliser` |

What no table maps keeps its name and nesting under ``unmapped``; nothing is lost or renamed twice.
"""

from exporter.pipeline.normalise.normaliser import Lines, Mapper, Normaliser

__all__ = ["Lines", "Mapper", "Normaliser"]
