# SPDX-License-Identifier: Apache-2.0
"""OVSDB (RFC 7047) to one Open vSwitch: does the bridge exist, which of its ports have a link, notes of ours on it.

Called by `drivers.switch.openvswitch` and the prober. A small JSON-RPC client over one socket; all it ever writes is
`external_ids` of a bridge whose key begins with "viaduct-": bridges and ports are the operator's.
"""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from drivers.base import Rejected, Transient
from drivers.transport.endpoint import credential, parse

Row = dict[str, Any]
DATABASE, OURS = "Open_vSwitch", "viaduct-"
# A reply larger than this is not the answer to what we ask.
MAX_REPLY_OCTETS = 64 << 20


@dataclass(frozen=True, slots=True)
class Bridge:
    """datapath_id: 16 hexadecimal digits. links_up: OpenFlow port number -> enabled and with a carrier."""

    name: str
    datapath_id: str
    links_up: dict[int, bool]


@dataclass(slots=True)
class Database:
    """An open connection. Every method raises Transient (connection) or Rejected (answer)."""

    endpoint: str
    stream: socket.socket
    timeout_s: float
    _buffer: bytes = b""
    _sent: int = field(default=0)

    def bridge(self, name: str) -> Bridge:
        """Errors: Rejected if there is no such bridge."""
        bridges, ports, interfaces = self._select(
            ("Bridge", [["name", "==", name]], ["datapath_id", "ports"]),
            ("Port", [], ["_uuid", "interfaces"]),
            ("Interface", [], ["_uuid", "ofport", "link_state", "admin_state"]),
        )
        if not bridges:
            raise Rejected(f"{self.endpoint}: there is no bridge {name!r}; correct the setting `bridge`")
        try:
            return self._bridge(name, bridges[0], ports, interfaces)
        except (KeyError, TypeError, IndexError) as error:
            raise Rejected(f"{self.endpoint}: OVSDB answered rows of another shape ({error!r})") from error

    def notes(self) -> dict[str, dict[str, str]]:
        """Bridge -> our keys without their beginning -> text."""
        (rows,) = self._select(("Bridge", [], ["name", "external_ids"]))
        try:
            return {
                row["name"]: {key[len(OURS) :]: text for key, text in row["external_ids"][1] if key.startswith(OURS)}
                for row in rows
            }
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise Rejected(f"{self.endpoint}: OVSDB answered rows of another shape ({error!r})") from error

    def note(self, bridge: str, key: str, text: str) -> None:
        """Put in the place of what was there; "" takes it away. Errors: Rejected if there is no such bridge."""
        mutations: list[Any] = [["external_ids", "delete", ["set", [OURS + key]]]]
        if text:
            mutations.append(["external_ids", "insert", ["map", [[OURS + key, text]]]])
        operation = {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]], "mutations": mutations}
        results = self._call("transact", [DATABASE, operation])
        if results != [{"count": 1}]:
            raise Rejected(f"{self.endpoint}: OVSDB did not note {key} on bridge {bridge!r}: {results!r:.500}")

    def _bridge(self, name: str, row: Row, ports: list[Row], interfaces: list[Row]) -> Bridge:
        datapath_id = row["datapath_id"]
        if not isinstance(datapath_id, str):
            # An ephemeral column: empty from a restart of the database until the switch daemon reports again.
            raise Transient(f"{self.endpoint}: the switch has not reported bridge {name!r} yet")
        own_ports = _members(row["ports"])
        own = {
            uuid for port in ports if port["_uuid"][1] in own_ports for uuid in _members(port["interfaces"])
        }
        links_up = {
            found["ofport"]: (found["link_state"], found["admin_state"]) == ("up", "up")
            for found in interfaces
            if found["_uuid"][1] in own and isinstance(found["ofport"], int) and found["ofport"] > 0
        }
        return Bridge(name, datapath_id, links_up)

    def _select(self, *queries: tuple[str, list[Any], list[str]]) -> list[list[Row]]:
        operations = [
            {"op": "select", "table": table, "where": where, "columns": columns}
            for table, where, columns in queries
        ]
        results = self._call("transact", [DATABASE, *operations])
        try:
            return [results[index]["rows"] for index in range(len(queries))]
        except (KeyError, TypeError, IndexError) as error:
            raise Rejected(f"{self.endpoint}: OVSDB refused the query: {results!r:.500}") from error

    def _call(self, method: str, params: list[Any]) -> Any:
        self._sent += 1
        deadline = time.monotonic() + self.timeout_s
        self._send({"method": method, "params": params, "id": self._sent}, deadline)
        while True:
            message = self._receive(deadline)
            if message.get("method") == "echo":
                # RFC 7047 section 4.1.11: how either side finds out that the other is alive.
                echo = {"result": message.get("params"), "error": None, "id": message.get("id")}
                self._send(echo, deadline)
            elif message.get("id") == self._sent and "result" in message:
                if message.get("error"):
                    raise Rejected(f"{self.endpoint}: OVSDB answered {message['error']!r:.500}")
                return message["result"]

    def _send(self, message: dict[str, Any], deadline: float) -> None:
        with _transport_errors(self.endpoint):
            self.stream.settimeout(max(0.001, deadline - time.monotonic()))
            self.stream.sendall(json.dumps(message).encode())

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next message; nothing but the JSON itself says where one ends."""
        decoder = json.JSONDecoder()
        while True:
            if self._buffer.endswith(b"}"):
                # A character that is cut in two never ends in a brace, so this decodes.
                text = self._buffer.decode("utf-8", errors="replace").lstrip()
                try:
                    message, end = decoder.raw_decode(text)
                except json.JSONDecodeError:
                    pass
                else:
                    self._buffer = text[end:].encode()
                    if not isinstance(message, dict):
                        raise Rejected(f"{self.endpoint}: not an OVSDB message")
                    return message
            with _transport_errors(self.endpoint):
                self.stream.settimeout(max(0.001, deadline - time.monotonic()))
                octets = self.stream.recv(1 << 16)
            if not octets:
                raise Transient(f"{self.endpoint}: OVSDB closed the connection")
            self._buffer += octets
            if len(self._buffer) > MAX_REPLY_OCTETS:
                raise Rejected(f"{self.endpoint}: the answer is larger than {MAX_REPLY_OCTETS} octets")


@contextmanager
def connect(endpoint: str, secret: str, timeout_s: float) -> Iterator[Database]:
    """endpoint: tcp:ADDRESS:PORT, or ssl:ADDRESS:PORT with a credential."""
    place = parse(endpoint)
    with _transport_errors(endpoint):
        stream = socket.create_connection((place.address, place.port), timeout=timeout_s)
    with stream:
        if not place.is_encrypted:
            yield Database(endpoint, stream, timeout_s)
            return
        with credential(secret) as files, _transport_errors(endpoint):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            # A switch's certificate carries no address: like Open vSwitch, trust what the authority signed.
            context.check_hostname = False
            context.load_cert_chain(files.certificate, files.key)
            context.load_verify_locations(files.authority)
            encrypted = context.wrap_socket(stream)
        with encrypted:
            yield Database(endpoint, encrypted, timeout_s)


@contextmanager
def connect_locally(path: str, timeout_s: float) -> Iterator[Database]:
    """By the database's own socket, on the same machine."""
    with socket.socket(socket.AF_UNIX) as stream:
        with _transport_errors(path):
            stream.settimeout(timeout_s)
            stream.connect(path)
        yield Database(path, stream, timeout_s)


def _members(value: list[Any]) -> set[str]:
    """The UUIDs of an OVSDB set, which is one atom when it has one member (RFC 7047 section 5.1)."""
    atoms = value[1] if value[0] == "set" else [value]
    return {atom[1] for atom in atoms}


@contextmanager
def _transport_errors(endpoint: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLEOFError as error:
        raise Transient(f"{endpoint}: the connection was closed") from error
    except ssl.SSLError as error:
        raise Rejected(f"{endpoint}: TLS: {error.reason or error}") from error
    except OSError as error:
        raise Transient(f"{endpoint}: {error.strerror or error}") from error
