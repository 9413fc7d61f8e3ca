"""Times are taken from the first sight of a checkpoint that is past a row's event."""

from benchmarks.row_latency import CheckpointWatch


def seen(*sights: tuple[float, int]) -> CheckpointWatch:
    watch = CheckpointWatch("any")
    for moment, position in sights:
        watch.note(moment, position)
    return watch


def test_a_row_is_there_when_the_checkpoint_is_first_seen_at_its_position_or_later():
    watch = seen((10.000, 4), (10.010, 7), (10.020, 9))

    assert [round(each) for each in watch.milliseconds([(10.004, 5), (10.004, 7), (10.004, 8)])] == [6, 6, 16]


def test_a_row_that_was_there_before_its_answer_took_no_time():
    assert seen((10.0, 4)).milliseconds([(10.5, 4)]) == [0.0]


def test_a_checkpoint_that_stands_still_is_no_news():
    assert seen((10.0, 4), (11.0, 4)).milliseconds([(9.0, 4)]) == [1000.0]
