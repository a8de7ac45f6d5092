# SPDX-License-Identifier: Apache-2.0
"""Every write: `intent`, `inventory`, `tenancy`, `tokens` for people, `record` for the machine.

None knows a task or a device.
"""
