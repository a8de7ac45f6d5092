#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`ip` for routers of the lab whose kernel has no 802.1Q: VLAN interfaces made of a macvlan and two small programs.

Installed as `ip` before the real one on an emulated router's PATH, and only where the kernel cannot make VLAN
interfaces. What it changes: `link add ... type vlan` and `link del` in a batch, and how such links are shown. The
tags on the wire are real: a program at the parent's ingress takes them off, one at the interface's egress puts them on.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys

IP = "/sbin/ip"
ADD = re.compile(r"link add link (\S+) name (\S+) type vlan id (\d+)")
DELETE = re.compile(r"link del dev ((\S+)\.(\d+))")


def real(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([IP, *arguments], input=text, text=True, capture_output=True, check=False)


def add(parent: str, name: str, tag: int) -> subprocess.CompletedProcess[str]:
    done = real("link", "add", "link", parent, "name", name, "type", "macvlan", "mode", "private")
    if done.returncode == 0:
        import tagging  # beside this file: it runs alone

        tagging.attach(parent, name, tag)
    return done


def batch(text: str) -> int:
    """As `ip -batch`: in order, until one fails."""
    for line in text.splitlines():
        added, gone = ADD.fullmatch(line), DELETE.fullmatch(line)
        if added:
            done = add(added[1], added[2], int(added[3]))
        else:
            if gone:
                import tagging

                tagging.detach(gone[2], int(gone[3]))
            done = real(*line.split())
        if done.returncode:
            sys.stderr.write(f"{done.stderr}Command failed -:{line}\n")
            return 1
    return 0


def shown(output: str) -> str:
    links = json.loads(output or "[]")
    for link in links:
        parent, _, tag = link.get("ifname", "").rpartition(".")
        if (
            link.get("linkinfo", {}).get("info_kind") == "macvlan"
            and link.get("link") == parent
            and tag.isdecimal()
        ):
            data = {"protocol": "802.1Q", "id": int(tag), "flags": ["REORDER_HDR"]}
            link["linkinfo"] = {"info_kind": "vlan", "info_data": data}
    return json.dumps(links)


def main(arguments: list[str]) -> int:
    if arguments == ["-batch", "-"]:
        return batch(sys.stdin.read())
    done = real(*arguments)
    sys.stderr.write(done.stderr)
    sys.stdout.write(shown(done.stdout) if done.returncode == 0 else done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
