"""A VOSpace on loopback: both OpenCADC services over one directory, and their failures on demand.

`vospace_demo.server.VOSpace` is the server, `vospace_demo.faults.Fault` a way for it to misbehave,
`python -m vospace_demo` the command. It is read-only, needs no account and answers 127.0.0.1 alone.
"""
