"""The formats of files that can be imported.

table.py is the one list of them: whatever a form, a command or the reader knows of a format, it has from there. It also
finds out which format a file is of. What a format consists of is in format.py. Each format is a file that ends in its
entry, a Format: delimited.py (CSV, TSV), xlsx.py, jsonl.py, and anki/ with two. What several of them need: archives.py
(ZIP), decoding.py (bytes to lines), columns.py (the header of a table), empty_rows.py (a limit to them).

Another format is one file here and its line in the table.
"""
