"""Handing: a disk that is smaller than the campaign.

This room keeps archives and output within `BUDGET`, and hands each unpacked tile on to the command of `AFTER`, after
which nothing of it is here any more but a record.
"""
