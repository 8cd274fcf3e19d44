"""Recipes, draws and rendered views."""

import math

import pytest
import torch
from pydantic import ValidationError
from torchvision import transforms as T

from data.draws import Draws, draw, draw_crops
from data.recipes import RECIPES, ViewsSpec, plan
from data.sets.dataset import HeldSplit, Split
from data.views import render

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


class Listed(Split):
    """Pictures of several sizes, as a folder gives them."""

    def __init__(self, pictures):
        self.pictures, self.labels, self.native, self.fingerprint = (
            pictures,
            torch.zeros(len(pictures)).long(),
            20,
            "",
        )

    def read(self, indices):
        return [self.pictures[int(i)] for i in indices]

    def sizes(self, indices):
        return torch.tensor([self.pictures[int(i)].shape[1:] for i in indices])


def noise(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_recipes_are_the_papers():
    assert [v.size for v in plan(ViewsSpec(name="dino"))] == [224] * 2 + [96] * 8
    assert {v.interpolation for v in plan(ViewsSpec(name="dino"))} == {"bicubic"}
    assert [v.blur_p for v in plan(ViewsSpec(name="mcl"))] == [1.0] * 4 + [0.1] * 4
    assert [v.solarise_p for v in plan(ViewsSpec(name="byol"))] == [0.0, 0.2]
    assert plan(ViewsSpec(name="moco_v2"))[0].jitter == (0.4, 0.4, 0.4, 0.1)
    assert plan(ViewsSpec(name="byol"))[0].sigma == (0.1, 2.0)


def test_knobs_turn_the_recipe():
    views = plan(ViewsSpec(name="dino", size=32, local_crops=3, scale=[0.3, 1], color=0.5, flip=0, blur=0))
    assert [v.size for v in views] == [32, 32, 16, 16, 16]
    assert views[0].scale == (0.3, 1)
    assert views[0].jitter == (0.2, 0.2, 0.1, 0.05)
    assert {(v.flip_p, v.blur_p) for v in views} == {(0, 0)}
    assert views[0].sigma[1] == pytest.approx(2 * 32 / 224)
    assert plan(ViewsSpec(name="byol", size=32, blur_scaled=False))[0].sigma == (0.1, 2.0)
    assert len(plan(ViewsSpec(name="mcl", count=3))) == 3


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"name": "byol", "local_crops": 4}, "needs recipe dino"),
        ({"name": "byol", "scale": [0.9, 0.2]}, "0.9 down to 0.2"),
        ({"name": "dino", "size": 32, "local_size": 96}, "96 is above size 32"),
        ({"name": "byol", "blur": 1.5}, "less than or equal to 1"),
        ({"name": "simclr"}, "byol"),
    ],
)
def test_wrong_knobs_are_refused(knobs, said):
    with pytest.raises(ValidationError, match=said):
        ViewsSpec(**knobs)


def test_draws_have_the_recipes_distribution():
    n = 4000
    views = plan(ViewsSpec(name="byol"))
    draws = draw(views, torch.tensor([[375, 500]]).expand(n, 2), torch.Generator().manual_seed(0))
    size = draws.crops[..., 2:] - draws.crops[..., :2]
    area = size.prod(2) / (375 * 500)
    ratio = size[..., 0] / size[..., 1]
    assert 0.19 < float(area.min()) < 0.21
    assert float(area.max()) <= 1
    assert float(ratio.min()) > 0.74
    assert float(ratio.max()) < 1.35
    assert (draws.crops >= 0).all()
    assert (draws.crops <= torch.tensor([500, 375, 500, 375])).all()
    torch.testing.assert_close(
        torch.stack([t.float().mean(1) for t in (draws.flip, draws.grey, draws.sigma > 0, draws.solarise)]),
        torch.tensor([[0.5, 0.5], [0.2, 0.2], [1.0, 0.1], [0.0, 0.2]]),
        atol=0.03,
        rtol=0,
    )
    jitter = draws.order[..., 0] >= 0
    assert float(jitter.float().mean()) == pytest.approx(0.8, abs=0.02)
    drawn = draws.factors[jitter]
    low, high = torch.tensor([0.6, 0.6, 0.8, -0.1]), torch.tensor([1.4, 1.4, 1.2, 0.1])
    torch.testing.assert_close(drawn.amin(0), low, atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.amax(0), high, atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.mean(0), (low + high) / 2, atol=0.02, rtol=0)
    permutations = {tuple(order) for order in draws.order[jitter].tolist()}
    assert len(permutations) == 24
    assert torch.equal(draws.factors[~jitter], torch.tensor([1.0, 1, 1, 0]).expand(int((~jitter).sum()), 4))
    sigma = draws.sigma[0]
    assert float(sigma.mean()) == pytest.approx(1.05, abs=0.04)


def test_crops_are_distributed_as_torchvisions():
    n = 3000
    torch.manual_seed(0)
    picture = torch.empty(3, 60, 200)  # so wide that many tries fail
    theirs = torch.tensor(
        [T.RandomResizedCrop.get_params(picture, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(n)]
    )
    sizes = torch.tensor([[60, 200]]).expand(n, 2)
    ours = draw_crops(sizes, (0.2, 1.0), (3 / 4, 4 / 3), torch.Generator().manual_seed(0))
    got = torch.stack([ours[:, 1], ours[:, 0], ours[:, 3] - ours[:, 1], ours[:, 2] - ours[:, 0]], 1)
    spread = theirs.float().std(0) * math.sqrt(2 / n) * 5 + 0.01
    assert ((got.float().mean(0) - theirs.float().mean(0)).abs() < spread).all()
    central = (got == torch.tensor([0, 60, 60, 80])).all(1).float().mean()
    expected = (theirs == torch.tensor([0, 60, 60, 80])).all(1).float().mean()
    assert float(expected) > 0.005
    assert float(central) == pytest.approx(float(expected), abs=0.02)


def test_a_part_of_a_batch_is_rendered_as_in_the_whole():
    pictures = HeldSplit(noise(12, 3, 20, 20), torch.zeros(12).long())
    views = plan(ViewsSpec(name="byol", size=16))
    draws = draw(views, pictures.sizes(range(12)), torch.Generator().manual_seed(1))
    whole, boxes = render(pictures, range(12), draws, views, "cpu", MEAN, STD)
    part, some = render(pictures, range(4, 9), draws.rows(slice(4, 9)), views, "cpu", MEAN, STD)
    for a, b in zip(whole, part):
        torch.testing.assert_close(a[4:9], b)
    assert torch.equal(boxes[:, 4:9], some)


def test_held_and_listed_pictures_give_the_same_views():
    pictures = noise(6, 3, 30, 24)
    views = plan(ViewsSpec(name="dino", size=32, local_crops=2))
    listed, held = Listed(list(pictures)), HeldSplit(pictures, torch.zeros(6).long())
    draws = draw(views, held.sizes(range(6)), torch.Generator().manual_seed(2))
    calm = Draws(
        draws.crops,
        draws.flip,
        draws.factors,
        draws.order.fill_(-1),
        draws.grey,
        draws.sigma,
        draws.solarise & False,
    )
    a, boxes = render(held, range(6), calm, views, "cpu", MEAN, STD)
    b, same = render(listed, range(6), calm, views, "cpu", MEAN, STD)
    assert torch.equal(boxes, same)
    for x, y in zip(a, b):
        assert (x - y).abs().max() < 2 / 255 / min(STD)  # the one rounds to bytes


def test_pictures_of_several_sizes():
    pictures = Listed([noise(3, 20, 31), noise(3, 44, 25), noise(3, 9, 9)])
    views = plan(ViewsSpec(name="moco_v2", size=16))
    draws = draw(views, pictures.sizes(range(3)), torch.Generator().manual_seed(3))
    rendered, boxes = render(pictures, range(3), draws, views, "cpu", MEAN, STD)
    assert [tuple(x.shape) for x in rendered] == [(3, 3, 16, 16)] * 2
    assert all(bool(x.isfinite().all()) for x in rendered)
    limit = torch.tensor([[31.0, 20, 31, 20], [25, 44, 25, 44], [9, 9, 9, 9]])
    assert ((boxes >= 0) & (boxes <= limit)).all()


def test_boxes_say_where_the_view_is_from():
    """A view of a picture whose pixels say where they are lies where its box says, mirrored or not."""
    ramp = torch.arange(64).float()
    picture = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), torch.zeros(64, 64)]).byte()
    split = HeldSplit(picture.expand(40, 3, 64, 64), torch.zeros(40).long())
    views = plan(ViewsSpec(name="byol", size=32, jitter=0, grey=0, blur=0, solarise=0))
    draws = draw(views, split.sizes(range(40)), torch.Generator().manual_seed(4))
    rendered, boxes = render(split, range(40), draws, views, "cpu", (0, 0, 0), (1, 1, 1))
    assert 0 < int((boxes[..., 0] > boxes[..., 2]).sum()) < 80
    for view, box in zip(rendered, boxes):
        centre = view[:, :2, 15:17, 15:17].mean((2, 3)) * 255 + 0.5  # pixel 0 is centred at 1/2
        expected = torch.stack([box[:, 0] + box[:, 2], box[:, 1] + box[:, 3]], 1) / 2
        torch.testing.assert_close(centre, expected, atol=0.05, rtol=0)
        slope = (view[:, 0, 16, 20] - view[:, 0, 16, 12]) * 255 / 8
        torch.testing.assert_close(slope, (box[:, 2] - box[:, 0]) / 32, atol=0.05, rtol=0.02)


def test_every_recipe_renders():
    split = HeldSplit(noise(4, 3, 8, 8), torch.zeros(4).long())
    for name in RECIPES:
        views = plan(ViewsSpec(name=name, size=16))
        draws = draw(views, split.sizes(range(4)), torch.Generator().manual_seed(5))
        rendered, boxes = render(split, range(4), draws, views, "cpu", MEAN, STD)
        assert [x.shape[-1] for x in rendered] == sorted((v.size for v in views), reverse=True)
        assert boxes.shape == (len(views), 4, 4)
        assert len(views) == 1 or not torch.equal(rendered[0], rendered[1])
