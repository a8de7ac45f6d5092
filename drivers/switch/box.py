# SPDX-License-Identifier: Apache-2.0
"""The session that switches have in common with vendors' appliances, under its name among switches."""

from drivers.box import Box, BoxSession, Facts, Reading, Syntax

__all__ = ["Box", "BoxSession", "Facts", "Reading", "Syntax"]
