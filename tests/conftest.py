"""Hypothesis on a machine that others share: slowness of the machine is no failure of the code.

CI tries the same examples every time; `make fuzz` other ones, and many more.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("shared machine"), derandomize=False, max_examples=20_000)
settings.load_profile("shared machine")
