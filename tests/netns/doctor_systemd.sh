# A machine that systemd runs, with the files of this one. FOLDER: where its own files go. What it changes lies in memory and
# goes with it; its processes, mounts, network and cgroups are its own. Settings and the clock are the kernel's: it may
# change neither.
folder=$1 programs=$2
mkdir "$folder/memory" "$folder/root" "$folder/groups"
mount -t tmpfs none "$folder/memory"
mkdir "$folder/memory/upper" "$folder/memory/work"
mount -t cgroup2 none "$folder/groups"
mkdir "$folder/groups/ctflow-$$"
echo $$ > "$folder/groups/ctflow-$$/cgroup.procs"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/memory/upper,workdir=$folder/memory/work" "$folder/root"
exec unshare --cgroup --pid --mount --uts --ipc --net --fork --kill-child sh -euc '
    cd "$1"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 none sys/fs/cgroup
    mount -t tmpfs tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do
        touch dev/$name
        mount --bind /dev/$name dev/$name
    done
    mkdir dev/shm dev/pts run/programs
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    mount --bind "$2" run/programs
    ip link set lo up
    rm -rf etc/systemd/system etc/conntrackd etc/sysctl.d etc/modules-load.d
    mkdir -p etc/systemd/system etc/conntrackd
    # Of the units of this machine, those start that Debian has every system start, and no other one.
    printf "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\nAfter=dbus.socket\n" > etc/systemd/system/stage.target
    # systemd makes namespaces for its services, which takes a root of its own, not only another folder.
    mkdir run/before
    pivot_root . run/before
    umount -l /run/before
    exec env -i container=other PATH=/run/programs:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --unit=stage.target --log-target=journal
' sh "$folder/root" "$programs"
