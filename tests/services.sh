#!/usr/bin/env bash
# Installs the services that integration tests start: PostgreSQL with PostGIS.
# Needs root and apt; without them it says what will be skipped.
set -euo pipefail

have_postgis() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ls /usr/share/postgresql/*/extension/postgis.control >/dev/null 2>&1
}

if have_postgis; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "no PostgreSQL with PostGIS here, and it cannot be installed without root and apt: its tests will be skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends postgresql postgresql-contrib postgis postgresql-postgis >/tmp/hpckit-services.log 2>&1 ||
    { tail -n 5 /tmp/hpckit-services.log >&2; exit 1; }
