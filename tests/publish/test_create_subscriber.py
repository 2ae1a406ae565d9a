import io
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from publish.models import Subscriber
from publish.subscribers import (
    Reader,
    authenticate,
    create_subscriber,
    renew_token,
    revoke,
    revoke_tokens_of_erased,
)
from tests.factories import UserFactory


def create(*arguments: str) -> str:
    """Run the command in this process; returns what it said on standard output."""
    stdout = io.StringIO()
    call_command("create_subscriber", *arguments, stdout=stdout, stderr=io.StringIO())
    return stdout.getvalue()


def reader_of(said: str) -> Reader:
    reader = authenticate(said.splitlines()[-1])
    assert reader is not None
    return reader


@pytest.mark.django_db
def test_the_token_stands_alone_on_the_last_line_and_opens_the_feed() -> None:
    said = create("nas")
    assert said.splitlines()[-1].startswith("sh_")
    reader = reader_of(said)
    assert (reader.learner_id, reader.all_learners, reader.kinds) == (None, False, ())
    assert Subscriber.objects.get(pk=reader.subscriber_id).name == "nas"


@pytest.mark.django_db
@pytest.mark.parametrize("end", [lambda learner: revoke(Subscriber.objects.all()), revoke_tokens_of_erased])
def test_a_renewed_token_is_the_same_subscribers_to_its_viewer(end: Callable[[int], int]) -> None:
    learner = UserFactory.create()
    subscriber, lost = create_subscriber(name="phone", learner_id=learner.pk)
    assert end(learner.pk) == 1
    subscriber.refresh_from_db()
    reader = authenticate(renew_token(subscriber, learner_id=learner.pk))
    assert reader == Reader(subscriber_id=subscriber.pk, learner_id=learner.pk, all_learners=False, kinds=())
    assert authenticate(lost) is None


@pytest.mark.django_db
def test_it_may_be_bound_to_a_learner_or_to_all_and_to_kinds() -> None:
    learner = UserFactory.create(username="지민")
    assert reader_of(create("phone", "--learner", "지민")).learner_id == learner.pk
    assert reader_of(create("mirror", "--all-learners")).all_learners
    assert reader_of(create("cards", "--kind", "card", "--kind", "topic", "--kind", "card")).kinds == ("card", "topic")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "--learner", "nobody"], "no user 'nobody'"),
        (["new", "--learner", "someone", "--all-learners"], "not allowed with"),
        (["new", "--kind", "deck"], "invalid choice: 'deck'"),
        (["taken"], "already exists"),
        (["  "], "blank"),
        ([""], "blank"),
        (["x" * 101], "at most 100"),
        ([], "required: name"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_a_sentence(arguments: list[str], sentence: str) -> None:
    UserFactory.create(username="someone")
    create_subscriber(name="taken")
    with pytest.raises(CommandError, match=sentence):
        create(*arguments)
    assert Subscriber.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    [
        lambda token: "",
        lambda token: token[:-1],
        lambda token: token + "x",
        lambda token: token[:12],
        lambda token: token.swapcase(),
        lambda token: token + "\0",
        lambda token: "\0" + token,
        lambda token: "한글",
    ],
)
def test_what_is_not_the_token_opens_nothing(change: Callable[[str], str]) -> None:
    _subscriber, token = create_subscriber(name="nas")
    assert authenticate(change(token)) is None


@pytest.mark.django_db
def test_a_learner_who_may_not_log_in_reads_no_more() -> None:
    learner = UserFactory.create()
    _subscriber, token = create_subscriber(name="phone", learner_id=learner.pk)
    assert authenticate(token)
    learner.is_active = False
    learner.save(update_fields=["is_active"])
    assert authenticate(token) is None


@pytest.mark.django_db
def test_the_token_is_kept_nowhere() -> None:
    _subscriber, token = create_subscriber(name="nas")
    stored = Subscriber.objects.values_list().get()
    assert token not in str(stored)
    assert token[12:] not in str(stored)


@pytest.mark.django_db(transaction=True)
def test_as_a_process_only_the_token_is_on_standard_output(
    manage: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = manage("create_subscriber", "nas")
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert authenticate(done.stdout.strip())
    assert "once" in done.stderr
    again: Any = manage("create_subscriber", "nas")
    assert (again.returncode, again.stdout) == (1, "")
    assert "already exists" in again.stderr
