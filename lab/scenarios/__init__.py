# SPDX-License-Identifier: Apache-2.0
"""What steering must survive, on real packets: one module for each scenario, judged by captured packets alone."""
