"""Runs pytest in forks of one process that has imported the libraries already: most of a short run is imports.

Started as a script. Each line that it reads is a JSON array: the folder, the file for what is printed, the arguments
of pytest. It answers each with a line, the exit code; a run that takes longer than two minutes is ended by SIGALRM.
"""

import json
import os
import signal
import sys

import flask_sqlalchemy  # noqa: F401
import httpcore  # noqa: F401
import hypothesis
import passlib.context  # noqa: F401
import psycopg  # noqa: F401
import pytest
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite  # noqa: F401

SECONDS = 120
#: A failure is enough: the smallest example of it is not looked for.
hypothesis.settings.register_profile("guards", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate])
hypothesis.settings.load_profile("guards")


def main() -> None:
    """Serve standard input."""
    for line in sys.stdin:
        folder, output, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            printed = os.open(output, os.O_WRONLY | os.O_CREAT, 0o600)
            os.dup2(printed, 1)
            os.dup2(printed, 2)
            os.chdir(folder)
            sys.path[0] = folder
            code = int(pytest.main(arguments))
            sys.stdout.flush()
            os._exit(code)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
