"""System calls that a process may not make, by Linux' seccomp: no sockets, no other processes, no
signals to others. https://docs.kernel.org/userspace-api/seccomp_filter.html

A filter is a program of the classic BPF: it loads a number of the call, jumps, and returns what is
to happen. Landlock (landlock.py) knows nothing of chmod, chown and times of files, nor before
Linux 6.2 of truncate, which are therefore here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

# By name: the number on x86-64, and on ARM64 (None: it has none).
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "io_uring_setup": (425, 425),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "setsid": (112, 157), "setpgid": (109, 154), "setpriority": (141, 140),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
    "truncate": (76, 45),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "chroot": (161, 51), "pivot_root": (155, 41), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "reboot": (169, 142), "kexec_load": (246, 104), "swapon": (167, 224), "swapoff": (168, 225),
    "sethostname": (170, 161), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "acct": (163, 89), "syslog": (103, 116),
}  # fmt: skip
# What sends a signal to whoever is called the owner of a pipe or a socket, which may be any process
# of the same user: F_SETOWN, F_SETSIG, F_SETOWN_EX; FIOSETOWN, SIOCSPGRP.
_OWNERS = (((72, 25), (8, 10, 15)), ((16, 29), (0x8901, 0x8902)))  # fcntl, ioctl
_KILL, _TGKILL, _PRLIMIT = (62, 129), (234, 131), (302, 261)
_CAPGET, _CAPSET, _CAPABILITIES = (125, 90), (126, 91), 0x20080522  # the last: of which version
_READ_ANYTHING = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
_CLONE, _CLONE3, _THREAD = (56, 220), (435, 435), 0x00010000
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_ALLOW, _END, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NUMBER, _MACHINE, _FIRST, _SECOND = 0, 4, 16, 24  # where they stand in what a filter sees


def knows_processor() -> bool:
    """Whether the numbers of this machine's calls are known."""
    return sys.platform == "linux" and platform.machine() in _MACHINES


def close_calls() -> bool:
    """From now on these calls of this process end with EPERM; threads it may begin, processes not;
    and it has nothing of root's power over the machine. False where the kernel, or its processor,
    knows no such filter.
    """
    if not knows_processor():
        return False
    column, name = _MACHINES[platform.machine()]
    if not _give_up_power(column):
        return False
    denied = [numbers[column] for numbers in _DENIED.values()]
    lines = [
        _load(_MACHINE),
        _skip_if_equal(name, 1),
        _answer(_END),  # calls of another processor's, which have other numbers
        _load(_NUMBER),
    ]
    if column == 0:  # the same processor's calls by their numbers for 32 bits
        lines += [_line(0x35, 0x40000000, 0, 1), _answer(_ERROR | errno.EPERM)]
    lines += _deny(_CLONE3[column], errno.ENOSYS)  # glibc then calls clone, whose flags are seen
    for number in denied:
        lines += [] if number is None else _deny(number, errno.EPERM)
    for numbers, kinds in _OWNERS:
        inside = [line for kind in kinds for line in _deny(kind, errno.EPERM)]
        inside = [_load(_SECOND), *inside, _load(_NUMBER)]
        lines += [_line(0x15, numbers[column], 0, len(inside)), *inside]
    own = os.getpid()
    for numbers in (_KILL, _TGKILL):
        lines += _deny_unless(numbers[column], [_skip_if_equal(own, 1)])
    # of its own limits it may ask, and lower them
    lines += _deny_unless(_PRLIMIT[column], [_skip_if_equal(0, 2), _skip_if_equal(own, 1)])
    lines += _deny_unless(_CLONE[column], [_line(0x45, _THREAD, 1, 0)])
    lines.append(_answer(_ALLOW))
    return _install(b"".join(lines), len(lines))


def _give_up_power(column: int) -> bool:
    """Root's capabilities: by them a program makes itself a device of the machine's disk in its own
    folder, or raises its limits. Those by which it reads files of others stay, for Python's own may
    be theirs; which files, Landlock says.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITIES, 0)
    held = ctypes.create_string_buffer(24)  # effective, permitted, inheritable; the higher halves
    if libc.syscall(ctypes.c_long(_CAPGET[column]), header, held):
        return False
    permitted = struct.unpack("=6I", held.raw)[1] & _READ_ANYTHING
    kept = struct.pack("=6I", permitted, permitted, 0, 0, 0, 0)
    return libc.syscall(ctypes.c_long(_CAPSET[column]), header, kept) == 0


def _deny(number: int, error: int) -> list[bytes]:
    return [_line(0x15, number, 0, 1), _answer(_ERROR | error)]


def _deny_unless(number: int, tests: list[bytes]) -> list[bytes]:
    """Denied, unless a test of the call's first argument skips the line that denies. The number is
    loaded again for what follows.
    """
    inside = [_load(_FIRST), *tests, _answer(_ERROR | errno.EPERM), _load(_NUMBER)]
    return [_line(0x15, number, 0, len(inside)), *inside]


def _load(place: int) -> bytes:
    return _line(0x20, place)


def _skip_if_equal(value: int, lines: int) -> bytes:
    return _line(0x15, value, lines, 0)


def _answer(value: int) -> bytes:
    return _line(0x06, value)


def _line(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value & 0xFFFFFFFF)


def _install(program: bytes, length: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    kept = ctypes.create_string_buffer(program)
    header = struct.pack("HxxxxxxP", length, ctypes.addressof(kept))
    if libc.prctl(38, 1, 0, 0, 0):  # no new privileges: without it a filter needs some
        return False
    return libc.prctl(22, 2, header, 0, 0) == 0
