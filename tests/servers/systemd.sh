#!/bin/sh
# Starts systemd as the first process of namespaces of its own, with a bus and logind, and with nothing else of this
# machine: `unshare -mpiuC --fork sh systemd.sh FOLDER HOME "NEEDED…"`. HOME is root's home folder there, for which
# systemd always takes /root; folders of /root that are NEEDED stay. /srv is empty.
set -eu
folder=$1 home=$2 needed=$3
mount --make-rprivate /
mount -t proc proc /proc
for place in /run /srv /var/lib/systemd; do mount -t tmpfs none "$place"; done
mkdir "$folder/root"
mount --rbind /root "$folder/root"
mount --bind "$home" /root
for place in $needed; do
    case $place in /root/*)
        mkdir -p "$place"
        mount --rbind "$folder/root${place#/root}" "$place"
        ;;
    esac
done
mkdir /run/lock "$folder/units"
for unit in dbus.socket dbus.service systemd-logind.service user@.service user-runtime-dir@.service; do
    ln -s "/lib/systemd/system/$unit" "$folder/units/"
done
# The targets of a whole machine would mount, clean and start what is none of a test's business.
for name in all basic shutdown sockets sysinit; do
    printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$name" >"$folder/units/$name.target"
done
echo 'Wants=dbus.socket systemd-logind.service' >>"$folder/units/all.target"
exec env -i container=unshare SYSTEMD_UNIT_PATH="$folder/units" PATH="$PATH" \
    /lib/systemd/systemd --system --unit=all.target --log-target=console
