"""What is sent: photos by size class and protocol, in the shares asked for, each request ready as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from random import Random

import msgspec

from loadtest.calls import PROTOCOLS, BestLabel
from loadtest.images import Photo
from wire.image_header import Unknown, read_header

OVERSIZED_PIXELS = 8_000_000  # the gateway's default threshold
SIZE_CLASSES = ("small", "oversized")


class BadMix(Exception):
    """What was asked for cannot be sent; one line."""


class Sendable(msgspec.Struct, frozen=True):
    """A request as bytes, without its head's first lines, and how to judge its answer."""

    path: str
    headers: str  # lines of the head, each with its line break
    body: bytes
    size_class: str
    label: str
    best_label: BestLabel


def weights(text: str, known: Sequence[str]) -> dict[str, float]:
    """Of `small=95,oversized=5`. Raises BadMix."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name not in known:
            raise BadMix(f"{name or text!r} is not one of {', '.join(known)}")
        try:
            found[name] = float(value) if equals else 1.0
        except ValueError:
            raise BadMix(f"the share of {name} is {value!r}, which is no number") from None
        if not 0 <= found[name] < float("inf"):
            raise BadMix(f"the share of {name} is {value}; shares are 0 or more")
    if not sum(found.values()):
        raise BadMix(f"{text}: all shares are 0, nothing would be sent")
    return {name: weight for name, weight in found.items() if weight}


def own_photos(files: Sequence[Path]) -> dict[str, list[Photo]]:
    """Images from files, by size class; any label is right. Raises BadMix for what is no image."""
    found: dict[str, list[Photo]] = {}
    for file in files:
        photo = _own(file)
        found.setdefault(photo.size_class, []).append(photo)
    return found


def any_label(photos: Mapping[str, Sequence[Photo]]) -> dict[str, list[Photo]]:
    """The same photos, for a target whose model knows other labels."""
    return {name: [replace(photo, label="") for photo in found] for name, found in photos.items()}


def _own(file: Path) -> Photo:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise BadMix(f"{file}: {error.strerror}") from None
    try:
        header = read_header(body)
    except Unknown as error:
        raise BadMix(f"{file}: {error}") from None
    if header is None:
        raise BadMix(f"{file}: ends before its size is told")
    size_class = "oversized" if header.pixels > OVERSIZED_PIXELS else "small"
    return Photo(body, size_class, header.pixels, "")


class Mix:
    """Draws requests. Each is encoded when it is first drawn, and kept."""

    def __init__(
        self,
        photos: Mapping[str, Sequence[Photo]],
        classes: Mapping[str, float],
        protocols: Mapping[str, float],
        model: str = "",
    ) -> None:
        for name in classes:
            if not photos.get(name):
                raise BadMix(f"there is no {name} image to send")
        self._photos = photos
        self._model = model
        self._classes, self._class_weights = _cumulative(classes)
        self._protocols, self._protocol_weights = _cumulative(protocols)
        self._made: dict[tuple[str, str, int], Sendable] = {}

    def draw(self, rng: Random) -> Sendable:
        """The next request."""
        size_class = rng.choices(self._classes, cum_weights=self._class_weights)[0]
        protocol = rng.choices(self._protocols, cum_weights=self._protocol_weights)[0]
        number = int(rng.random() * len(self._photos[size_class]))
        key = (size_class, protocol, number)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def make_all(self) -> Sequence[Sendable]:
        """Encode everything now, so that no arrival waits for it."""
        for size_class in self._classes:
            for protocol in self._protocols:
                for number in range(len(self._photos[size_class])):
                    key = (size_class, protocol, number)
                    self._made[key] = self._make(*key)
        return list(self._made.values())

    def _make(self, size_class: str, protocol: str, number: int) -> Sendable:
        photo = self._photos[size_class][number]
        encode, best_label = PROTOCOLS[protocol]
        call = encode(photo.body, self._model)
        headers = "".join(f"{name}: {value}\r\n" for name, value in call.headers.items())
        return Sendable(call.path, headers, call.body, size_class, photo.label, best_label)


def _cumulative(shares: Mapping[str, float]) -> tuple[list[str], list[float]]:
    return list(shares), list(accumulate(shares.values()))
