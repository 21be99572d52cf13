"""Poses and armatures. Nothing in here knows the network; modules that need no bpy do not import it."""
