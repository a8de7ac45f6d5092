# SPDX-License-Identifier: Apache-2.0
"""802.1Q tags put on and taken off by two BPF programs at an interface: see `vlan`.

The programs are ten instructions each, written out here: no compiler, no loader, nothing pinned. They are attached
with BPF_PROG_ATTACH at the tcx hooks (Linux 6.6), and go with their interface.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct

BPF = 321  # x86-64's and
BPF_ARM = 280  # arm64's number of bpf(2)
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, OBJ_GET_INFO, PROG_QUERY = 5, 8, 9, 13, 15, 16
SCHED_CLS, TCX_INGRESS, TCX_EGRESS = 3, 46, 47
# linux/bpf.h: helpers, and where __sk_buff has its fields.
STORE_BYTES, VLAN_PUSH, VLAN_POP, REDIRECT = 9, 18, 19, 23
PKT_TYPE, VLAN_PRESENT, VLAN_TCI = 4, 20, 24
HOST, OTHER_HOST = 0, 3
TO_INGRESS = 1
MAX_PROGRAMS = 64
SIOCGIFHWADDR = 0x8927


def _instruction(code: int, to: int = 0, of: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("<BBhi", code, of << 4 | to, offset, value)


def _move(to: int, value: int) -> bytes:
    return _instruction(0xB7, to, value=value)


def _copy(to: int, of: int) -> bytes:
    return _instruction(0xBF, to, of)


def _load(to: int, offset: int) -> bytes:
    return _instruction(0x61, to, 6, offset)


def _call(helper: int) -> bytes:
    return _instruction(0x85, value=helper)


def _skip(code: int, of: int, value: int, count: int) -> bytes:
    return _instruction(code, of, offset=count, value=value)


_EXIT = _instruction(0x95)
_EQUAL, _UNEQUAL = 0x15, 0x55


def _write_address(mac: bytes, at: int) -> bytes:
    """bpf_skb_store_bytes(skb, at, mac, 6, 0), by way of the stack."""
    low, high = struct.unpack("<iH", mac)
    return b"".join(
        (
            _instruction(0x62, 10, offset=-8, value=low),
            _instruction(0x6A, 10, offset=-4, value=high),
            _copy(1, 6),
            _move(2, at),
            _copy(3, 10),
            _instruction(0x07, 3, value=-8),
            _move(4, 6),
            _move(5, 0),
            _call(STORE_BYTES),
        )
    )


def _untagger(index: int, mac: bytes, tag: int) -> bytes:
    """At the parent: our tag is taken off and the packet enters by the interface; others go on."""
    address = _write_address(mac, 0)
    inner = b"".join(
        (
            _load(2, PKT_TYPE),
            _skip(_UNEQUAL, 2, HOST, len(address) // 8),
            address,
            _copy(1, 6),
            _call(VLAN_POP),
            _move(1, index),
            _move(2, TO_INGRESS),
            _call(REDIRECT),
            _EXIT,
        )
    )
    count = len(inner) // 8
    tests = (
        (_load(2, PKT_TYPE), _EQUAL, OTHER_HOST),
        (_load(2, VLAN_PRESENT), _EQUAL, 0),
        (_load(2, VLAN_TCI) + _instruction(0x57, 2, value=0xFFF), _UNEQUAL, tag),
    )
    head = b""
    for test, code, value in reversed(tests):
        head = test + _skip(code, 2, value, count + len(head) // 8) + head
    return _copy(6, 1) + head + inner + _move(0, -1) + _EXIT


def _tagger(index: int, mac: bytes, tag: int) -> bytes:
    """At the interface: the parent's address and our tag are put on, and it leaves by the parent."""
    return b"".join(
        (
            _copy(6, 1),
            _write_address(mac, 6),
            _copy(1, 6),
            _move(2, socket.htons(0x8100)),
            _move(3, tag),
            _call(VLAN_PUSH),
            _move(1, index),
            _move(2, 0),
            _call(REDIRECT),
            _EXIT,
        )
    )


def attach(parent: str, name: str, tag: int) -> None:
    """Errors: OSError."""
    inner, outer = socket.if_nametoindex(name), socket.if_nametoindex(parent)
    _attach(_loaded(_untagger(inner, _mac(name), tag), _program(tag)), outer, TCX_INGRESS)
    _attach(_loaded(_tagger(outer, _mac(parent), tag), _program(tag)), inner, TCX_EGRESS)


def detach(parent: str, tag: int) -> None:
    """What is at the parent; the other goes with its interface. Errors: OSError."""
    index = socket.if_nametoindex(parent)
    ids = (ctypes.c_uint32 * MAX_PROGRAMS)()
    query = bytearray(
        struct.pack("<IIIIQIIQQQ", index, TCX_INGRESS, 0, 0, ctypes.addressof(ids), MAX_PROGRAMS, 0, 0, 0, 0)
    )
    _call_kernel(PROG_QUERY, query)
    count = struct.unpack_from("<I", query, 24)[0]
    for number in ids[:count]:
        program = _call_kernel(PROG_GET_FD_BY_ID, bytearray(struct.pack("<III", number, 0, 0)))
        try:
            if _name_of(program) == _program(tag):
                _call_kernel(PROG_DETACH, bytearray(struct.pack("<IIII", index, program, TCX_INGRESS, 0)))
        finally:
            os.close(program)


def _program(tag: int) -> bytes:
    return f"vlan_{tag}".encode()


def _name_of(program: int) -> bytes:
    info = ctypes.create_string_buffer(256)
    _call_kernel(OBJ_GET_INFO, bytearray(struct.pack("<IIQ", program, len(info), ctypes.addressof(info))))
    return info.raw[64:80].split(b"\0")[0]


def _mac(name: str) -> bytes:
    """Not from /sys, which may be another namespace's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        return fcntl.ioctl(any_socket, SIOCGIFHWADDR, struct.pack("256s", name.encode()))[18:24]


def _loaded(code: bytes, name: bytes) -> int:
    """A file descriptor of the program."""
    text, licence, log = (ctypes.create_string_buffer(one) for one in (code, b"GPL", 65536))
    fields = struct.pack(
        "<IIQQIIQII16s", SCHED_CLS, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence),
        1, len(log), ctypes.addressof(log), 0, 0, name,
    )  # fmt: skip
    try:
        return _call_kernel(PROG_LOAD, bytearray(fields))
    except OSError as error:
        raise OSError(error.errno, f"the kernel refused the program: {log.value.decode()}") from error


def _attach(program: int, index: int, hook: int) -> None:
    try:
        _call_kernel(PROG_ATTACH, bytearray(struct.pack("<IIIIIIQ", index, program, hook, 0, 0, 0, 0)))
    finally:
        os.close(program)


def _call_kernel(command: int, fields: bytearray) -> int:
    """bpf(2). fields: also what it answers. Errors: OSError."""
    whole = (ctypes.c_char * max(len(fields), 128))()
    whole[: len(fields)] = bytes(fields)
    number = BPF if os.uname().machine == "x86_64" else BPF_ARM
    result = ctypes.CDLL(None, use_errno=True).syscall(number, command, ctypes.byref(whole), len(whole))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    fields[:] = bytes(whole)[: len(fields)]
    return int(result)
