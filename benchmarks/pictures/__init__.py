"""What ``benchmarks/image_to_pose.py`` needs: scenes made by chance, Blender's pictures of them, and the measures."""
