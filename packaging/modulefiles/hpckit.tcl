#%Module1.0
# Module file of hpckit for Environment Modules. Copy it to MODULEPATH/hpckit/0.1.0, and set root and sites.
set version 0.1.0
# An environment with hpckit: python3 -m venv, or conda create --prefix.
set root /opt/hpckit/$version
# Site files of this cluster; remove the line at the end if they lie in /etc/hpckit/sites.
set sites /opt/hpckit/sites

proc ModulesHelp { } {
    puts stderr "hpckit: Sentinel-1 and Sentinel-2 products to data cubes, composites and time series of parcels,"
    puts stderr "on Slurm and PBS. Start with: hpckit --help"
}
module-whatis "hpckit $version: Sentinel products to data cubes, composites and time series of parcels"

conflict hpckit
prepend-path PATH $root/bin
prepend-path MANPATH $root/share/man
# Compiled once by the operator: HPCKIT_KERNELS=... hpckit kernels
setenv HPCKIT_KERNELS $root/share/hpckit/kernels
prepend-path HPCKIT_SITES $sites
