# SPDX-License-Identifier: Apache-2.0
"""Measurements against their goals, run by `./run bench`: a private database and fake devices, nothing else."""
