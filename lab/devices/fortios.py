# SPDX-License-Identifier: Apache-2.0
"""An emulated FortiOS firewall: the REST API to read, the command line for the operator; what is typed is in force.

Sources: FortiOS CLI Reference, `config firewall policy`, `address`, `address6`, `service custom`, `config system zone`;
FortiOS REST API reference for the answers. A setting or a table that is not listed is refused, and so is a policy that
names an object which does not exist.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

from lab.devices import appliance_https
from lab.devices.appliance_https import Appliance

LISTS = ("srcintf", "dstintf", "srcaddr", "dstaddr", "srcaddr6", "dstaddr6", "service")
# "config router policy": numbers are of 1 to 65535, ports of 0 to 65535, a list's members are interfaces or prefixes.
ROUTE = {
    "input-device": r"[\w.-]+", "output-device": r"[\w.-]+", "gateway": r"[0-9a-f.:]+", "protocol": r"\d{1,3}",
    **dict.fromkeys(("src", "dst"), r"[0-9a-f.:]+/[0-9.]+"), "comments": r".{0,255}", "status": "enable|disable",
    **dict.fromkeys(("start-port", "end-port", "start-source-port", "end-source-port"), r"\d{1,5}"),
}  # fmt: skip
SETTINGS: dict[str, dict[str, str]] = {
    "firewall policy": {
        **dict.fromkeys(LISTS, r"[\w.:-]+"), "name": r"[\w-]{1,35}", "action": "accept|deny", "schedule": "always",
        "status": "enable|disable", "comments": r".{0,1023}", "nat": "enable|disable",
    },
    "firewall address": {"subnet": r"[\d.]+ [\d.]+"},
    "firewall address6": {"ip6": r"[0-9a-f:]+/\d{1,3}"},
    "firewall service custom": {
        "protocol": "TCP/UDP/SCTP|ICMP|ICMP6",
        **dict.fromkeys(("tcp-portrange", "udp-portrange", "sctp-portrange"), r"\d+(-\d+)?(:\d+(-\d+)?)?"),
    },
    "system zone": {"interface": r"[\w.-]+"},
    "system interface": {},
    "router policy": dict(ROUTE),
    "router policy6": dict(ROUTE),
    "router static": {"dst": r"\S+", "device": r"[\w.-]+"},
}  # fmt: skip
PATHS = {
    "cmdb/firewall/policy": "firewall policy",
    "cmdb/firewall/address": "firewall address",
    "cmdb/firewall/address6": "firewall address6",
    "cmdb/firewall.service/custom": "firewall service custom",
    "cmdb/system/zone": "system zone",
    "cmdb/router/policy": "router policy",
    "cmdb/router/policy6": "router policy6",
}


MOVABLE = ("firewall policy", "router policy", "router policy6")


class Refused(ValueError):
    """As the command line refuses."""


class Firewall(Appliance):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.clear()

    def clear(self) -> None:
        self.tables: dict[str, dict[str, dict[str, list[str]]]] = {table: {} for table in SETTINGS}
        self.tables["firewall address"]["all"] = {"subnet": ["0.0.0.0", "0.0.0.0"]}
        self.tables["firewall service custom"]["ALL"] = {"protocol": ["IP"]}

    def config(self) -> dict[str, Any]:
        return {"running": self.tables, "startup": self.tables, "candidate": ""}

    def reboot(self) -> None:
        pass

    def operate(self, lines: list[str]) -> None:
        """Line by line, as a paste: what was taken before a line that is refused stays."""
        table = name = ""
        row: dict[str, list[str]] = {}
        for line in lines:
            words = shlex.split(line)
            if words[:1] == ["config"] and not table and " ".join(words[1:]) in SETTINGS:
                table = " ".join(words[1:])
            elif words == ["end"] and table:
                table = ""
            elif words[:1] == ["edit"] and table and len(words) == 2:
                if table.startswith("router policy") and not 1 <= int(words[1]) <= 65535:
                    raise Refused(f"value parse error before '{words[1]}'")
                name, row = words[1], copy.deepcopy(self.tables[table].get(words[1], {}))
            elif words[:1] == ["set"] and name and len(words) > 2:
                self._check(table, words[1], words[2:])
                row[words[1]] = words[2:]
            elif words == ["next"] and name:
                self.tables[table][name] = row
                name = ""
            elif words[:1] == ["delete"] and table and len(words) == 2:
                self.tables[table].pop(words[1], None)
            elif words[:1] == ["move"] and table in MOVABLE and len(words) == 4 and words[2] == "before":
                self._move(table, words[1], words[3])
            else:
                raise Refused(f"Unknown action 0: {line}")

    def _check(self, table: str, setting: str, values: list[str]) -> None:
        pattern = SETTINGS[table].get(setting)
        if pattern is None:
            raise Refused(f"command parse error before '{setting}'")
        for value in values if setting in LISTS else [" ".join(values)]:
            if re.fullmatch(pattern, value) is None:
                raise Refused(f"node_check_object fail! for {setting} {value}")
            kind = {"srcaddr": "address", "dstaddr": "address", "srcaddr6": "address6", "dstaddr6": "address6"}
            where = f"firewall {kind[setting]}" if setting in kind else ""
            where = "firewall service custom" if setting == "service" else where
            if where and value not in self.tables[where]:
                raise Refused(f"entry not found in datasource: {value}")
            if setting in ("input-device", "output-device") and value not in self.tables["system interface"]:
                raise Refused(f"entry not found in datasource: {value}")
            if setting in ("srcintf", "dstintf") and value not in self._ends():
                raise Refused(f"entry not found in datasource: {value}")

    def _ends(self) -> set[str]:
        return {"any", *self.tables["system interface"], *self.tables["system zone"]}

    def _move(self, table: str, name: str, before: str) -> None:
        rows = self.tables[table]
        moved = rows.pop(name)
        self.tables[table] = {}
        for one, row in rows.items():
            if one == before:
                self.tables[table][name] = moved
            self.tables[table][one] = row

    # --- the API ------------------------------------------------------------------------------

    def key_in(self, headers: dict[str, str]) -> str:
        return headers.get("authorization", "").removeprefix("Bearer ")

    def reply(self, path: str, query: dict[str, str]) -> bytes:
        asked = path.removeprefix("/api/v2/")
        if query.get("vdom") != "root" or self.fault("refuse"):
            return json.dumps({"status": "error", "http_status": 424}).encode()
        return json.dumps({"http_method": "GET", "results": self._results(asked), "status": "success"}).encode()

    def _results(self, asked: str) -> Any:
        if asked in PATHS:
            return [_row(asked, name, row) for name, row in self.tables[PATHS[asked]].items()]
        if asked == "monitor/system/interface":
            down = str(self.faults.get("down") or "").split()
            return {name: {"name": name, "link": name not in down} for name in self.tables["system interface"]}
        if asked in ("monitor/router/ipv4", "monitor/router/ipv6"):
            rows = self.tables["router static"].values()
            found = [{"ip_mask": row["dst"][0], "interface": row["device"][0]} for row in rows]
            return [row for row in found if (":" in row["ip_mask"]) is asked.endswith("6")]
        raise KeyError(asked)


def _row(asked: str, name: str, row: dict[str, list[str]]) -> dict[str, Any]:
    if asked == "cmdb/system/zone":
        return {"name": name, "interface": [{"interface-name": one} for one in row["interface"]]}
    if asked.startswith("cmdb/router/policy"):
        return _route(name, row)
    found: dict[str, Any] = {
        setting: [{"name": one} for one in values] if setting in LISTS else " ".join(values)
        for setting, values in row.items()
    }
    if asked == "cmdb/firewall/policy":
        # What the box fills in by itself.
        filled = {"name": "", "action": "deny", "status": "enable", "nat": "disable", "schedule": "always"}
        return {"groups": [], **filled, **found, "policyid": int(name), "srcaddr-negate": "disable", "uuid": "0"}
    for setting in ("tcp-portrange", "udp-portrange", "sctp-portrange"):
        if setting in found:
            found[setting] = re.sub(r"\b(\d+)-\1\b", r"\1", found[setting])
    return {**found, "name": name, "q_origin_key": name}


def _route(name: str, row: dict[str, list[str]]) -> dict[str, Any]:
    """With what the box fills in by itself."""
    found: dict[str, Any] = {
        "protocol": 0, "start-port": 0, "end-port": 65535, "start-source-port": 0, "end-source-port": 65535,
        "gateway": "0.0.0.0", "status": "enable", "action": "permit", "tos": "0x00", "tos-mask": "0x00", "comments": "",
        "input-device-negate": "disable", "src-negate": "disable", "dst-negate": "disable",
    }  # fmt: skip
    for setting, values in row.items():
        member = {"input-device": "name", "src": "subnet", "dst": "subnet"}.get(setting)
        found[setting] = [{member: one} for one in values] if member else " ".join(values)
    return {**found, "seq-num": int(name), "q_origin_key": int(name)}


def serve(name: str, directory: Path, arguments: list[str]) -> None:
    """Never returns."""
    appliance_https.serve(Firewall(name), directory)
