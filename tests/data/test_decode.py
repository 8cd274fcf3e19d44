"""Odd pictures have a defined conversion or a named refusal; broken ones a reason."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from data.plain import centre, crop_flip
from data.sets import decode as decoding
from data.sets.dataset import DataError, HeldSplit
from data.sets.decode import Unreadable, decode, size
from data.sets.files import FolderSplit

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def saved(folder, picture, name="x.png", **how):
    picture.save(folder / name, **how)
    return folder / name


def pixels(file):
    found = decode(file)
    assert found.dtype == torch.uint8
    assert size(file) == tuple(found.shape[1:])
    return found.numpy().transpose(1, 2, 0)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.webp", "x.tif", "x.ppm"])
def test_colours_are_kept_by_every_lossless_format(name, tmp_path):
    file = saved(tmp_path, Image.fromarray(COLOURS), name, lossless=True)
    assert (pixels(file) == COLOURS).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_what_pillow_reads(mode, tmp_path):
    picture = Image.fromarray(COLOURS).resize((33, 20)).convert(mode)
    file = saved(tmp_path, picture, "x.jpg", quality=80)
    assert (pixels(file) == np.array(Image.open(file).convert("RGB"))).all()
    assert (np.ptp(pixels(file), axis=2).max() > 0) == (mode != "L")


def test_bits_and_greys(tmp_path):
    ones = np.array([[True, False], [False, True]])
    assert (pixels(saved(tmp_path, Image.fromarray(ones)))[..., 1] == 255 * ones).all()
    grey = COLOURS[..., 0]
    assert (pixels(saved(tmp_path, Image.fromarray(grey))) == grey[..., None]).all()


def test_palettes_are_looked_up_also_with_a_transparent_entry(tmp_path):
    few = np.array([[[200, 10, 10], [0, 90, 0]], [[0, 0, 70], [200, 10, 10]]], dtype=np.uint8)
    picture = Image.fromarray(few).quantize(4)
    for name, how in (("a.png", {}), ("b.png", {"transparency": 0}), ("c.gif", {})):
        assert (pixels(saved(tmp_path, picture, name, **how)) == few).all()


def test_alpha_is_dropped(tmp_path):
    alpha = np.arange(35, dtype=np.uint8).reshape(5, 7, 1) * 7
    picture = Image.fromarray(np.concatenate([COLOURS, alpha], 2))
    assert (pixels(saved(tmp_path, picture)) == COLOURS).all()
    both = picture.convert("LA")
    assert (pixels(saved(tmp_path, both)) == np.array(both)[..., :1]).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_the_upper_8_of_16_bits_stay(name, tmp_path):
    wide = np.array([[0, 255, 256], [0x1234, 0x80FF, 0xFFFF]], dtype=np.uint16)
    assert (pixels(saved(tmp_path, Image.fromarray(wide), name)) == (wide >> 8)[..., None]).all()


def test_numbers_without_a_white_are_refused_by_name(tmp_path):
    file = saved(tmp_path, Image.fromarray(np.ones((2, 3), dtype=np.float32)), "x.tif")
    with pytest.raises(Unreadable, match="mode F has no defined conversion to RGB"):
        decode(file)
    file = saved(tmp_path, Image.fromarray(np.array([[0, 2**20]], dtype=np.int32)), "x.tif")
    with pytest.raises(Unreadable, match="mode I with values of 0 to 1048576 has no white"):
        decode(file)
    lab = Image.frombytes("LAB", (2, 2), bytes(12))
    with pytest.raises(Unreadable, match="mode LAB has no defined conversion"):
        decode(saved(tmp_path, lab, "x.tif"))


@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation, name, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(tmp_path, Image.fromarray(COLOURS), name, exif=exif)
    assert (pixels(file) == np.array(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))).all()


def test_a_broken_orientation_is_upright(tmp_path):
    file = saved(tmp_path, Image.fromarray(COLOURS), "x.jpg", exif=b"Exif\0\0nonsense")
    assert pixels(file).shape == COLOURS.shape


def test_one_pixel_makes_views(tmp_path):
    saved(tmp_path, Image.new("RGB", (1, 1), (9, 8, 7)))
    for split in (
        FolderSplit(tmp_path, ["x.png"], [1], [0]),
        HeldSplit(torch.full((1, 3, 1, 1), 9, dtype=torch.uint8), torch.zeros(1)),
    ):
        plain = centre(split, [0], 8, "cpu", (0,) * 3, (1,) * 3)
        cut = crop_flip(split, [0], 8, torch.Generator().manual_seed(0), "cpu", (0,) * 3, (1,) * 3)
        for views in (plain, cut):
            assert views.shape == (1, 3, 8, 8)
            assert torch.allclose(views[:, 0], torch.tensor(9 / 255))


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    file = saved(tmp_path, Image.fromarray(COLOURS), "x.bmp")
    head = bytearray(file.read_bytes())
    head[18:26] = np.array([40_000, 30_000], dtype="<i4").tobytes()  # width and height
    file.write_bytes(head)
    for look in (size, decode):
        with pytest.raises(Unreadable, match=r"more than 89,478,485"):
            look(file)
    monkeypatch.setattr(decoding, "LARGEST", 34)
    with pytest.raises(Unreadable, match="7 x 5 pixels are more than 34"):
        size(saved(tmp_path, Image.fromarray(COLOURS)))


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.gif", "x.webp", "x.tif", "x.bmp", "x.ppm"])
def test_every_shortened_file_has_a_reason_or_pixels(name, tmp_path):
    whole = saved(tmp_path, Image.fromarray(COLOURS).resize((40, 30)), name).read_bytes()
    reasons = []
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        (tmp_path / name).write_bytes(whole[:length])
        try:
            assert decode(tmp_path / name).shape[0] == 3
        except Unreadable as error:
            reasons.append(str(error))
    assert len(reasons) >= 20
    assert all(reasons)
    assert not [why for why in reasons if str(tmp_path) in why or "\n" in why]


def test_an_absent_file_is_no_broken_picture(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png cannot be read \(No such file"):
        decode(tmp_path / "gone.png")
