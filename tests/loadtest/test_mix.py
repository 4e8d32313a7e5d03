"""What is sent: shares, own files, and what is refused before anything is sent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from loadtest.images import Photo
from loadtest.openloop.address import BadTarget, parse
from loadtest.openloop.mix import BadMix, Mix, own_photos, weights

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
KNOWN = ("small", "oversized")


def test_shares_are_kept() -> None:
    photos = {"small": [Photo(b"s", "small", 1, "")], "oversized": [Photo(b"o", "oversized", 9, "")]}
    mix = Mix(photos, weights("small=9,oversized=1", KNOWN), weights("plain=1,oip=1", ("plain", "oip")))
    rng = Random(1)
    drawn = Counter((each.size_class, each.path.split("/")[1]) for each in (mix.draw(rng) for _ in range(10_000)))
    assert drawn[("small", "v1")] == pytest.approx(4500, rel=0.1)
    assert drawn[("oversized", "v2")] == pytest.approx(500, rel=0.2)
    assert len(mix.make_all()) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("huge=1", "'huge' is not one of"),
        ("small=x", "is no number"),
        ("small=-1", "0 or more"),
        ("small=nan", "0 or more"),
        ("small=inf", "0 or more"),
        ("small=0,oversized=0", "nothing would be sent"),
        ("", "is not one of"),
    ],
)
def test_bad_shares_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(BadMix, match=words):
        weights(text, KNOWN)


def test_own_files_are_sorted_by_size() -> None:
    found = own_photos([SAMPLES / "cat.jpg", SAMPLES / "alp-12mp.jpg", SAMPLES / "tripod.png"])
    assert {name: len(photos) for name, photos in found.items()} == {"small": 2, "oversized": 1}


def test_files_that_are_no_images_are_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image at all, but long enough to be one")
    (tmp_path / "half.jpg").write_bytes((SAMPLES / "cat.jpg").read_bytes()[:30])
    for name, words in (("notes.txt", "not the beginning of"), ("half.jpg", "ends before"), ("none.png", "No such")):
        with pytest.raises(BadMix, match=words):
            own_photos([tmp_path / name])


def test_a_class_without_an_image_is_refused() -> None:
    with pytest.raises(BadMix, match="no oversized image"):
        Mix({"small": [Photo(b"s", "small", 1, "")]}, {"oversized": 1.0}, {"plain": 1.0})


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://example.org", "http://example.org"),
        ("https://example.org:443/v1/predict/", "https://example.org/v1/predict"),
        ("http://[::1]:9000", "http://[::1]:9000"),
    ],
)
def test_urls_are_read_generously(url: str, text: str) -> None:
    assert str(parse(url)) == text


@pytest.mark.parametrize(
    "url", ["", "http://", "ftp://x", "http://x:99999", "http://x:0", "http://a b", "http://x\n/", "http://me:pw@x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        parse(url)
