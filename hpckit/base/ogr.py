"""pyogrio, which reads and writes vector files, without geopandas and pandas: half a second of imports.

hpckit passes arrays to pyogrio, which only looks at the versions of these. Import it from here, and in functions: it
takes a tenth of a second itself. A server imports this module before it starts threads.
"""

from hpckit.base.lookedfor import only_looked_for

__all__ = ["pyogrio"]

with only_looked_for("geopandas", "pandas"):
    import pyogrio
