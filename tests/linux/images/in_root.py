"""In a root of its own: runs a program of a directory as if that were all there is. Usage: in_root.py ROOT PROGRAM ARGUMENT..."""

from __future__ import annotations

import os
import sys

from squall.runtime import syscalls

ROOT, *COMMAND = sys.argv[1:]

user, group = os.geteuid(), os.getegid()
syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWNET)
for name, line in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
        file.write(line)
os.chroot(ROOT)
os.chdir("/")
os.execve(COMMAND[0], COMMAND, {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp"})
