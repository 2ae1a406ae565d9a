"""Settings are read strictly, as they stand in the environment; private files are their owner's from the start."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from kit import environment


@pytest.mark.parametrize("value", ["$ecret", "$HOME", "a$b", "ünïcode", "x=y"])
def test_a_text_is_taken_as_it_stands(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VIEWER_PASSWORD", f"  {value}\n")
    assert environment.text("VIEWER_PASSWORD") == value


def test_an_empty_value_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME", " ")
    assert environment.text("SOME", "default") == "default"
    assert environment.flag("SOME", default=True) is True
    assert environment.whole_number("SOME", default=4, lowest=0, highest=23) == 4
    assert environment.time_zone("SOME", "Asia/Seoul") == "Asia/Seoul"
    assert environment.texts("SOME", "a, b,,") == ["a", "b"]


@pytest.mark.parametrize(
    ("read", "value", "may_be"),
    [
        (lambda: environment.flag("SOME", default=True), "perhaps", "true or false"),
        (lambda: environment.whole_number("SOME", default=1, lowest=0, highest=23), "24", "from 0 to 23"),
        (lambda: environment.whole_number("SOME", default=1, lowest=0, highest=23), "٣", "from 0 to 23"),
        (lambda: environment.whole_number("SOME", default=1, lowest=0, highest=23), "-1", "from 0 to 23"),
        (lambda: environment.time_zone("SOME", "UTC"), "Seoul", "such as Asia/Seoul"),
        (lambda: environment.time_zone("SOME", "UTC"), "../UTC", "such as Asia/Seoul"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_name_and_what_it_may_be(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], Any], value: str, may_be: str
) -> None:
    monkeypatch.setenv("SOME", value)
    with pytest.raises(ImproperlyConfigured, match=f"^SOME is .*{may_be}"):
        read()


@pytest.mark.parametrize("url", ["", "ftp://a", "http://", "http://a:0", "http://a:99999", "http://[::1", "a.org"])
def test_an_address_names_a_server(url: str) -> None:
    assert environment.address(url, ("http", "https")) is None
    assert environment.address("https://a.org:8443/hub", ("http", "https")) is not None


def test_a_secret_key_is_made_once_and_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "secret-key"
    key = environment.kept_secret_key(path)
    assert len(key) > 50
    assert environment.kept_secret_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_where_no_key_can_be_kept_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ImproperlyConfigured, match=r"DATA_DIR is .*data'"):
        environment.kept_secret_key(tmp_path / "data" / "secret-key")


def test_a_private_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with environment.open_private(tmp_path / "logins", "a") as file:
            assert stat.S_IMODE((tmp_path / "logins").stat().st_mode) == 0o600
            file.write("one\n")
        with environment.open_private(tmp_path / "logins", "a") as file:
            file.write("two\n")
        with pytest.raises(FileExistsError):
            environment.open_private(tmp_path / "logins", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "logins").read_text() == "one\ntwo\n"
