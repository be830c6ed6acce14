# SPDX-License-Identifier: BSD-3-Clause
"""A clean Debian in a directory. What runs there has /proc, /sys and /dev in a mount namespace of its own, so nothing is
mounted for anybody else, and nothing is left to unmount."""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import vnictest  # noqa: E402

MIRROR = "http://deb.debian.org/debian"
NODES = "null c 1 3 zero c 1 5 full c 1 7 random c 1 8 urandom c 1 9 tty c 5 0".split()

# $1: the directory; the rest runs in it.
ENTER = """
set -e
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount -t tmpfs tmpfs "$1/dev"
""" + "".join(f'mknod -m 666 "$1/dev/{name}" {kind} {major} {minor}\n'
              for name, kind, major, minor in zip(*[iter(NODES)] * 4)) + """
mkdir "$1/dev/shm" "$1/dev/pts" "$1/dev/net"
mknod -m 666 "$1/dev/net/tun" c 10 200
mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
ln -s /proc/self/fd "$1/dev/fd"
exec chroot "$@"
"""


class Chroot:
    def __init__(self, path=None):
        """path: one that is there already, and stays (for trying things); None: a new one."""
        self.is_ours = path is None
        self.path = pathlib.Path(path or vnictest.tmpdir("vnicd-chroot-"))
        self.env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "HOME": "/root"}
        if self.is_ours:
            self.path.chmod(0o755)  # it is somebody's /
            subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", self.path, MIRROR], check=True,
                           stdout=subprocess.DEVNULL, timeout=1800)
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")

    def enter(self, *args, namespaces=()):
        """What runs args in there."""
        return ["unshare", "--mount", *namespaces, "--propagation", "private", "sh", "-c", ENTER, "sh", self.path, *args]

    def run(self, *args, timeout=60, check=True):
        done = subprocess.run([str(arg) for arg in self.enter(*args)], env=self.env, capture_output=True, text=True, timeout=timeout,
                              stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(map(str, args))}: exit status {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return done.stdout if check else done

    def start(self, *args):
        """With a network of its own: interfaces that it makes are nobody else's."""
        return vnictest.Proc(self.enter(*args, namespaces=["--net"]), env=self.env, name=os.path.basename(str(args[0])))

    def apt(self, *args, timeout=1800):
        return self.run("apt-get", "-q", "-y", "--no-install-recommends", *args, timeout=timeout)

    def files(self):
        """All that belongs to no package manager's own records: path, and what a file contains."""
        skip = tuple(str(self.path / d) for d in ("proc", "sys", "dev", "tmp", "root", "var/lib/dpkg", "var/lib/apt", "var/cache",
                                                  "var/log"))
        found = {}
        for top, dirs, names in os.walk(self.path):
            dirs[:] = [name for name in dirs if not os.path.join(top, name).startswith(skip)]
            for name in names:
                path = pathlib.Path(top, name)
                found[str(path.relative_to(self.path))] = path.lstat().st_size
            for name in dirs:
                found[os.path.relpath(os.path.join(top, name), self.path) + "/"] = 0
        # adduser's lock, and its copies of what was before.
        return {name: size for name, size in found.items()
                if name != "run/adduser" and not (name.startswith("etc/") and name.endswith("-"))}
