"""The photos of a load test are real, of the sizes they say, and the same every time."""

from __future__ import annotations

from loadtest.images import photos
from wire.image_header import read_header


def test_photos_are_what_they_say_and_the_same_for_a_seed() -> None:
    made = photos(7)
    for size_class, least, most in (("small", 80_000, 3_000_000), ("oversized", 10_000_000, 27_000_000)):
        assert made[size_class]
        for photo in made[size_class]:
            header = read_header(photo.body)
            assert header is not None
            assert header.format == "jpeg"
            assert header.width * header.height == photo.pixels
            assert least < photo.pixels < most
    assert made == photos(7)
