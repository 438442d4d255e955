"""The folder that goes with a job: what is in the zip, what stays here, and how large it may be."""

import os
import zipfile
from pathlib import Path

import pytest

from infra import parcel
from infra.parcel import NotSent, files, pack

PLANTED = "planted-and-never-to-be-sent"


def names(folder: Path, tmp_path: Path) -> list[str]:
    pack(folder, tmp_path / "parcel.zip")
    with zipfile.ZipFile(tmp_path / "parcel.zip") as archive:
        return archive.namelist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    for name in ("tiny.yaml", "more/b.yaml", "data/big.bin", "logs/x.log"):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"name: {name}\n")
    return made


def test_what_is_sent(folder: Path, tmp_path: Path) -> None:
    (folder / ".gitignore").write_text("/data\n")
    (folder / "more/.rayignore").write_text("c.yaml\n")
    (folder / "more/c.yaml").write_text("")
    (folder / "logs/run.sh").write_text("")
    (folder / "logs/run.sh").chmod(0o755)
    assert names(folder, tmp_path) == [
        ".gitignore", "logs/run.sh", "logs/x.log", "more/.rayignore", "more/b.yaml", "tiny.yaml",
    ]  # fmt: skip
    with zipfile.ZipFile(tmp_path / "parcel.zip") as archive:
        assert archive.read("more/b.yaml") == b"name: more/b.yaml\n"
        assert archive.getinfo("logs/run.sh").external_attr >> 16 & 0o777 == 0o755


def test_the_same_content_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "one.zip")
    os.utime(folder / "tiny.yaml", (1e9, 1e9))
    pack(folder, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_files_of_secrets_and_links_out_of_the_folder_stay_here(folder: Path, tmp_path: Path) -> None:
    before = names(folder, tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/credentials").write_text(PLANTED)
    for name in (".env", "deploy.pem", "more/id_rsa", ".aws/credentials", ".netrc", "environment.sh"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(PLANTED)
    (folder / "link.txt").symlink_to(tmp_path / "outside/credentials")
    (folder / "all").symlink_to(tmp_path / "outside")
    (folder / "round").symlink_to(folder)
    assert names(folder, tmp_path) == before
    (folder / "inside.yaml").symlink_to(folder / "tiny.yaml")
    assert set(names(folder, tmp_path)) == {*before, "inside.yaml"}


def test_a_file_that_holds_a_secret_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", PLANTED)
    (folder / "more/notes.txt").write_text(f"see {PLANTED}")
    with pytest.raises(NotSent, match=r"^more/notes.txt: holds the value of SOME_TOKEN") as caught:
        pack(folder, tmp_path / "parcel.zip")
    assert PLANTED not in str(caught.value)
    monkeypatch.delenv("SOME_TOKEN")
    (folder / "tiny.yaml").write_text(f"tracking: {{uri: 'http://me:{PLANTED}@host:5000'}}\n")
    with pytest.raises(NotSent, match=r"^tiny.yaml: holds an address with a user name or a password") as caught:
        pack(folder, tmp_path / "parcel.zip")
    assert PLANTED not in str(caught.value)


def test_a_folder_that_is_too_large_is_refused_with_what_makes_it_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "data/big.bin").write_bytes(os.urandom(3_000_000))
    (folder / "logs/zeros").write_bytes(bytes(2_000_000))
    monkeypatch.setattr(parcel, "LIMIT", 2 << 20)
    with pytest.raises(NotSent, match=r"more than the 2 MiB .*\(largest: data 3 MB, logs 2 MB, more 0 MB\)") as caught:
        pack(folder, tmp_path / "parcel.zip")
    assert "\n" not in str(caught.value) and len(files(folder)) == 5
    (folder / "data/big.bin").unlink()
    pack(folder, tmp_path / "parcel.zip")
