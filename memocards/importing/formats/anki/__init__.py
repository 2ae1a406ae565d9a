"""What Anki exports, as cards.

Two formats: package.py, a ZIP archive around a collection, and text.py, lines of notes. collection.py reads the
collection, an SQLite database, whose newer files hold protobuf messages (wire.py). templates.py puts a note's fields
into the two sides of a card, as Anki shows them: HTML, which becomes Markdown like any other.
"""
