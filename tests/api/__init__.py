# SPDX-License-Identifier: Apache-2.0
"""The REST interface, through Django's test client on a real PostgreSQL."""
