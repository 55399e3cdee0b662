"""Host: the machine that this runs on.

This room is where we deal with disks, locks, processes, signals and the terminal, so that the others can speak of tiles
and archives.
"""
