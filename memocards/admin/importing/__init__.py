"""The import pages of a list: a file is chosen, what it would change is shown, and nothing is stored before a yes.

- pages.py: the views, as a mixin of the two admins. None of them reads a file: they show how far an import is.
- forms.py: the form of a file, the plan that it makes, and the form of a yes to the preview.
- uploads.py: an import on its way, as a directory below DATA_DIR/imports.
- line.py: whose turn it is, and the processes that work the line off.
- work.py: what such a process does in one turn. It has the file read (in yet another process) and compares its rows
  with what is stored, or stores them.
- summary.py, differences.py: what an import would do, as the page shows it.
"""

from memocards.admin.importing.pages import ImportingAdmin

__all__ = ["ImportingAdmin"]
