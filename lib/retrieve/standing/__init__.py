"""Standing: where every tile is on its way, told from what is here.

This room is what `make status` and `make manifest` say: a survey of all tiles, the story of one, and the table of what
is held. It reads stamps and looks at files once; it needs no network and takes no lock.
"""
