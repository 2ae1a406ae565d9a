"""Backup and restore of a hub: its database, and what people have uploaded.

errors      the sentence in which one of the two ends
manifest    what a backup says of itself, and whether that is still so
contents    what a database holds at one moment
programs    pg_dump and pg_restore, with their progress
writing     a backup from a running hub
databases   the server's databases: made, swapped, dropped, and who is connected to them
restoring   a backup becomes the hub's database
ratings     what a replaced database knew and the backup does not
"""
