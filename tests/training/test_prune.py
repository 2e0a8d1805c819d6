"""Pruning leaves exactly what the network does without the pruned filters."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.detector.network import BasicBlock, DetectNet, Layout, resnet_layout  # noqa: E402
from training.detector.prune import (  # noqa: E402
    CRITERIA,
    EQUALIZATIONS,
    Criterion,
    Equalization,
    Kept,
    PruneOptions,
    _Spread,
    choose_filters,
    count_parameters,
    cut,
    equalize,
    filter_effects,
    filter_norms,
    kept_filters,
    normalized,
    threshold_for,
)

CHANNELS = (12, 12, 16, 20, 24)


def trained(layers: int = 18, classes: int = 2) -> DetectNet:
    """Return a network whose weights and batch statistics are all different."""
    torch.manual_seed(3)
    layout: Layout = resnet_layout(layers, classes, CHANNELS, dilate=layers == 18)
    model = DetectNet(layout)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.3, 1.5)
                module.bias.uniform_(-0.3, 0.6)
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 2.0)
        # Norms of all sizes, so that thresholds cut some.
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d) and module.kernel_size != (1, 1):
                module.weight *= torch.rand(len(module.weight), 1, 1, 1)
    return model.eval()


def silenced(model: DetectNet, kept: Kept) -> DetectNet:
    """Return the whole network in which the filters that went give 0."""
    model = copy.deepcopy(model)

    def mute(norm: torch.nn.Module, indices: np.ndarray) -> None:
        gone = torch.ones(len(norm.weight), dtype=torch.bool)
        gone[torch.from_numpy(indices)] = False
        with torch.no_grad():
            norm.weight[gone] = 0.0
            norm.bias[gone] = 0.0

    mute(model.stem_norm, kept.stem)
    for stage, chosen in zip(model.stages, kept.stages, strict=True):
        for block, inner in zip(stage, chosen.inners, strict=True):
            assert isinstance(block, BasicBlock)
            mute(block.norm1, inner)
            mute(block.norm2, chosen.outputs)
            if isinstance(block.shortcut, torch.nn.Sequential):
                mute(block.shortcut[1], chosen.outputs)
    return model


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("equalization", EQUALIZATIONS)
@pytest.mark.parametrize("layers", [10, 18, 34])
def test_what_stays_computes_what_it_did(
    layers: int, equalization: Equalization, criterion: Criterion
) -> None:
    model = trained(layers)
    options = PruneOptions(0.55, equalization, granularity=2, least=4, criterion=criterion)
    kept = choose_filters(model, options)
    small = cut(model, kept)
    assert small.parameter_count() < 0.8 * model.parameter_count()
    assert small.parameter_count() == count_parameters(small.layout)
    frames = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        for got, want in zip(
            small.logits(frames), silenced(model, kept).logits(frames), strict=True
        ):
            torch.testing.assert_close(got, want, atol=2e-5, rtol=1e-5)
        # The filters that went did matter: the comparison could fail.
        assert (model.logits(frames)[0] - small.logits(frames)[0]).abs().max() > 1e-2


def test_nothing_is_cut_at_threshold_zero() -> None:
    model = trained()
    small = cut(model, choose_filters(model, PruneOptions(0.0)))
    assert small.layout == model.layout
    for name, value in model.state_dict().items():
        assert torch.equal(value, small.state_dict()[name]), name


def test_a_stage_keeps_what_its_branches_keep_together() -> None:
    model = trained()
    with torch.no_grad():
        block1, block2 = model.stages[0]
        for conv in (block1.conv2, block2.conv2, block1.shortcut[0]):
            conv.weight.fill_(1.0)
        block1.conv2.weight[0] = 0.01
        block2.conv2.weight[:2] = 0.01
        block1.shortcut[0].weight[:3] = 0.01
    kept = {
        how: choose_filters(model, PruneOptions(0.5, how, granularity=1, least=1)).stages[0].outputs
        for how in EQUALIZATIONS
    }
    assert kept["union"].tolist() == list(range(1, 12))
    assert kept["intersection"].tolist() == list(range(3, 12))
    # Means of (0.01, 1, 1), and so on: (0.67, 0.34, 0.01) and (0.22, 0.05, 0.01).
    assert kept["arithmetic_mean"].tolist() == list(range(2, 12))
    assert kept["geometric_mean"].tolist() == list(range(3, 12))


def test_the_least_and_the_multiple_are_kept() -> None:
    norms = np.linspace(0, 1, 32)
    assert len(kept_filters(norms, PruneOptions(0.99, granularity=8, least=16))) == 16
    assert len(kept_filters(norms, PruneOptions(0.4, granularity=8, least=1))) == 24
    # No more than there are.
    assert len(kept_filters(norms[:12], PruneOptions(0.99, granularity=8, least=16))) == 12
    assert kept_filters(np.zeros(32), PruneOptions(0.5, granularity=8, least=8)).tolist() == [
        *range(8)
    ]


def test_norms_are_shares_of_the_largest() -> None:
    conv = torch.nn.Conv2d(2, 3, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])[:, :, None, None])
    np.testing.assert_allclose(normalized(filter_norms(conv)), [0.5, 0.1, 1.0])
    with torch.no_grad():
        conv.weight.zero_()
    assert normalized(filter_norms(conv)).tolist() == [0, 0, 0]


def test_effects_do_not_depend_on_how_a_filter_is_scaled() -> None:
    """A batch norm undoes a factor of its convolution: the norm changes, what is computed not."""
    model = trained()
    scaled = copy.deepcopy(model)
    block = scaled.stages[1][0]
    with torch.no_grad():
        factor = torch.linspace(0.2, 5.0, len(block.conv1.weight))
        block.conv1.weight *= factor[:, None, None, None]
        block.norm1.running_mean *= factor
        block.norm1.running_var.copy_((block.norm1.running_var + 1e-5) * factor**2 - 1e-5)
    frames = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(scaled(frames)[0], model(frames)[0], atol=1e-4, rtol=1e-4)
    effect = PruneOptions(0.3, granularity=1, least=1, criterion="effect")
    norm = PruneOptions(0.3, granularity=1, least=1)

    def inner(network: DetectNet, options: PruneOptions) -> list[int]:
        return choose_filters(network, options).stages[1].inners[0].tolist()

    assert inner(scaled, effect) == inner(model, effect)
    assert inner(scaled, norm) != inner(model, norm)


def test_effects_measure_what_filters_do() -> None:
    """The effect of a filter is about the change in what reads it when the filter is gone."""
    torch.manual_seed(0)
    model = trained()
    block = model.stages[0][0]
    (stage, *_), effects = filter_effects(model)[1], []
    given: list[torch.Tensor] = []
    # Frames on which the statistics of the batch norm hold.
    x = torch.randn(8, CHANNELS[0], 48, 48)
    with torch.no_grad():
        y = block.conv1(x)
        block.norm1.running_mean.copy_(y.mean(dim=(0, 2, 3)))
        block.norm1.running_var.copy_(y.var(dim=(0, 2, 3)))
        hidden = torch.relu(block.norm1(y))
        whole = block.norm2(block.conv2(hidden))
        for k in range(hidden.shape[1]):
            without = hidden.clone()
            without[:, k] = 0
            given.append(whole - block.norm2(block.conv2(without)))
            effects.append(float((given[-1] ** 2).sum(dim=1).mean().sqrt()))
    # Neighboring values of a rectified channel are alike, so the sum of the taps is larger than
    # of independent ones; the order is the same all the same.
    assert np.corrcoef(effects, stage.inners[0])[0, 1] > 0.8


def test_rectified_moments() -> None:
    rng = np.random.default_rng(0)
    for mean, deviation in ((0.0, 1.0), (-1.5, 0.7), (2.0, 0.5), (0.3, 1e-12)):
        values = np.maximum(rng.normal(mean, deviation, 400_000), 0)
        found = _Spread(np.array([mean]), np.array([deviation**2])).rectified()
        np.testing.assert_allclose(found.mean, values.mean(), atol=4e-3)
        np.testing.assert_allclose(found.variance, values.var(), atol=4e-3)


def test_equalized_norms() -> None:
    norms = [np.array([0.2, 0.9]), np.array([0.8, 0.4])]
    expected = {
        "union": [0.8, 0.9],
        "intersection": [0.2, 0.4],
        "arithmetic_mean": [0.5, 0.65],
        "geometric_mean": [0.4, 0.6],
    }
    for how in EQUALIZATIONS:
        np.testing.assert_allclose(equalize(norms, how), expected[how])


def test_a_threshold_for_a_share_of_the_parameters() -> None:
    model = trained()
    options = PruneOptions(0.0, granularity=1, least=2)
    threshold = threshold_for(model, 0.3, options)
    changed = PruneOptions(threshold, granularity=1, least=2)
    small = cut(model, choose_filters(model, changed))
    assert 0.2 < small.parameter_count() / model.parameter_count() <= 0.3
    with pytest.raises(ValueError, match="can't be reached"):
        threshold_for(model, 0.3, PruneOptions(0.0, granularity=1, least=20))
