# SPDX-License-Identifier: Apache-2.0
"""The domain: what tenants want, what the fabric offers, what is in force."""
