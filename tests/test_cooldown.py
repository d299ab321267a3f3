"""The cool-down of backends: it orders targets and never removes the last one."""

from byway.routing.cooldown import CoolDown
from byway.routing.route import TargetName

X, Y = TargetName("a", "x"), TargetName("b", "y")


def test_a_failed_backend_is_tried_last_until_its_cool_down_ends():
    cooldown = CoolDown()
    cooldown.failed("a", 100.0)
    assert cooldown.order((X, Y), 100.5) == (Y, X)
    assert cooldown.order((X, Y), 103.0) == (X, Y)


def test_the_only_target_is_tried_during_its_cool_down():
    cooldown = CoolDown()
    cooldown.failed("a", 0.0)
    assert cooldown.order((X,), 0.1) == (X,)


def test_cool_downs_double_up_to_a_minute_and_a_success_ends_them():
    cooldown = CoolDown()
    for _ in range(10):
        cooldown.failed("a", 0.0)
    assert cooldown.remaining("a", 0.0) == 60.0
    cooldown.succeeded("a")
    assert cooldown.remaining("a", 0.0) == 0.0
    cooldown.failed("a", 0.0)
    assert cooldown.remaining("a", 0.0) == 2.0


def test_backends_that_left_the_config_are_forgotten():
    cooldown = CoolDown()
    cooldown.failed("a", 0.0)
    cooldown.failed("b", 0.0)
    cooldown.keep({"b"})
    assert (cooldown.remaining("a", 0.0), cooldown.remaining("b", 0.0)) == (0.0, 2.0)
