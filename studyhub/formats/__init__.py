"""How dates and times are written, one style in every language: 2026-01-05 18:00."""
