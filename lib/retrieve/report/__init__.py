"""Report: pictures of where every tile stands.

This room is what `make report` and `make map` do: the page, its map of the sky and its curves over time. It asks the
room `standing` and draws what that says. The page's own HTML, style and script are in the directory `page`.
"""
