"""What a text of the content may be. No model is needed for it: files are read where there is none."""

from typing import Final

TEXT_LIMIT: Final = 20_000
