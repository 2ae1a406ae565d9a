"""The seam of import and export: what both must know of a file, so that what one writes the other reads again.

names.py: the names under which an export writes rows, and by which an import finds them. guids.py: the same for Anki.
markup.py: how texts are written in a file, `exact` among it, which is how exports write them. Neither importing nor
exporting imports the other; what both need stands here.
"""
