# SPDX-License-Identifier: Apache-2.0
"""HTTPS between the orchestrator and its host agents: TLS 1.3, one pinned certificate, the name checked.

The client is called by the `host` driver, `ServerSide` by the agent. There is no unverified mode, no
redirect, no proxy and no fallback to HTTP.
"""

from __future__ import annotations

import hmac
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivers.base import Rejected, Target, Transient

MAX_ANSWER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, repr=False)
class Enrolment:
    """What the enrolment of an agent printed: the credential of the device."""

    name: str
    address: str
    port: int
    token: str
    certificate: str


class Agent:
    """A kept connection to one agent."""

    def __init__(self, connection: http.client.HTTPSConnection, enrolment: Enrolment, device: str) -> None:
        self._connection = connection
        self._enrolment = enrolment
        self._device = device

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer's JSON object. Errors: Transient, Rejected."""
        try:
            return self._ask(method, path, body)
        except ssl.SSLCertVerificationError as error:
            raise Rejected(f"{self._device}: not the enrolled certificate ({error.verify_message})") from error
        except (OSError, http.client.HTTPException) as error:
            where = f"{self._connection.host} port {self._connection.port}"
            raise Transient(f"{self._device}: no agent at {where} ({str(error) or type(error).__name__})") from error

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._enrolment.token}"}
        content = None if body is None else json.dumps(body).encode()
        self._connection.request(method, path, content, headers)
        response = self._connection.getresponse()
        raw = response.read(MAX_ANSWER_BYTES + 1)
        if response.length and len(raw) <= MAX_ANSWER_BYTES:
            # The agent ended in the middle of its answer; http.client says nothing of it.
            raise http.client.IncompleteRead(raw, response.length)
        try:
            data = json.loads(raw) if len(raw) <= MAX_ANSWER_BYTES else None
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict):
            raise Rejected(f"{self._device}: the agent's answer to {method} {path} is not a JSON object")
        if response.status == 200:
            return data
        text = f"{self._device}: {data.get('error', f'HTTP status {response.status}')}"
        if response.status in (408, 409, 429) or response.status >= 500:
            raise Transient(text)
        raise Rejected(text)


@contextmanager
def connect(target: Target, timeout_s: float) -> Iterator[Agent]:
    """Errors: Transient, Rejected. target.secret: the JSON that the agent's enrolment printed."""
    enrolment = _enrolment(target)
    connection = _Pinned(target.management or enrolment.address, enrolment, timeout_s)
    agent = Agent(connection, enrolment, target.name)
    try:
        yield agent
    finally:
        connection.close()


class _Pinned(http.client.HTTPSConnection):
    """Connects to the management address, and talks only to the holder of the enrolled certificate."""

    def __init__(self, address: str, enrolment: Enrolment, timeout_s: float) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=enrolment.certificate)
        super().__init__(address, enrolment.port, timeout=timeout_s, context=context)
        self._secure = context
        self._enrolment = enrolment

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._secure.wrap_socket(plain, server_hostname=self._enrolment.name)
            shown = self.sock.getpeercert(binary_form=True) or b""
        except OSError:
            plain.close()
            raise
        if not hmac.compare_digest(shown, ssl.PEM_cert_to_DER_cert(self._enrolment.certificate)):
            self.close()
            raise Rejected(f"the certificate of {self._enrolment.name} is not the enrolled one")


def _enrolment(target: Target) -> Enrolment:
    """Errors: Rejected; the text never holds the credential."""
    try:
        fields = json.loads(target.secret)
        texts = {name: str(fields[name]) for name in ("name", "address", "token", "certificate")}
        ssl.PEM_cert_to_DER_cert(texts["certificate"])
        enrolment = Enrolment(port=int(fields["port"]), **texts)
    except (ValueError, KeyError, TypeError):
        raise Rejected(f"{target.name}: the credential is not what `drivers.host.daemon enroll` printed") from None
    if enrolment.name != target.name:
        raise Rejected(f"{target.name}: the credential is the one of host {enrolment.name!r}; enrol this host")
    return enrolment


class ServerSide:
    """The agent's side: every accepted connection must speak TLS with the agent's own key."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(certificate, key)

    def secured(self, plain: socket.socket) -> socket.socket:
        """Shake hands within the socket's time-out. Errors: OSError."""
        return self._context.wrap_socket(plain, server_side=True)
