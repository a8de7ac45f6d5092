# SPDX-License-Identifier: Apache-2.0
"""The Django project: settings, addresses, workers, error shape, embedded services. Nothing imports it."""
