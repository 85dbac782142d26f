"""What the server that forks workers imports, so that no worker has to: it is loaded once, beside the planning."""

from contextlib import suppress

from hpckit.base.processes import importing

with importing():
    import hpckit.production.worker  # noqa: F401
    from hpckit.base.compiled import prepare_numba

    with suppress(Exception):  # a worker that needs numba says why it has none
        prepare_numba()
