# Recipe of hpckit for Spack: REPO/packages/py-hpckit-eo/package.py (in repositories of API v2:
# packages/py_hpckit_eo/package.py). The requirements are those of pyproject.toml (tests/unit/test_packaging.py).
# py-odc-geo, py-stac-geoparquet and py-google-crc32c may be missing in Spack's own repository.
from spack.package import *


class PyHpckitEo(PythonPackage):
    """Sentinel scenes to Zarr cubes to parcel signatures, from one machine to a cluster."""

    homepage = "https://hpckit.readthedocs.io"
    # `python -m build --sdist` makes the archive; put it into a source mirror of your own, and add its sha256.
    url = "file:///path/to/mirror/hpckit_eo-0.1.0.dev0.tar.gz"
    manual_download = True

    license("BSD-3-Clause")

    version("0.1.0.dev0")

    variant("mpi", default=True, description="Ranks of job arrays by MPI")
    variant("postgis", default=False, description="Store in PostgreSQL with PostGIS")

    depends_on("python@3.11:", type=("build", "run"))
    depends_on("py-hatchling@1.24:", type="build")
    depends_on("py-click@8.1:", type=("build", "run"))

    with default_args(type="run"):
        depends_on("py-rich@13.7:")
        depends_on("py-pydantic@2.7:")
        depends_on("py-ruamel-yaml@0.18:")
        depends_on("py-jinja2@3.1:")
        depends_on("py-lxml@5:")
        depends_on("py-numpy@2.0:")
        depends_on("py-numba@0.60:")
        depends_on("py-numcodecs@0.15:")
        depends_on("py-zarr@3.0.8:3")
        depends_on("py-h5py@3.11:")
        depends_on("py-rasterio@1.4:")
        depends_on("py-pyproj@3.6:")
        depends_on("py-pyogrio@0.9:")
        depends_on("py-shapely@2.1:")
        depends_on("py-affine@2.4:")
        depends_on("py-odc-geo@0.4.8:")
        depends_on("py-google-crc32c@1.5:")
        depends_on("py-pyarrow@17:")
        depends_on("py-stac-geoparquet@0.6:")
        depends_on("py-xarray@2024.10:")
        depends_on("py-pandas@2.2:")
        depends_on("py-packaging@23:")
        depends_on("py-matplotlib@3.8:")
        depends_on("py-mpi4py@4.1:", when="+mpi")
        depends_on("py-psycopg2@2.9:", when="+postgis")
