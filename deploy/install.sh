#!/bin/sh
# Installs or upgrades fleetd as a systemd service. Run it again as often as you like: it never touches an existing
# config, key or state, and it changes nothing at all when the new version does not accept the config that is there.
#
#   sudo deploy/install.sh                     from the source tree that this script lies in
#   sudo deploy/install.sh --source X          from a wheel, another tree, or a requirement such as fleetd==0.2.0
#   sudo deploy/install.sh --python python3.12
#   sudo PIP_NO_INDEX=1 PIP_FIND_LINKS=DIR deploy/install.sh    without the internet, from the wheels in DIR
#   sudo deploy/install.sh --root DIR          into DIR instead of /, without systemctl: for images
#
# It puts things here:
#   /opt/fleetd -> /opt/fleetd-releases/TIME   a virtual environment; the release before it is kept
#   /usr/local/bin/fleetd                      its command, which finds the key where systemd finds it
#   /etc/systemd/system/fleetd.service         the unit; change it with `systemctl edit fleetd`, not here
#   /etc/fleetd/fleetd.toml                    a config without fleets, if there is none
#   /etc/fleetd/paperspace-api-key             an empty file for the key, readable by root only, if there is none
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root='' python=python3 source=$(dirname "$here")

fail() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*"; }

while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1: what? See the head of this script."
    case $1 in
        --source) source=$2 ;;
        --python) python=$2 ;;
        --root) root=${2%/} ;;
        *) fail "$1: no such option. See the head of this script." ;;
    esac
    shift 2
done

[ -n "$root" ] || [ "$(id -u)" -eq 0 ] || fail 'run it as root'
[ -n "$root" ] || command -v systemctl >/dev/null || fail 'no systemctl here: fleetd runs as a systemd service'
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "$python is not Python 3.11 or newer with venv (Debian: apt install python3-venv)"

current=$root/opt/fleetd releases=$root/opt/fleetd-releases etc=$root/etc/fleetd
unit=$root/etc/systemd/system/fleetd.service command=$root/usr/local/bin/fleetd
[ -L "$current" ] || [ ! -e "$current" ] || fail "$current is in the way: it is not a link that this script made"

# 1. The new release, beside the old one.
umask 022
mkdir -p "$releases"
release=$releases/$(date -u +%Y%m%dT%H%M%SZ)-$$
trap 'rm -rf "$release"' EXIT
trap 'exit 130' INT TERM
"$python" -m venv "$release"
"$release/bin/python" -m pip install --quiet --disable-pip-version-check "$source"
version=$("$release/bin/fleetd" version)

# 2. Would it run with the config that is there?
if [ -e "$etc/fleetd.toml" ]; then
    "$release/bin/fleetd" check -c "$etc/fleetd.toml" >/dev/null ||
        fail "$version does not accept $etc/fleetd.toml; nothing has been changed"
fi

# 3. Config and key, where there are none.
mkdir -p "$etc"
fresh=
if [ ! -e "$etc/fleetd.toml" ]; then
    fresh=yes
    cat >"$etc/fleetd.toml" <<'TOML'
# fleetd's config: `fleetd check` validates it, `systemctl reload fleetd` puts it in force.
version = 1

[provider]
kind = "paperspace-core"
base_url = "https://api.paperspace.io"
api_key = { credential = "paperspace-api-key" }   # the file /etc/fleetd/paperspace-api-key, handed over by systemd

# Nothing is done before there is a fleet:
#
# [fleets.training]
# target = 1
# [fleets.training.machine]
# region = "East Coast (NY2)"
# machineType = "P4000"
# size = 50
# billingType = "hourly"
# templateId = "tbu200wi"
TOML
fi
[ -e "$etc/paperspace-api-key" ] || (umask 077 && : >"$etc/paperspace-api-key")

# 4. The switch.
old=$(readlink "$current" || true)
mkdir -p "$(dirname "$unit")" "$(dirname "$command")"
ln -s "${release#"$root"}" "$current.new"
mv -T "$current.new" "$current"
trap - EXIT
cat >"$command.new" <<'WRAPPER'
#!/bin/sh
# Made by fleetd's install.sh. By hand, fleetd reads the key where systemd does: in the directory of the credentials.
export CREDENTIALS_DIRECTORY="${CREDENTIALS_DIRECTORY:-/etc/fleetd}"
exec /opt/fleetd/bin/fleetd "$@"
WRAPPER
chmod 0755 "$command.new"
mv -T "$command.new" "$command"
install -m 0644 "$here/fleetd.service" "$unit"
for other in "$releases"/*; do
    [ "$other" = "$release" ] || [ "${other#"$root"}" = "$old" ] || rm -rf "$other"
done
say "$version is installed in /opt/fleetd."

# 5. The service.
if [ -z "$root" ]; then
    systemctl daemon-reload
    systemctl enable --quiet fleetd.service
    if systemctl is-active --quiet fleetd.service; then
        systemctl restart fleetd.service ||
            fail "$version is installed and does not start (journalctl -u fleetd). Back to the one before:
  sudo ln -s $old /opt/fleetd.new && sudo mv -T /opt/fleetd.new /opt/fleetd && sudo systemctl restart fleetd"
        say 'The service has been restarted.'
    fi
fi
if [ -n "$fresh" ]; then
    say 'Next: the API key into /etc/fleetd/paperspace-api-key, the fleets into /etc/fleetd/fleetd.toml, then'
    say '      fleetd check && systemctl start fleetd && systemctl status fleetd'
fi
