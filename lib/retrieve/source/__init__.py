"""Source: where the archives are.

`container` says what can be asked of any source. There are two of them: `vospace` for Vault and Cavern, and `directory`
for a local directory; `opening` chooses between them. The other modules of this room read what a service answers, tell
its faults, and try again what may pass.
"""
