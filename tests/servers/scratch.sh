#!/bin/sh
# Runs a command in a root of its own: `unshare -m sh scratch.sh ROOT "FOLDER…" COMMAND…`
# ROOT has all of the machine, and the command may change the FOLDERs: what it makes there is gone afterwards.
set -eu
root=$1 folders=$2 opened=
shift 2

# A folder with the entries of the machine's own one, which takes further entries.
open() {
    case "$opened" in *" $1 "*) return 0 ;; esac
    opened="$opened $1 "
    if [ "$1" != / ]; then
        open "$(dirname "$1")"
        if mountpoint -q "$root$1"; then umount -l "$root$1"; fi
        mkdir -p "$root$1"
    fi
    for entry in "${1%/}"/* "${1%/}"/.[!.]*; do
        if [ -L "$entry" ]; then
            cp -a "$entry" "$root$entry"
        elif [ -d "$entry" ]; then
            mkdir "$root$entry"
            mount --rbind "$entry" "$root$entry"
        elif [ -e "$entry" ]; then
            : >"$root$entry"
            mount --bind "$entry" "$root$entry"
        fi
    done
}

mount --make-rprivate /
mount -t tmpfs none "$root"
chmod 755 "$root"
for folder in $folders; do
    open "$folder"
done
exec chroot "$root" sh -c 'cd "$1" && shift && exec "$@"' sh "$PWD" "$@"
