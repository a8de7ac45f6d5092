# SPDX-License-Identifier: Apache-2.0
"""The operators' web UI: server-rendered pages with htmx fragments.

Imports chains.services and chains.selectors; never drivers or planning.
"""
