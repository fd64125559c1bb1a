"""Integers that keep what the float network knows: poolings before a read-out, bias correction, read-outs at any T."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava import RmpLavaWarning
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.correction import correct_biases
from rmp_lava.conversion.pooling import unfold_like, unfold_pooling
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.hardware import load_profile
from rmp_lava.training.data import load

LOIHI2 = load_profile("loihi2")


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 3, 16, 16) of ten smooth patterns with noise, and their labels."""
    rng = np.random.default_rng(1234)
    smooth = nn.functional.interpolate(torch.tensor(rng.random((10, 3, 6, 6))), size=(16, 16), mode="bilinear").numpy()
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    images = 0.75 * smooth[labels] + 0.125 + 0.15 * rng.normal(size=(count, 3, 16, 16))
    return np.clip(images, 0, 1).astype(np.float32), labels


def conv(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()


def trained(model: nn.Module, steps: int = 150) -> nn.Module:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for seed in range(steps):
        images, labels = (torch.from_numpy(each) for each in patterns(32, seed))
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def averaging() -> nn.Module:
    """A global average and a dense layer at the end, as nearly all modern networks have it."""
    torch.manual_seed(0)
    return trained(nn.Sequential(*conv(3, 16), *conv(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)))


CALIBRATION, (IMAGES, LABELS) = patterns(64, 777)[0], patterns(200, 9999)


@pytest.mark.parametrize("steps", [16, 64, 256])
@pytest.mark.slow
def test_more_steps_do_not_make_integers_worse(averaging, steps):
    conversion = rmp_lava.convert(averaging, CALIBRATION, steps=steps)
    last = conversion.integer.output
    assert max(np.abs(s.weight).max() for s in last.synapses) >= 200  # 8 bits are used
    floating, integer = (rmp_lava.run(n, IMAGES, steps) for n in (conversion.floating, conversion.integer))
    assert integer.accuracy(LABELS) >= floating.accuracy(LABELS) - 0.005
    assert floating.accuracy(LABELS) > 0.9


@pytest.mark.slow
def test_a_pooling_is_unfolded_only_where_weights_would_lose_bits(averaging):
    source = make_input("current", (3, 16, 16))
    folded = trace(averaging, source, CALIBRATION)
    unfolded = unfold_pooling(folded, CALIBRATION, LOIHI2, "stock")
    assert [layer.name for layer in folded] == ["0", "3", "8"]
    (name,) = {layer.name for layer in unfolded} - {layer.name for layer in folded}
    assert name.startswith("3.pool") and unfolded.layers[-2].name == name
    assert unfolded[name].size < folded["3"].size and unfolded.output.synapses[0].source == name
    with torch.no_grad():
        one, other = (AnalogNetwork(n)(torch.from_numpy(IMAGES[:8])) for n in (folded, unfolded))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    assert unfold_like(folded, unfolded) == unfolded and unfold_like(folded, folded) == folded
    # Without a need nothing changes: small poolings before layers with as large thresholds as weights.
    torch.manual_seed(1)
    small = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Flatten())
    network = trace(small.eval(), source, CALIBRATION)
    assert any(s.pool for layer in network for s in layer.synapses)
    assert unfold_pooling(network, CALIBRATION, LOIHI2, "stock") == network


def test_a_pooling_before_a_convolution_is_unfolded_exactly():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(8), nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Flatten()
    )
    with torch.no_grad():
        model[3].bias.fill_(50.0)  # next to which the weights over single pixels would be tiny
    folded = trace(model.eval(), make_input("current", (3, 16, 16)), CALIBRATION)
    unfolded = unfold_pooling(folded, CALIBRATION, LOIHI2, "stock")
    # So is every one of a network that is in analog form already, as one that was restored from a .net is.
    layers = trace(AnalogNetwork(folded), folded.input, pooling="layer")
    assert len(unfolded.layers) == len(layers.layers) == len(folded.layers) + 1
    assert all(synapse.pool is None for layer in layers for synapse in layer.synapses)
    with torch.no_grad():
        one, *others = (AnalogNetwork(n)(torch.from_numpy(IMAGES[:8])) for n in (folded, unfolded, layers))
    for other in others:
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_corrected_biases_bring_mean_outputs_back(averaging):
    conversion = rmp_lava.convert(averaging, CALIBRATION, steps=16)
    rounded = quantize(conversion.floating)
    corrected = correct_biases(rounded, conversion.analog, CALIBRATION, 16)
    assert corrected == conversion.integer
    with torch.no_grad():
        wanted = averaging(torch.from_numpy(CALIBRATION)).numpy().mean(axis=0)

    def shift(network: rmp_lava.SpikingNetwork) -> float:
        outputs = rmp_lava.run(network, CALIBRATION, 16).in_trained_units(network)
        return float(np.abs(outputs.mean(axis=0) - wanted).max())

    assert shift(corrected) < 0.02 < 0.2 < shift(rounded)


@pytest.mark.slow
def test_a_run_beyond_the_room_of_its_read_out_warns_and_the_remedy_helps():
    data = load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    images = data.train_images[:20]
    integer = rmp_lava.convert(model, images, steps=8).integer
    assert integer.readout == "potential"
    steps = 1024
    with pytest.warns(
        RmpLavaWarning, match=rf"read-out .* of T = {steps}, .* converted for T = 8; convert it for T = {steps}"
    ):
        rmp_lava.run(integer, images, steps)
    again = rmp_lava.convert(model, images, steps=steps).integer
    assert again.readout == "total"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rmp_lava.run(again, images, steps)


@pytest.mark.slow
def test_lost_accuracy_is_said_with_layer_cause_and_a_remedy_that_was_tried(averaging):
    form = rmp_lava.Quantization(threshold_form="dense_rec")
    with pytest.warns(RmpLavaWarning) as said:
        conversion = rmp_lava.convert(averaging, CALIBRATION, pooling="fold", calibrate="none", quantization=form)
    (warning,) = [each for each in said if issubclass(each.category, RmpLavaWarning)]
    assert warning.filename == __file__
    found = conversion.diagnosis
    assert found is not None and str(found) == str(warning.message)
    assert found.before - found.after > 0.01 and found.remedy is not None
    assert f"it begins at layer {found.layer!r}, whose weights" in str(found)
    assert f"{found.remedy.options} reaches {found.remedy.agreement:.1%}" in str(found)
    # The remedy is the truth.
    assert found.remedy.options == "threshold_form='stock'"
    again = rmp_lava.convert(averaging, CALIBRATION, pooling="fold", calibrate="none")
    with torch.no_grad():
        trained_predictions = averaging(torch.from_numpy(CALIBRATION)).argmax(dim=1).numpy()
    agreement = np.mean(rmp_lava.run(again.integer, CALIBRATION, 16).predictions == trained_predictions)
    assert agreement == pytest.approx(found.remedy.agreement)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RmpLavaWarning)
        options = {"pooling": "fold", "calibrate": "none", "quantization": form, "diagnose": False}
        quiet = rmp_lava.convert(averaging, CALIBRATION, **options)
    assert quiet.diagnosis is None and quiet.integer == conversion.integer


@pytest.mark.slow
def test_nothing_is_said_where_nothing_is_lost(averaging):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RmpLavaWarning)
        assert rmp_lava.convert(averaging, CALIBRATION, steps=16).diagnosis is None


@pytest.mark.parametrize(("steps", "centre"), [(16, 0.0), (16, 1000.0), (16, -1000.0), (256, 1000.0)])
def test_what_outputs_have_in_common_costs_no_bits(steps, centre):
    """A regression of values around 1000: the bias is a thousand times what the images change."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1)).eval()
    images = load("digits").train_images[:200].reshape(200, 64)
    with torch.no_grad():
        model[2].weight.mul_(4)
        model[2].bias.add_(centre)
        expected = model(torch.from_numpy(images)).numpy()
    conversion = rmp_lava.convert(model, images[:100], steps=steps)
    integer = conversion.integer
    assert np.abs(integer.output.synapses[0].weight).max() >= 254
    found, floating = (
        rmp_lava.run(network, images, steps).in_trained_units(network) for network in (integer, conversion.floating)
    )
    spread = expected.std()
    assert np.sqrt(np.mean((found - floating) ** 2)) < (0.15 if steps == 16 else 0.05) * spread
    assert np.sqrt(np.mean((found - expected) ** 2)) < (0.25 if steps == 16 else 0.06) * spread
    other = rmp_lava.run(integer, images[:3], steps, "reference").in_trained_units(integer)
    np.testing.assert_array_equal(other, found[:3])


def test_lost_accuracy_of_few_steps_is_said_with_more_steps_that_were_tried():
    data = load("digits")
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10)
    ).eval()
    conversion = rmp_lava.convert(model, data.train_images[:200], steps=2, calibrate="none", v_init="zero")
    measured = conversion.measure(data.train_images[200:400])
    found = measured.diagnoses[0]
    assert found.before == 1 > found.after and found.step == "spiking for T = 2 steps"
    assert measured.loss.startswith(
        "Spiking for T = 2 steps costs accuracy: predictions agree with the trained network's to"
    )
    tried = {each.options: each.agreement for each in found.tried}
    assert list(tried)[0] == "steps=4"
    if found.remedy is not None:
        assert tried[found.remedy.options] == found.remedy.agreement > found.after
    quiet = conversion.measure(data.train_images[200:400], diagnose=False)
    assert quiet.stages == measured.stages and not quiet.diagnoses
    assert " points are lost on these images: the lowest correlation over images is" in quiet.loss
    assert quiet.loss.endswith("; the cause was not looked for.")


def test_tuned_networks_are_diagnosed_too():
    data = load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()
    images, labels = data.train_images[:120], data.train_labels[:120]
    few = rmp_lava.Quantization(weight_bits=2)
    with pytest.warns(RmpLavaWarning, match="rounding to integers costs accuracy") as said:
        tuned = rmp_lava.tune(model, images, labels, steps=4, epochs=1, quantization=few)
    assert tuned.diagnosis is not None and tuned.diagnosis.before - tuned.diagnosis.after > 0.01
    assert {each.options for each in tuned.diagnosis.tried} <= {"threshold_form='free'"}
    assert [each.filename for each in said if issubclass(each.category, RmpLavaWarning)] == [__file__]
