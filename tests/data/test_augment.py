"""Each batched operation against torchvision's, with the same parameters."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as TF

from data import augment as A
from data.draws import Draws


@pytest.fixture
def pictures() -> Tensor:
    """Noise, with patches where hue has its corner cases: grey, two equal channels, 0, 1."""
    x = torch.rand(5, 3, 20, 24, generator=torch.Generator().manual_seed(0))
    x[0, :, :4] = 0.3
    x[1, 0, :4] = x[1, 1, :4]
    x[2, 1, :4] = x[2, 2, :4]
    x[3, 0, :4] = x[3, 2, :4]
    x[4, :, :2], x[4, :, 2:4] = 0, 1
    return x


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (A.brightness, TF.adjust_brightness, [0.6, 0.9, 1.0, 1.2, 1.4]),
        (A.contrast, TF.adjust_contrast, [0.6, 0.9, 1.0, 1.2, 1.4]),
        (A.saturation, TF.adjust_saturation, [0.8, 0.9, 1.0, 1.1, 1.2]),
        (A.hue, TF.adjust_hue, [-0.5, -0.1, 0.0, 0.07, 0.5]),
    ],
)
def test_colour(ours, theirs, factors, pictures):
    expected = torch.stack([theirs(x, f) for x, f in zip(pictures, factors)])
    got = pictures.clone()
    ours(got, torch.tensor(factors))
    assert not torch.equal(got, pictures)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=0)


def test_greyscale(pictures):
    expected = TF.rgb_to_grayscale(pictures, 3)
    A.greyscale(pictures)
    torch.testing.assert_close(pictures, expected)


def test_solarise_inverts_from_the_threshold_on():
    values = torch.arange(256) / 255
    x = values.expand(1, 3, 1, 256).clone()
    A.solarise(x, 128 / 255)
    torch.testing.assert_close(x[0, 0, 0], torch.where(torch.arange(256) >= 128, 1 - values, values))


@pytest.mark.parametrize("side", [(20, 24), (70, 100)])  # by matrices, by strips
def test_blur(side):
    sigmas = torch.tensor([0.3, 0.8, 1.3, 2.0])
    x = torch.rand(4, 3, *side, generator=torch.Generator().manual_seed(1))
    expected = []
    for picture, sigma in zip(x, sigmas.tolist()):
        padded = F.pad(picture, (16,) * 4, mode="replicate")
        expected.append(TF.gaussian_blur(padded, 31, sigma)[:, 16:-16, 16:-16])
    A.blur(x, sigmas)
    torch.testing.assert_close(x, torch.stack(expected), atol=3e-3, rtol=0)  # the kernel ends at 3 sigma


def test_blur_is_near_pillows():
    from PIL import Image, ImageFilter

    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    x = F.interpolate(coarse, (96, 96), mode="bilinear")
    image = Image.fromarray((x[0].permute(1, 2, 0) * 255).round().byte().numpy())
    expected = TF.to_tensor(image.filter(ImageFilter.GaussianBlur(1.5)))
    A.blur(x, torch.tensor([1.5]))
    assert (x[0] - expected).abs().max() < 3 / 255


def test_every_row_is_augmented_as_if_it_were_alone_and_in_its_own_order(pictures):
    n = len(pictures)
    generator = torch.Generator().manual_seed(3)
    order = torch.rand(1, n, 4, generator=generator).argsort(2)
    order[0, 2] = -1
    draws = Draws(
        crops=torch.zeros(1, n, 4, dtype=torch.int64),
        flip=torch.zeros(1, n, dtype=torch.bool),
        factors=torch.tensor([1.3, 0.7, 1.2, 0.06]).expand(1, n, 4),
        order=order,
        grey=torch.tensor([[False, False, True, False, False]]),
        sigma=torch.tensor([[0.0, 1.1, 0.0, 0.6, 0.1]]),
        solarise=torch.tensor([[True, False, False, True, False]]),
    )
    together = pictures.clone()
    A.augment(together, draws, 0.5)
    functions = TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue
    for row, x in enumerate(pictures):
        for which in order[0, row].tolist():
            if which >= 0:
                x = functions[which](x, draws.factors[0, row, which].item())
        if draws.grey[0, row]:
            x = TF.rgb_to_grayscale(x, 3)
        if draws.sigma[0, row] > 0.25:
            x = x[None].clone()
            A.blur(x, draws.sigma[0, row : row + 1])
            x = x[0]
        if draws.solarise[0, row]:
            x = torch.where(x >= 0.5, 1 - x, x)
        torch.testing.assert_close(together[row], x, atol=1e-4, rtol=0)
