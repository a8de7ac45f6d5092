# SPDX-License-Identifier: Apache-2.0
"""Tests of the project: services, settings, errors, health, the run script."""
