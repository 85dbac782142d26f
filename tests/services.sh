#!/usr/bin/env bash
# Installs the services that integration tests start: PostgreSQL with PostGIS, Slurm with its accounting, MPI,
# and the tools that check job scripts; with `image` also what a real Apptainer needs, with `serve` a browser,
# with `openeo` openEO's own clients.
# Needs root and apt; without them it says what will be skipped.
set -euo pipefail

packages=()
have_postgis() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1
}
have() {
    PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null
}

have_postgis || packages+=(postgresql postgresql-contrib postgis postgresql-postgis)
have slurmctld || packages+=(slurm-wlm)
have slurmdbd || packages+=(slurmdbd)
have munged || packages+=(munge)
have mariadbd || packages+=(mariadb-server)
have mpirun.openmpi || packages+=(openmpi-bin)
have mpiexec.mpich || packages+=(mpich)
have shellcheck || packages+=(shellcheck)
have zsh || packages+=(zsh)
have fish || packages+=(fish)
have mandoc || packages+=(mandoc)
have sshd || packages+=(openssh-server)
have ssh || packages+=(openssh-client)
have rsync || packages+=(rsync)
have curl || packages+=(curl)
have jq || packages+=(jq)
have slapd || packages+=(slapd ldap-utils)
[ -x /lib/systemd/systemd-logind ] || packages+=(systemd)
have dbus-daemon || packages+=(dbus)
# Environment Modules and Lmod exclude each other.
[ -f /usr/share/lmod/lmod/init/bash ] || have modulecmd || packages+=(lmod)

if [[ " $* " = *" image "* ]]; then
    have patchelf || packages+=(patchelf)
    have mksquashfs || packages+=(squashfs-tools)
    have squashfuse_ll || packages+=(squashfuse)
    have newuidmap || packages+=(uidmap)
    have fusermount3 || packages+=(fuse3)
    have debootstrap || packages+=(debootstrap)
    have docker-registry || packages+=(docker-registry)
fi

if [[ " $* " = *" openeo "* ]]; then
    have sudo || packages+=(sudo)
fi

if [[ " $* " = *" serve "* || " $* " = *" openeo "* ]]; then
    have chromium || packages+=(chromium fonts-inter)
    have node || packages+=(nodejs npm)
fi

# An S3 server, in an environment of its own: rasterio imports boto3 where there is one, which doubles its start.
s3="$(dirname "$0")/../.cache/s3"
if [ ! -x "$s3/bin/moto_server" ]; then
    { python3 -m venv "$s3" && "$s3/bin/python" -m pip install --quiet --disable-pip-version-check 'moto[server]>=5.1'; } ||
        echo "no S3 server can be installed; its tests will be skipped" >&2
fi

# Validator and reader of RO-Crate (the reader of this version has the context of RO-Crate 1.1), and rattler-build.
checkers="${XDG_CACHE_HOME:-$HOME/.cache}/hpckit/tests/checkers-1"
if [ ! -x "$checkers/bin/rocrate-validator" ]; then
    { python3 -m venv "$checkers" && "$checkers/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
        'roc-validator==0.13.0' 'rocrate==0.13.0' 'py-rattler-build==0.73.0'; } ||
        echo "the validators of crates and recipes cannot be installed; their tests will be skipped" >&2
fi

# openEO's own clients and test suite, which need an older pandas, in an environment of their own.
openeo="$(dirname "$0")/../.cache/openeo"
if [[ " $* " = *" openeo "* ]] && [ ! -x "$openeo/bin/openeo-auth" ]; then
    { python3 -m venv "$openeo" && "$openeo/bin/python" -m pip install --quiet --disable-pip-version-check \
        'openeo==0.53.0' 'openeo-test-suite==0.2.2' 'rasterio>=1.4' 'netCDF4>=1.7'; } ||
        echo "openEO's clients cannot be installed; their tests will be skipped" >&2
fi

# JupyterLab in an environment of its own, as a hub has it: kernels run in that of hpckit.
lab="$(dirname "$0")/../.cache/lab"
if [[ " $* " = *" serve "* ]] && [ ! -x "$lab/bin/jupyter-lab" ]; then
    { python3 -m venv "$lab" && "$lab/bin/python" -m pip install --quiet --disable-pip-version-check \
        'jupyterlab==4.6.6' 'jupyter-server-proxy==4.6.0'; } ||
        echo "JupyterLab cannot be installed; its tests will be skipped" >&2
fi

if [ "${#packages[@]}" -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
    echo "not here, and not to be installed without root and apt: ${packages[*]}; their tests will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
log=/tmp/hpckit-services.log
install() {
    apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1
}

apt-get update -qq || echo "the lists of packages cannot be fetched; those that are here are used" >&2
if ! install "${packages[@]}"; then
    # One by one: what cannot be had is left out, and its tests skip.
    for package in "${packages[@]}"; do
        install "$package" || { tail -n 2 "$log"; echo "$package cannot be installed; its tests will be skipped"; } >&2
    done
fi
