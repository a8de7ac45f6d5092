# SPDX-License-Identifier: Apache-2.0
"""The Django project: settings, addresses, workers, error shape and the embedded services. Nothing imports it."""
