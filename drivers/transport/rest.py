# SPDX-License-Identifier: Apache-2.0
"""A device's HTTPS interface, read only: there is no way to send anything but GET.

Called by the transports of appliances that are never written. The device proves who it is by the authority of its
credential; the key travels in a header, never in an address that somebody may log.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from drivers.base import Rejected, Target, Transient
from drivers.transport.vendor import brief, is_verified, login_of, required

MAX_OCTETS = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reader:
    target: Target
    client: httpx.Client

    def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Errors: Transient, Rejected; neither says the key."""
        try:
            reply = self.client.get(path, params=dict(query))
        except httpx.HTTPError as error:
            if "certificate" in str(error).lower():
                raise Rejected(
                    f"{self.target.name}: the device's certificate is not of the known authority ({brief(error)})"
                ) from error
            raise Transient(f"{self.target.name}: reading {path}: {brief(error)}") from error
        if reply.status_code in (401, 403):
            raise Rejected(f"{self.target.name}: the device refused the key of the credential")
        if reply.status_code >= 500 or reply.status_code == 429:
            raise Transient(f"{self.target.name}: reading {path}: the device answered {reply.status_code}")
        if reply.status_code != 200 or len(reply.content) > MAX_OCTETS:
            raise Rejected(f"{self.target.name}: reading {path}: the device answered {reply.status_code}")
        return reply.content


@contextmanager
def reader(target: Target, header: str, form: str, timeout_s: float) -> Iterator[Reader]:
    """form: of the header's value, with {} for the key. Errors: Rejected."""
    login = login_of(target)
    required(target, login.authority_file, "authority_file, the PEM file of who signed the device's certificate")
    context = ssl.create_default_context(cafile=login.authority_file or None)
    if not is_verified(target):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    base = f"https://{target.management}:{login.port or 443}"
    headers = {header: form.format(login.password)}
    with httpx.Client(
        base_url=base, headers=headers, verify=context, timeout=timeout_s, trust_env=False, follow_redirects=False
    ) as client:
        yield Reader(target, client)
