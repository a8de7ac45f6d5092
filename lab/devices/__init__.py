# SPDX-License-Identifier: Apache-2.0
"""Emulated vendor devices: the real protocol on loopback, a grammar of statements transcribed from manuals.

What they prove: that the drivers speak the protocol and the syntax, and survive the faults. What they never prove:
limits of ASICs, TCAM, hashing, and vendors' bugs.
"""
