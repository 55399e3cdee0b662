"""Formats: files that others have defined, read strictly.

This room knows gzip, tar and FITS and nothing of tiles, stamps or sources: it could be lifted out of the toolkit as it
is.
"""
