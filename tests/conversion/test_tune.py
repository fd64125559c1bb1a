"""Fine-tuning: training is reproducible, resumable and improves accuracy."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from tuned import as_spiking, residual, simulated

from rmp_lava.backends import run
from rmp_lava.conversion import pipeline
from rmp_lava.conversion.activation_scales import least_error_scales
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.distillation import Learning
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.tunable import TunableNetwork
from rmp_lava.conversion.tune import Tuned, tune as tune_network
from rmp_lava.encoding import make_input
from rmp_lava.errors import CheckpointError, DataError, UsageError
from rmp_lava.hardware import load_profile
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.training.data import load

pytestmark = pytest.mark.usefixtures("one_thread")

LOIHI2 = load_profile("loihi2")


@functools.cache
def digits() -> tuple[SpikingNetwork, tuple, tuple]:
    """A trained network in analog form; (images, labels) for training and for validation."""
    data = load("digits")
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(12):
            for chosen in torch.randperm(1000).split(50):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimizer.step()
    w = [p.detach().numpy() for p in model.parameters()]
    layers = (
        Layer("conv1", (8, 8, 8), (Conv(INPUT, w[0], padding=(1, 1)),), Neurons(1.0, bias=w[1])),
        Layer("conv2", (16, 4, 4), (Conv("conv1", w[2], stride=(2, 2), padding=(1, 1)),), Neurons(1.0, bias=w[3])),
        Layer("dense1", (32,), (Dense("conv2", w[4]),), Neurons(1.0, bias=w[5])),
        Layer("dense2", (10,), (Dense("dense1", w[6]),), Neurons(1.0, "none", bias=w[7])),
    )
    network = SpikingNetwork("digits", make_input("current", (1, 8, 8)), layers, "analog", "potential")
    train = data.train_images[:1000], data.train_labels[:1000]
    return network, train, (data.train_images[1000:], data.train_labels[1000:])


def tune(network: SpikingNetwork, images, labels, steps, **options) -> Tuned:
    """The pass, with the fields of `Learning` among its options."""
    learning = {name: options.pop(name) for name in vars(Learning()) if name in options}
    return tune_network(network, images, labels, steps, Learning(**learning), **options)


def quick(**changed) -> SpikingNetwork:
    network, (images, labels), _ = digits()
    arguments = {"steps": 2, "dynamics": "rates", "epochs": 2, "batch_size": 100, "learning_rate": 1e-3, **changed}
    return tune(arguments.pop("network", network), images, labels, **arguments).network


def interrupt_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def accuracy(network: SpikingNetwork, steps: int) -> float:
    """Of the integer network, simulated by the definition, on validation images."""
    _, _, (images, labels) = digits()
    values = {layer.name: float(layer.activation_scale) for layer in network if layer.neurons.reset != "none"}
    outputs = simulated(quantize(as_spiking(network, values, 20.0 * steps), "loihi2"), images, steps)
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.mark.slow
def test_both_stages_help_the_integer_network_at_two_steps():
    network, _, validation = digits()
    values = least_error_scales(AnalogNetwork(network), digits()[1][0], 2)
    untuned = network.map_layers(lambda layer: layer.replace(activation_scale=values.get(layer.name)))
    rates = quick(epochs=6)
    seen = []
    spikes = quick(network=rates, dynamics="spikes", epochs=6, validation=validation, on_epoch=seen.append)
    before, middle, after = (accuracy(each, 2) for each in (untuned, rates, spikes))
    assert middle > before + 0.02 and after > before + 0.03 and after > 0.88
    assert seen[-1].validation_accuracy == pytest.approx(after, abs=0.005)


@pytest.mark.slow
def test_result_is_in_analog_form_and_logs_what_was_done():
    network, _, _ = digits()
    tuned = quick(epochs=1)
    again = quick(network=tuned, dynamics="spikes", epochs=1, learning_rate=1e-9)
    for layer in tuned:
        if layer.neurons.reset == "none":
            assert "threshold" not in layer.record
            continue
        value = float(layer.activation_scale)
        assert value == layer.clip == layer.neurons.threshold > 0 and layer.neurons.v_init == 0
        # A second tuning starts where the first one ended.
        assert again[layer.name].activation_scale == pytest.approx(value, rel=1e-6)
    assert tuned["conv1"].synapses[0].weight.shape == network["conv1"].synapses[0].weight.shape
    assert not np.array_equal(tuned["conv1"].synapses[0].weight, network["conv1"].synapses[0].weight)
    assert [entry["dynamics"] for entry in again.provenance["tune"]] == ["rates", "spikes"]
    assert len(again.provenance["tune"][0]["history"]) == 1 and again.provenance["tune"][0]["steps"] == 2


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_whatever_the_caller_draws():
    torch.manual_seed(1)
    first = quick()
    before = torch.get_rng_state()
    assert quick() == first
    assert torch.equal(torch.get_rng_state(), before)
    assert quick(seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", ["rates", "spikes"])
def test_resumed_tuning_gives_the_bits_of_the_uninterrupted_one(tmp_path, dynamics):
    path = tmp_path / "a.pt"
    arguments = {"epochs": 3, "dynamics": dynamics, "augmentation": "crop-flip"}
    whole = quick(**arguments)
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            quick(**arguments, checkpoint_path=path, on_epoch=interrupt_after(epoch), resume=epoch > 1)
    assert quick(**arguments, checkpoint_path=path, resume=True) == whole
    assert quick(**arguments, checkpoint_path=path, resume=True) == whole  # nothing is left to do


@pytest.mark.slow
def test_history_includes_the_epochs_before_an_interruption(tmp_path):
    network, (images, labels), _ = digits()
    seen, arguments = [], {"dynamics": "rates", "epochs": 2, "batch_size": 100, "checkpoint_path": tmp_path / "a.pt"}

    def interrupt(record):
        seen.append(record)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(network, images, labels, 2, **arguments, on_epoch=interrupt)
    tuned = tune(network, images, labels, 2, **arguments, resume=True, on_epoch=seen.append)
    assert tuned.history == tuple(seen) and [record.epoch for record in seen] == [1, 2]


@pytest.mark.slow
def test_interruption_within_an_epoch_keeps_the_last_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    quick(epochs=2, checkpoint_path=path)
    content = path.read_bytes()
    module = sys.modules["rmp_lava.conversion.distillation"]
    calls, checked = iter(range(1000)), module.check_finite

    def interrupted(*arguments):
        if next(calls) == 4:
            raise KeyboardInterrupt
        checked(*arguments)

    monkeypatch.setattr(module, "check_finite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(epochs=2, seed=5, checkpoint_path=path)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_checkpoint_of_other_arguments_or_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    network, (images, labels), _ = digits()
    quick(epochs=1, checkpoint_path=path)
    go_on = {"checkpoint_path": path, "resume": True, "epochs": 1}
    with pytest.raises(UsageError, match="made with steps 2, but 3 was given"):
        quick(**go_on, steps=3)
    with pytest.raises(UsageError, match="made with another network"):
        quick(**go_on, network=quick(epochs=1))
    with pytest.raises(UsageError, match="made with other teachers, or none"):
        quick(**go_on, teachers=[network])
    with pytest.raises(UsageError, match="made with other images or labels"):
        tune(network, images[:-1], labels[:-1], 2, batch_size=100, learning_rate=1e-3, **go_on)
    good = torch.load(path, weights_only=True)
    for change in (
        {"history": []},
        {"optimizer": {}},
        {"state_dict": {}},
        {"state_dict": {name: tensor * torch.nan for name, tensor in good["state_dict"].items()}},
    ):
        torch.save(good | change, path)
        with pytest.raises(CheckpointError, match="damaged training state .*; start again"):
            quick(**go_on)
    torch.save(good | {"format": "rmp-lava-checkpoint"}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of `tune`"):
        quick(**go_on)
    torch.save(good | {"format_version": 1}, path)
    with pytest.raises(CheckpointError, match="format version 1"):
        quick(**go_on)
    with pytest.raises(UsageError, match="give checkpoint_path"):
        quick(resume=True)


def with_outputs_times(factor: float):
    network, _, _ = digits()
    return network.map_layers(
        lambda layer: (
            layer.replace(synapses=tuple(s.replace(weight=s.weight * factor) for s in layer.synapses))
            if layer is network.output
            else layer
        )
    )


@pytest.mark.slow
@pytest.mark.parametrize("factors", [(0.5,), (0.25, 0.75)])
def test_teachers_pull_the_outputs_towards_the_mean_of_theirs(factors):
    halved = with_outputs_times(0.5)  # half as sure as the labels ask for
    images = torch.from_numpy(digits()[1][0])

    @torch.no_grad()
    def distance(tuned):
        wanted, found = (AnalogNetwork(each)(images).log_softmax(dim=1) for each in (halved, tuned))
        return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True))

    taught, alone = quick(epochs=4, teachers=[with_outputs_times(factor) for factor in factors]), quick(epochs=4)
    assert distance(taught) < distance(alone) / 2
    assert len(taught.provenance["tune"][0]["teachers"]) == len(factors)
    assert not alone.provenance["tune"][0]["teachers"]


def test_a_teacher_of_other_outputs_is_refused():
    network, _, _ = digits()
    shorter = network.replace(layers=network.layers[:-1], name="short")
    with pytest.raises(
        DataError, match=r"teacher 'short' maps \(1, 8, 8\) to \(32,\), but network 'digits' maps .* to \(10,\)"
    ):
        quick(teachers=[network, shorter])


@pytest.mark.slow
def test_images_of_8_bits_are_the_same_as_their_fractions():
    network, (images, labels), _ = digits()
    whole = np.rint(images * 255).astype(np.uint8)
    fractions = whole.astype(np.float32) / 255
    settings = {"epochs": 1, "batch_size": 100}
    one, other = (tune(network, each, labels, 2, **settings).network for each in (whole, fractions))
    assert all(a.synapses == b.synapses and a.record == b.record for a, b in zip(one, other, strict=True))


def test_bfloat16_sums_give_nearly_the_same():
    one, other = (quick(epochs=1, precision=precision) for precision in ("float32", "bfloat16"))
    assert one != other
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.synapses[0].weight, b.synapses[0].weight, atol=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps is 0; give an integer of at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; give a positive number"),
        ({"dynamics": "both"}, "dynamics is 'both'; choose one of rates, spikes"),
        ({"augmentation": "flip"}, "augmentation is 'flip'; choose one of none, crop-flip"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"threshold_form": "any"}, "threshold_form is 'any'; choose one of stock, free, dense_rec"),
        ({"device": "cuba"}, "device 'cuba' is unknown"),
        ({"learning_rate": 1e20}, "tuning for 2 time steps diverged in epoch 1"),
    ],
)
def test_invalid_arguments_are_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        quick(**changed)


def test_networks_of_another_form_are_refused():
    network, (images, labels), _ = digits()
    with pytest.raises(UsageError, match="poisson encoding"):
        quick(network=network.replace(input=make_input("poisson", (1, 8, 8))))
    output = network.output
    counting = output.replace(neurons=output.neurons.replace(reset="soft"))
    with pytest.raises(UsageError, match="reads out spikes"):
        quick(network=network.replace(layers=(*network.layers[:-1], counting), readout="count"))
    hard = network.map_layers(
        lambda layer: layer.replace(neurons=layer.neurons.replace(reset="hard")) if layer.name == "conv2" else layer
    )
    with pytest.raises(UsageError, match="layer 'conv2' uses hard reset"):
        quick(network=hard)
    joined = output.replace(synapses=(*output.synapses, Dense(INPUT, np.ones((10, 64), np.float32))))
    with pytest.raises(UsageError, match="layer 'dense2' receives the image and spikes"):
        quick(network=network.replace(layers=(*network.layers[:-1], joined)))
    with pytest.raises(UsageError, match="has integer weights"):
        tuned = quick(epochs=1)
        values = {layer.name: float(layer.activation_scale) for layer in tuned.layers[:-1]}
        quick(network=quantize(as_spiking(tuned, values, 40.0)))
    flat = SpikingNetwork(
        "flat",
        make_input("current", (64,)),
        (output.replace(synapses=(Dense(INPUT, np.eye(10, 64)),)),),
        "analog",
        "potential",
    )
    with pytest.raises(UsageError, match="but crop-flip needs images"):
        tune(flat, images.reshape(-1, 64), labels, 2, augmentation="crop-flip")
    with pytest.raises(DataError, match="of 10 classes, but network 'residual' has 5 outputs"):
        tune(residual(), np.zeros((10, 2, 6, 6), np.float32), np.arange(10), 2)
    with pytest.raises(DataError, match=r"labels of validation images are int64 of shape \(3,\)"):
        quick(validation=(images, labels[:3]))
    with pytest.raises(DataError, match="images have shape"):
        tune(network, np.zeros((2, 1, 9, 8), np.uint8), np.zeros(2, int), 2)
    with pytest.raises(DataError, match=r"values in \[0, 255\]"):
        tune(network, images * 255, labels, 2)


@pytest.mark.slow
def test_integers_compute_what_was_trained_where_waiting_needs_room():
    """Their scale leaves room for what neurons gather; trained for another one, weights would be rounded to other numbers."""
    _, (images, labels), (held_out, _) = digits()
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10))
    conversion = pipeline.tune(
        nn.Sequential(*layers).eval(), images[:200], labels[:200], steps=8, wait=8, epochs=2, learning_rate=5e-3
    )
    ranges = conversion.integer.provenance["tune"][0]["ranges"]
    scales = {layer.name: float(layer.activation_scale) for layer in conversion.analog.layers[:-1]}
    peak = float(conversion.floating.output.potential_peak) / 8
    trained = TunableNetwork(conversion.analog, 8, scales, peak, load_profile("loihi2"), "stock", ranges)
    trained.use("rates", 8)
    result = run(conversion.integer, held_out, 8)
    with torch.no_grad():
        expected = trained(torch.from_numpy(held_out)).numpy()
    np.testing.assert_allclose(result.in_trained_units(conversion.integer), expected, atol=1e-6)
    assert not any(result.saturations.values())
    finer = quantize(conversion.floating, "loihi2").layers[0].neurons.threshold
    assert finer > 1.5 * conversion.integer.layers[0].neurons.threshold  # without room
