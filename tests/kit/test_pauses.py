from kit.pauses import GrowingPauses


def test_pauses_double_up_to_the_longest_with_jitter_and_begin_again_after_success() -> None:
    for _ in range(50):
        pauses = GrowingPauses(first=1, longest=5)
        for whole in (1, 2, 4, 5, 5):
            assert whole / 2 <= pauses.next() <= whole
        pauses.reset()
        assert 0.5 <= pauses.next() <= 1


def test_two_that_failed_at_once_do_not_try_again_at_once() -> None:
    one, other = GrowingPauses(first=1, longest=5), GrowingPauses(first=1, longest=5)
    assert [one.next() for _ in range(5)] != [other.next() for _ in range(5)]
