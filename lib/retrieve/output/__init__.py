"""Output: archives become files in the output tree.

This room does the work of `make untar`, and of `make verify` and `make link` after it. Each tile is unpacked into a
staging directory and checked there. Its files are then moved to their places, and it is stamped `extracted/TILE`.
"""
