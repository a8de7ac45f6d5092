# SPDX-License-Identifier: Apache-2.0
"""Devices: what they should hold, what they hold, and how to make the two agree. Never imports `chains`."""
