"""The import page of a list: a file is chosen, what it would change is shown, and nothing is stored before a yes.

The pages, their addresses and their forms are django-import-export's; what a file says and does is memocards.importing.
"""

from memocards.admin.importing.pages import ImportingAdmin
from memocards.admin.importing.resource import CardResource, QuestionResource

__all__ = ["CardResource", "ImportingAdmin", "QuestionResource"]
