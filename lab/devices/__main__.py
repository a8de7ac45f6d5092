# SPDX-License-Identifier: Apache-2.0
"""python -m lab.devices FAMILY NAME DIRECTORY [arguments]: one emulated device in the foreground."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

FAMILIES = ("eos", "frr", "ios", "iosxr", "junos", "nxos", "panos", "fortios")

if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[1] not in FAMILIES:
        sys.exit(f"usage: python -m lab.devices {{{','.join(FAMILIES)}}} NAME DIRECTORY [arguments]")
    family, name, directory, *arguments = sys.argv[1:]
    import_module(f"lab.devices.{family}").serve(name, Path(directory), arguments)
