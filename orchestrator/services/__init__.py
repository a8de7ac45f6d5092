# SPDX-License-Identifier: Apache-2.0
"""Embedded services: a private PostgreSQL, a private Valkey, and the processes that use them.

Called by ./run, the demo and the tests. Needs the standard library only, so that `doctor` can speak where the
installation failed. Production gives DATABASE_URL and REDIS_URL instead; then nothing here starts a server.
"""
