"""What the server that forks workers imports, so that no worker has to: it is loaded once, beside the planning."""

from contextlib import suppress

from hpckit.base.collector import without_collector
from hpckit.base.processes import be_command

be_command()
with without_collector():
    import odc.geo.geobox  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import hpckit.production.worker
    from hpckit.base.compiled import prepare_numba

    with suppress(Exception):  # a worker that needs numba says why it has none
        prepare_numba()
        import hpckit.reduce.kernels.composite_cpu  # noqa: F401
