-- Module file of hpckit for Lmod. Copy it to MODULEPATH/hpckit/0.1.0.lua, and set root and sites.
local version = "0.1.0"
-- An environment with hpckit: python3 -m venv, or conda create --prefix.
local root = pathJoin("/opt/hpckit", version)
-- Site files of this cluster; remove the line at the end if they lie in /etc/hpckit/sites.
local sites = "/opt/hpckit/sites"

help([[
hpckit: Sentinel-1 and Sentinel-2 products to data cubes, composites and time series of parcels, on Slurm and PBS.
Start with: hpckit --help
]])
whatis("Name: hpckit")
whatis("Version: " .. version)
whatis("Description: Sentinel products to data cubes, composites and time series of parcels")
whatis("URL: https://hpckit.readthedocs.io")

conflict("hpckit")
prepend_path("PATH", pathJoin(root, "bin"))
prepend_path("MANPATH", pathJoin(root, "share/man"))
-- Compiled once by the operator: HPCKIT_KERNELS=... hpckit kernels
setenv("HPCKIT_KERNELS", pathJoin(root, "share/hpckit/kernels"))
prepend_path("HPCKIT_SITES", sites)
