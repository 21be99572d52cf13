# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Blender with a real window on a machine without a screen: Debian's Blender in a chroot, under Xvfb."""
