# SPDX-License-Identifier: BSD-3-Clause
"""The commands of vnicctl, a file each: add() enters its verbs; client, text and rates are what they share."""
