"""What hub and viewer both stand on; it imports nothing of ours. A room comes here when two of publish, memocards and
viewer need it, or the projects that put them together.

addresses        who calls, behind how many proxies
arguments        what a command's flags may be
attempts         guessing passwords is slow
dialect          the Markdown that all texts are written in
environment      settings from the environment, read strictly; the secret key, and other files of mode 0600
lists            lists of the back office over tables that grow without end
logs             the log says in one line what a caller, or the database, is to blame for
markdown         the sanitised rendering of all texts
parent_death     a child that does not outlive its parent
pauses           how long to wait before what failed is tried again
problems         an error knows its own status; problem+json
progress         a bar on a terminal, plain lines elsewhere
scheduling       when a card is due again: pure
standard_output  another program reads it, and may stop reading
stopping         the first signal asks, the second forces
transactions     begun once, outermost, and again after a deadlock
"""
