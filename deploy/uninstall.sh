#!/bin/sh
# Removes what install.sh installed. Machines at the provider are not touched: they stay as they are, and are billed.
#
#   sudo deploy/uninstall.sh            keeps /etc/fleetd (config, key) and /var/lib/fleetd (history)
#   sudo deploy/uninstall.sh --purge    removes these too
#   sudo deploy/uninstall.sh --root DIR the same in DIR instead of /, without systemctl
set -eu

root='' purge=

fail() { printf 'uninstall.sh: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
        --purge) purge=yes ;;
        --root) [ $# -ge 2 ] || fail '--root: where?'; root=${2%/}; shift ;;
        *) fail "$1: no such option. See the head of this script." ;;
    esac
    shift
done

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail 'run it as root'

if [ -z "$root" ] && [ -e /etc/systemd/system/fleetd.service ]; then
    systemctl disable --now --quiet fleetd.service
fi
rm -f "$root/etc/systemd/system/fleetd.service"
[ -n "$root" ] || systemctl daemon-reload

command=$root/usr/local/bin/fleetd
[ ! -f "$command" ] || ! grep -q "Made by fleetd's install.sh" "$command" || rm -f "$command"
[ ! -L "$root/opt/fleetd" ] || rm -f "$root/opt/fleetd"
rm -rf "$root/opt/fleetd-releases"

if [ -n "$purge" ]; then
    # DynamicUser= keeps the state in /var/lib/private, and links to it.
    rm -rf "$root/etc/fleetd" "$root/var/lib/fleetd" "$root/var/lib/private/fleetd"
    printf 'fleetd, its config, its key and its history are gone. Its machines are not.\n'
else
    printf 'fleetd is gone; /etc/fleetd and /var/lib/fleetd are kept (--purge removes them). Its machines are not gone.\n'
fi
