# SPDX-License-Identifier: Apache-2.0
"""One short function a page: one selector, or one service and a redirect."""
