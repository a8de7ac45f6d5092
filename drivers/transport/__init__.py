# SPDX-License-Identifier: Apache-2.0
"""The only place that speaks to a device: SSH, HTTPS, OpenFlow and OVSDB clients."""
