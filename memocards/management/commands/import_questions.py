from memocards.importing.rows import RowKind
from memocards.management.importing import LIMITS_HELP, ImportCommand, extensions_of


class Command(ImportCommand):
    help = (
        f"Imports questions from a table or JSON Lines ({extensions_of(RowKind.QUESTION)}). They wait for review. The "
        "first line of a table names its columns: stem, answer, and choices or a, b, c …; if you like explanation, "
        "source, topic and id. JSON Lines have the same names. Choices are a list, or an object of letters and texts; "
        "the answer is a letter, or a number from 1. A question is known by its external id (without one, made from "
        "its stem), so importing a file again changes only what changed in it; so does importing an export of this "
        "hub. Texts are Markdown, and HTML in them becomes Markdown; where a column `markup` says `exact`, as in "
        "exports, they are stored as they stand; where it says `html`, all is HTML. A bad row keeps the whole file "
        "out, unless --skip-bad. " + LIMITS_HELP
    )
    kind = RowKind.QUESTION
