"""The import pages of a list: a file is chosen, what it would change is shown, and nothing is stored before a yes.

- forms.py: the form of a file, and the plan that it makes.
- pages.py: the views. None of them reads a file: they show how far an import is.
- uploads.py: an import on its way, as a directory below DATA_DIR/imports.
- line.py: whose turn it is, and the processes that work the line off.
- work.py: one turn. It reads the file (in a process of its own again), compares, or stores.
- summary.py, differences.py: what an import would do, as the page shows it.
"""

from memocards.admin.importing.pages import ImportingAdmin

__all__ = ["ImportingAdmin"]
