"""One S3 bucket: clients opened on first use in each process, first contact, and retry of what may be repeated."""

import os
import re
import urllib.parse
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import obstore
from botocore.exceptions import BotoCoreError, NoCredentialsError, PartialCredentialsError
from botocore.session import Session
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import S3Store as S3Client

from infra.storage.contract import AlreadyExists, Conflict, Denied, NotFound, StorageError, Unreachable, Unreadable
from infra.storage.patience import Result, repeated

if TYPE_CHECKING:
    import s3fs

CONNECT_SECONDS = 2.5
READ_SECONDS = 20.0
"""Silence of a connected server after which a request counts as lost."""
CONTACT_SECONDS = 5.0
"""The same on first contact, where a wrong address is likelier than a busy server."""
WHOLE_REQUEST_SECONDS = 600.0

BUSY = ("SlowDown", "RequestTimeout", "TooManyRequests", "Throttling", "ThrottlingException", "RequestLimitExceeded")
"""Codes that ask for a later attempt, whatever their status."""
ONE_OBJECT = ("AccessDenied", "InvalidObjectState", "KMS.DisabledException", "KMS.NotFoundException", "403")
"""Codes that may concern a single object: its own rights, a cold storage class, the key it is encrypted with. An answer
to HEAD has no body, and so no code but its status."""

_runtime_process: int | None = None


@dataclass
class Connection:
    """Bucket, address and patience: seconds for which a call that may be repeated is retried, once one was answered."""

    bucket: str
    endpoint: str | None
    region: str
    anonymous: bool
    patience: float = 120.0
    requester_pays: bool = False
    answered: bool = field(default=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        plain = ("bucket", "endpoint", "region", "anonymous", "patience", "requester_pays", "answered")
        return {name: getattr(self, name) for name in plain}

    @property
    def place(self) -> str:
        return self.endpoint or f"AWS S3 ({self.region})"

    def once(self, url: str, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """One attempt: for conditional writes, whose repetition could meet their own first success."""
        self.contact(url)
        return self._attempt(url, function, *arguments, **options)

    def repeated(self, url: str, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Attempts until an answer comes or patience ends; a refusal is an answer. Raises Unreachable."""
        self.contact(url)
        return repeated(self.patience, lambda: self._attempt(url, function, *arguments, **options))

    def contact(self, url: str) -> None:
        """Asks for an object that cannot exist, once: tells a wrong address, key or bucket within seconds.

        Raises Unreachable, Denied, NotFound (the bucket)."""
        if self.answered:
            return
        *folders, _ = urllib.parse.urlsplit(url).path.lstrip("/").split("/")
        plain = takewhile(lambda name: name.strip(".") and name.isprintable(), folders)  # obstore takes no others
        try:
            obstore.get(self._client(CONTACT_SECONDS), "/".join([*plain, f".xmodal-absent-{uuid.uuid4().hex}"]))
        except Exception as error:
            problem = self._translated(url, error)
            if not isinstance(problem, NotFound) or _code(error) == "NoSuchBucket":
                raise problem from None
            if _code(error) != "NoSuchKey":
                raise Unreachable(f"{url}: {self.place} answers, but not as S3; check the endpoint") from None
        self.answered = True

    def _attempt(self, url: str, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        try:
            return function(*arguments, **options)
        except Exception as error:
            raise self._translated(url, error) from None

    def _translated(self, url: str, error: Exception) -> Exception:
        """Our error for a client's; anything unknown, which is a bug, stays what it is."""
        status, code = status_of(error), _code(error)
        if isinstance(error, StorageError):
            return error
        if isinstance(error, AlreadyExistsError):
            return AlreadyExists(f"{url}: exists already")
        if isinstance(error, PreconditionError) or status == 412:
            return Conflict(f"{url}: was changed by another writer")
        if code == "NoSuchBucket":
            return NotFound(f"s3://{self.bucket}: no such bucket at {self.place}; create it or check the name")
        if isinstance(error, FileNotFoundError):
            return NotFound(f"{url}: no such object")
        if isinstance(error, NoCredentialsError | PartialCredentialsError) or "CredentialsError" in str(error):
            return Denied(f"{url}: no S3 credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
        if status in (408, 429) or code in BUSY:
            return Unreachable(f"{url}: {self.place} is too busy to answer ({code or status}); run again later")
        denied = isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError) or code in ONE_OBJECT
        if denied or 400 <= status < 500:
            kind = Unreadable if self.answered and (code or str(status)) in ONE_OBJECT else Denied
            hint = "check the AWS_* credentials, region and rights"
            return kind(f"{url}: {self.place} refuses ({code or status or 'no access'}); {hint}")
        if isinstance(error, obstore.exceptions.GenericError | BotoCoreError | OSError):
            return Unreachable(f"{url}: no answer from {self.place}; check the endpoint and that the server runs")
        if isinstance(error, ValueError | obstore.exceptions.InvalidPathError) and "segment" in str(error):
            return NotFound(f"{url}: a key with an empty, '.' or '..' segment cannot be written over S3")
        return error

    @cached_property
    def client(self) -> S3Client:
        """obstore: reads and conditional writes. It hangs in a forked child, so that is refused."""
        return self._client(READ_SECONDS)

    @cached_property
    def files(self) -> "s3fs.S3FileSystem":
        """s3fs: listings with exact keys, and the keys that obstore does not take. Most processes do without it."""
        import s3fs

        config: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS}
        config["retries"] = {"max_attempts": 1, "mode": "standard"}
        files = s3fs.S3FileSystem(
            anon=self.anonymous,
            requester_pays=self.requester_pays,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": self.region},
            config_kwargs=config | ({"s3": {"addressing_style": "path"}} if self.endpoint else {}),
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        files.retries = 1
        return files

    def credentials(self) -> dict[str, str]:
        """Access key, secret key and token as pyarrow names them, read from environment or profile now."""
        if self.anonymous:
            return {}
        frozen = _frozen_credentials()
        return {"access_key": frozen.access_key, "secret_key": frozen.secret_key} | (
            {"session_token": frozen.token} if frozen.token else {}
        )

    def _client(self, read_seconds: float) -> S3Client:
        global _runtime_process
        if _runtime_process not in (None, os.getpid()):
            raise RuntimeError("S3 was used before this process was forked and hangs here; start processes by spawn")
        _runtime_process = os.getpid()
        options: dict[str, Any] = {"endpoint": self.endpoint} if self.endpoint else {}
        options |= {"skip_signature": True} if self.anonymous else {"credential_provider": _credentials}
        return S3Client(
            self.bucket,
            region=self.region,
            request_payer=self.requester_pays,
            client_options={
                "allow_http": (self.endpoint or "").startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "read_timeout": timedelta(seconds=read_seconds),
                "timeout": timedelta(seconds=WHOLE_REQUEST_SECONDS),
            },
            retry_config={"max_retries": 1, "retry_timeout": timedelta(seconds=30)},
            **options,
        )


def _frozen_credentials() -> Any:
    found = Session().get_credentials()
    if found is None:
        raise NoCredentialsError
    return found.get_frozen_credentials()


def _credentials() -> Any:
    """obstore's credential provider: environment, profile or instance role, read again every few minutes."""
    frozen = _frozen_credentials()
    expires = datetime.now(UTC) + timedelta(minutes=10)
    plain = {"access_key_id": frozen.access_key, "secret_access_key": frozen.secret_key, "expires_at": expires}
    return plain | ({"token": frozen.token} if frozen.token else {})


def _answer(error: Exception) -> dict[str, Any]:
    """botocore's parsed answer, which s3fs keeps in the cause."""
    return getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}


def status_of(error: Exception) -> int:
    """HTTP status of a refusal; 0 where no answer came."""
    written = re.search(r"status code: (\d{3})", str(error))
    return int(written[1]) if written else _answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: Exception) -> str:
    """S3's error code, such as NoSuchKey; empty where the answer holds none. A deletion of many keys is answered with
    status 200, and a code for each key that stays."""
    written = re.search(r"<Code>(\w+)</Code>|\(code: (\w+)\)", str(error))
    return written[1] or written[2] if written else _answer(error).get("Error", {}).get("Code", "")
