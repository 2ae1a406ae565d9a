class BackupError(Exception):
    """A backup or a restore ended, and its message is a sentence for whoever began it."""
