"""Talking to the server. Nothing in here knows bpy; everything in here may run in a thread."""
