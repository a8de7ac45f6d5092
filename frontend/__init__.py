# SPDX-License-Identifier: Apache-2.0
"""The operators' pages: server-rendered, htmx fragments."""
