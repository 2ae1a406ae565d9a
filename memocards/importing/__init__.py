"""Import: files of cards and of questions, from strangers' programs, into the review pile.

    rows = read("geography.apkg")        # reading.py
    preview(rows, topic="Geography")     # storing.py: what would change
    store(rows, topic="Geography")       # in one transaction

A row is known by its external id within its topic (Anki's guid; without one, made from the front), or by the name that
an export of this hub made for it. Importing a file again changes what changed in it and nothing else: an unchanged row
keeps its approval, a changed one goes back to review, a deleted one stays deleted, and no learner's progress is
touched.

What strangers wrote is read in a process of its own (reading_apart.py, and reader_process.py in that process), with
limits of time and memory; its rows come back in a file (spool.py), which is read in read()'s place.

Nothing is imported here: that process begins with this package, without the database or its models.
"""
