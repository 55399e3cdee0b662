"""Stamps: what is known here of every tile, in small files that Make and the commands share.

This room reads and writes them: the stamps themselves, the lists of unpacked files beside them, the record of runs, and
the inventory of archives that are here. Nothing in it asks a source or reads an archive.
"""
