"""Import: files of cards and of questions, from strangers' programs, into the review pile.

    rows = read("geography.apkg")        # reading.py
    preview(rows, topic="Geography")     # storing.py: what would change
    store(rows, topic="Geography")       # in one transaction

The way of a row, room by room:

- formats/: the table of formats. The file's format makes a Record of each of its rows.
- checking.py makes a CardRow or a QuestionRow of a record, or a BadRow that says what is wrong; conversions.py makes
  Markdown of its texts. What records and rows are, rows.py says. reading.py puts all of this together.
- staging.py copies the rows into a temporary table, storing.py compares them there with what is stored, and writes.
  targets.py says for cards and for questions which table that is, and what a change of a row does.
- reports.py: what an import did, or would do; refusals.py: errors for which nothing is imported.

What strangers wrote is read in a process of its own: reading_apart.py starts it, reader_process.py is what it runs,
limits.py says how much time, memory and disk it may take. Its rows come back in a file (spool.py), which stands in for
what read() gives. Such files lie in the directory of scratch.py.

A row is known by its external id within its topic (Anki's guid; without one, an id that is derived from the front), or
by the name that an export of this hub gave it. Importing a file again changes what changed in it and nothing else: an
unchanged row keeps its approval, a changed one goes back to review, a deleted one stays deleted, and no learner's
progress is touched.

This package imports nothing by itself: the reader's process begins with it, and has no database and no models.
"""
