"""Django database backend that brings its own PostgreSQL: no service, no root, no container (Linux only).

    DATABASES = {"default": {
        "ENGINE": "studyhub.embedded_postgres",
        "NAME": "studyhub",
        "EMBEDDED": {"DIRECTORY": Path("var/postgres").resolve(), "PARAMETERS": {"work_mem": "16MB"}},
    }}

The first connection initialises the directory and starts the server. Every process that connected holds a
shared lock on a file for its life; a detached keeper stops the server soon after the last lock is dropped.

    base, client, address   what Django sees
    server                  app side: ensure_running() and stop()
    directory               who owns the directory, and whether that can work
    wheel                   where the programs are
    keeper                  the detached process; it and what follows import the standard library only
    cluster                 initdb
    postmaster              start, recognise and stop `postgres`
    programs                how one of PostgreSQL's programs is run
    layout                  the names of the files in the directory
"""
