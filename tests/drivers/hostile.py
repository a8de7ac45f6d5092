# SPDX-License-Identifier: Apache-2.0
"""How many hostile names each renderer is given, and `./run soak --hostile [--count N] [--json]`: ten times as many.

The tests are those of every family's own file; they read the number here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "VIADUCT_HOSTILE"
COUNT = int(os.environ.get(VARIABLE, "10000"))
ROOT = Path(__file__).resolve().parents[2]
NASTY = "\n\r\t\0 !\"'`;|&<>$\\/\x0b\x0c\x1c\u2028é#?abcXYZ019.-_:"


def hostile(count: int) -> list[str]:
    """The same ones each time."""
    chance = random.Random(7)
    known = [
        "blue\n   shutdown",
        "Ethernet1\nreload",
        "x y",
        "! vrf z",
        "",
        "a" * 200,
        "02:00:00:00:00:01\nexit",
    ]
    made = ["".join(chance.choices(NASTY, k=chance.randint(1, 24))) for _ in range(count - len(known))]
    return known + made


# Family -> what shows it. The count of commands and the parsed tree may not depend on a name.
TESTS = {
    "eos": "tests/drivers/test_eos.py::test_hostile_names_make_no_lines",
    "nxos, ios": "tests/drivers/test_routemaps.py::test_no_name_becomes_a_command",
    "iosxr": "tests/drivers/test_iosxr.py::test_hostile_names_never_become_commands",
    "junos: interfaces": "tests/drivers/test_junos_text.py::test_hostile_interface_names_never_become_syntax",
    "junos: VRFs": "tests/drivers/test_junos_text.py::test_hostile_vrf_names_never_become_syntax",
    "srx": "tests/drivers/test_junos_text.py::test_hostile_zones_never_become_syntax",
    "frr": "tests/drivers/test_frr.py::test_no_name_of_an_interface_becomes_a_command",
    "openvswitch": "tests/drivers/test_hostile_names.py::test_no_name_is_in_a_flow",
    "linux": "tests/drivers/test_hostile_names.py::test_a_name_is_an_interface_or_refused",
    "host": "tests/drivers/test_hostile_names.py::test_no_name_is_in_a_hosts_rules",
    "panos, fortios": "tests/drivers/test_appliances.py::test_hostile_names_never_become_commands",
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./run soak --hostile", description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="names for each renderer (default 100,000)")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    given = parser.parse_args(arguments)
    results = []
    for family, test in TESTS.items():
        began = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", test]
        environment = {**os.environ, VARIABLE: str(given.count)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        result = {"family": family, "ok": done.returncode == 0, "seconds": round(time.monotonic() - began, 1)}
        results.append(result)
        if not given.json:
            mark = "ok  " if result["ok"] else "FAIL"
            print(f"{mark} {given.count:>7} names  {result['seconds']:6.1f} s  {family}", flush=True)
        if done.returncode:
            sys.stderr.write(done.stdout[-2000:])
    is_ok = all(result["ok"] for result in results)
    if given.json:
        print(json.dumps({"ok": is_ok, "count": given.count, "renderers": results}))
    return 0 if is_ok else 1
