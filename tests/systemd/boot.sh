#!/bin/sh
# Boots the systemd of the Debian in $1 with a root, /run, /tmp, /dev and cgroups of its own. Run it as root under
#
#   unshare --pid --mount --uts --ipc --net --fork --kill-child
#
# It becomes process 1 in there. A booting systemd clears /run and /tmp, sets kernel variables, and makes a cgroup for
# each service: those of the machine that tests must be out of its reach before it starts, and stay out of it. All of
# its cgroups are in the group $2, which whoever calls this removes afterwards.
set -eu
root=$1
[ "$$" -eq 1 ] || { echo 'boot.sh: not in a PID namespace of its own; nothing has been done' >&2; exit 1; }

# 1. Mounts made from here on are seen in here only. What the kernel has but once is read-only.
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
for shared in sys sysrq-trigger; do
    [ -e "$root/proc/$shared" ] || continue
    mount --bind "$root/proc/$shared" "$root/proc/$shared"
    mount -o remount,bind,ro "$root/proc/$shared"
done
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t tmpfs -o mode=0755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/tmp"

# 2. Devices: the harmless ones.
mount -t tmpfs -o mode=0755,nosuid tmpfs "$root/dev"
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"

# 3. Cgroups: with v2 alone systemd leaves the hierarchies of v1 alone, and needs no controllers.
cgroups=$root/sys/fs/cgroup
mount -t cgroup2 cgroup2 "$cgroups"
mkdir "$cgroups/$2"
echo 0 >"$cgroups/$2/cgroup.procs"
umount "$cgroups"

# 4. The new root, and the old one out of sight. Cgroups begin, as seen from in there, at the group made above.
cd "$root"
exec unshare --cgroup sh -eu -c '
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mkdir -p .old
    pivot_root . .old
    cd /
    umount -l /.old
    rmdir /.old
    # systemd leaves this out in containers, and LoadCredential= hands over an empty directory without it.
    mount --make-rshared /
    exec env -i container=docker PATH=/usr/sbin:/usr/bin:/sbin:/bin \
        setpriv --bounding-set=-sys_module,-sys_rawio,-sys_time,-mac_admin,-mac_override --inh-caps=-all \
        /sbin/init systemd.unit=multi-user.target
'
