"""Backup and restore of a hub: its database, and what people have uploaded.

ending      a backup or a restore that does not end well says so in a sentence
writing     a backup from a running hub
restoring   a backup becomes the hub's database
ratings     what a replaced database knew and the backup does not
uploads     files that people have uploaded
programs    pg_dump and pg_restore at work
databases   the server's databases: made, swapped, dropped, and who is connected to them
contents    what a database holds at one moment
manifest    what a backup says of itself, and whether that is still so
"""
