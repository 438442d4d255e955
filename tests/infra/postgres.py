"""A PostgreSQL of Debian's package on the loopback, for the length of a test."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from infra.process import Child, free_ports

PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass(frozen=True)
class Postgres:
    """A server with a database and a user, both called `mlflow`."""

    port: int
    password: str

    def environment(self) -> dict[str, str]:
        """What libpq reads."""
        where = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port)}
        return where | {"PGUSER": "mlflow", "PGDATABASE": "mlflow", "PGPASSWORD": self.password}

    def ask(self, query: str, user: str = "mlflow", database: str = "mlflow") -> list[tuple]:
        """The rows of a query; none of a command."""
        who = {"host": "127.0.0.1", "port": self.port, "password": self.password}
        with closing(psycopg2.connect(user=user, dbname=database, **who)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(query)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """Its log goes to `folder`; its data where its user, whom root must not be, can reach them."""
    data = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    (port,), password = free_ports(1), secrets.token_hex(16)
    (data / "password").write_text(password)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        for path in (data, data / "password"):
            shutil.chown(path, "postgres")
    try:
        made = [*as_user, str(PROGRAMS[-1] / "initdb"), f"--pgdata={data / 'data'}", f"--pwfile={data / 'password'}"]
        made += ["--username=postgres", "--auth=scram-sha-256", "--no-sync"]
        subprocess.run(made, cwd="/tmp", check=True, capture_output=True)
        command = [*as_user, str(PROGRAMS[-1] / "postgres"), "-D", str(data / "data"), "-k", str(data)]
        command += ["-h", "127.0.0.1", "-p", str(port), "-c", "fsync=off"]
        found = Postgres(port, password)
        with Child(command, folder / "postgres.log", os.environ) as child:
            child.wait_until(lambda: child.owns(port) and _answers(found), 60)
            found.ask(f"CREATE ROLE mlflow LOGIN PASSWORD '{password}'", "postgres", "postgres")
            found.ask("CREATE DATABASE mlflow OWNER mlflow", "postgres", "postgres")
            yield found
    finally:
        shutil.rmtree(data)


def _answers(server: Postgres) -> bool:
    try:
        return server.ask("SELECT 1", "postgres", "postgres") == [(1,)]
    except psycopg2.OperationalError:
        return False
