from memocards.importing.rows import RowKind
from memocards.management.importing import LIMITS_HELP, ImportCommand, extensions_of


class Command(ImportCommand):
    help = (
        f"Imports cards from a table, JSON Lines or what Anki exports ({extensions_of(RowKind.CARD)}). They wait for "
        "review. The first line of a table names its columns: front and back, and if you like tags (parted by commas, "
        "or by blanks), note, source, topic and id; JSON Lines have the same names. A card is known by its "
        "external id (Anki's guid; without one, made from its front), so importing a file again changes only what "
        "changed in it; so does importing an export of this hub. Texts are Markdown, and HTML in them becomes "
        "Markdown; where a column `markup` says `exact`, as in exports, they are stored as they stand; where it says "
        "`html`, all is HTML. Anki's decks are topics, nested ones by their whole name, unless --topic puts all cards "
        "into one. A bad row keeps the whole file out, unless --skip-bad. " + LIMITS_HELP
    )
    kind = RowKind.CARD
