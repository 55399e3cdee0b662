"""Availability: what the sources hold of every tile.

This room does the work of `make avail`. It sorts a listing by tile and product, chooses the container that each tile
comes from, makes sure that the listing was not short, and writes the stamps `available/TILE` and `incomplete/TILE`.
"""
