"""The cool-down: it orders targets and never refuses the last one."""

from byway.routing.cooldown import Health


def test_a_failed_backend_goes_last_and_comes_back():
    health = Health()
    health.failed("a", 100.0)
    assert health.order(("x", "y"), ("a", "b"), 100.5) == ("y", "x")
    assert health.order(("x", "y"), ("a", "b"), 103.0) == ("x", "y")


def test_the_only_target_is_tried_all_the_same():
    health = Health()
    health.failed("a", 0.0)
    assert health.order(("x",), ("a",), 0.1) == ("x",)


def test_rests_double_up_to_a_minute_and_success_ends_them():
    health = Health()
    for _ in range(10):
        health.failed("a", 0.0)
    assert health.resting("a", 0.0) == 60.0
    health.worked("a")
    assert health.resting("a", 0.0) == 0.0
    health.failed("a", 0.0)
    assert health.resting("a", 0.0) == 2.0
