"""`python -m tests.studyhub.supervising NAME=COMMAND …`: a supervisor of such programs, as a process of its own."""

import asyncio
import os
import sys
from pathlib import Path

from studyhub.supervisor import Program, Supervisor


async def run(arguments: list[str]) -> None:
    programs = [
        Program(name, command, advice=f"Ask {name} itself.")
        for name, _, command in (argument.partition("=") for argument in arguments)
    ]
    await Supervisor(programs, environment=os.environ, directory=Path.cwd()).run()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1:]))
