"""Training: reproducible to the bit, resumable, safe to interrupt, and good enough."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from rmp_lava.errors import CheckpointError, DataError, UsageError
from rmp_lava.training import session
from rmp_lava.training.checkpoint import load_checkpoint, load_model, save_checkpoint
from rmp_lava.training.data import Dataset, as_float, load, split_validation
from rmp_lava.training.data.augment import PADDING, crop_flip, cut_mix, cut_out
from rmp_lava.training.loop import evaluate, learning_rate
from rmp_lava.training.models import MODELS
from rmp_lava.training.muon import Muon
from rmp_lava.training.recipe import Recipe
from rmp_lava.training.train import _loss, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def weights(model) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def quick(dataset, **changed):
    return train("digits-cnn", dataset, **{"epochs": 4, "progress": False, "batch_size": 100, **changed})


def interrupt_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_digits_recipe_reaches_97_percent_on_unseen_digits(digits, tmp_path, seed):
    result = train("digits-cnn", digits, seed=seed, checkpoint_path=tmp_path / "a.pt", progress=False)
    assert result.test_accuracy >= 0.97
    model, metadata = load_model(tmp_path / "a.pt")
    assert evaluate(model, digits.test_images, digits.test_labels) == result.test_accuracy == metadata["test_accuracy"]
    assert metadata["dataset"] == "digits" and metadata["source"] == digits.source and metadata["seed"] == seed
    assert metadata["epochs_done"] == len(result.history) == 80


def test_same_seed_gives_same_weights_and_another_seed_others(digits):
    torch.manual_seed(1)
    first = quick(digits, epochs=2)
    torch.manual_seed(2)
    assert same(first.model, quick(digits, epochs=2).model)
    assert not same(first.model, quick(digits, epochs=2, seed=1).model)


def test_random_state_of_the_caller_is_untouched(digits):
    before = torch.get_rng_state()
    quick(digits, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 3])
def test_resumed_training_gives_the_bits_of_the_uninterrupted_one(digits, tmp_path, epoch):
    path = tmp_path / "a.pt"
    whole = quick(digits)
    with pytest.raises(KeyboardInterrupt):
        quick(digits, checkpoint_path=path, on_epoch=interrupt_after(epoch))
    assert load_checkpoint(path).metadata["epochs_done"] == epoch
    torch.rand(7)  # The state of a new process is another one.
    resumed = quick(digits, checkpoint_path=path, resume=True)
    assert same(whole.model, resumed.model)
    assert resumed.history == whole.history
    assert resumed.seconds > load_checkpoint(path).training["seconds"] - 1e-9 > 0


def test_resuming_a_finished_training_changes_nothing(digits, tmp_path):
    path = tmp_path / "a.pt"
    first = quick(digits, checkpoint_path=path)
    again = quick(digits, checkpoint_path=path, resume=True)
    assert same(first.model, again.model) and again.history == first.history
    assert again.test_accuracy == first.test_accuracy


@pytest.fixture(scope="module")
def interrupted(digits, tmp_path_factory) -> Path:
    """A checkpoint that others refuse to go on with, so that it stays as it is."""
    path = tmp_path_factory.mktemp("interrupted") / "a.pt"
    quick(digits, epochs=1, checkpoint_path=path)
    return path


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"epochs": 5},
        {"batch_size": 50},
        {"learning_rate": 0.1},
        {"validation_fraction": 0.2},
        {"optimizer": "sgd"},
        {"weight_decay": 0.1},
        {"augmentation": "crop-flip"},
        {"label_smoothing": 0.1},
        {"warmup": 0.1},
        {"precision": "bfloat16"},
        {"channels_last": True},
    ],
)
def test_resuming_with_other_arguments_is_refused(digits, interrupted, changed):
    (name,) = changed
    with pytest.raises(UsageError, match=f"was made with {name} .*; resume with the same"):
        quick(digits, checkpoint_path=interrupted, resume=True, **{"epochs": 1, **changed})


def test_resuming_with_other_images_is_refused(digits, tmp_path):
    path = tmp_path / "a.pt"
    quick(digits, checkpoint_path=path, epochs=1)
    with pytest.raises(UsageError, match="fingerprint"):
        quick(load("digits", seed=1), checkpoint_path=path, resume=True, epochs=1)


def test_resuming_without_usable_training_state_is_refused(digits, tmp_path):
    path = tmp_path / "a.pt"
    with pytest.raises(UsageError, match="no path was given"):
        quick(digits, resume=True)
    with pytest.raises(CheckpointError, match="does not exist"):
        quick(digits, checkpoint_path=path, resume=True)
    result = quick(digits, checkpoint_path=path)
    good = load_checkpoint(path)
    moments = {**good.training["optimizer"], 0: {**good.training["optimizer"][0], "exp_avg": torch.zeros(1)}}
    for damage in (
        None,
        {},
        {**good.training, "optimizer": {}},
        {**good.training, "optimizer": moments},
        {**good.training, "random_states": {"cpu": torch.zeros(3)}},
        {**good.training, "history": [["a"]]},
        {**good.training, "history": []},
        {**good.training, "settings": None},
    ):
        save_checkpoint(path, model_name="digits-cnn", model=result.model, metadata=good.metadata, training=damage)
        with pytest.raises(CheckpointError, match="cannot be resumed|damaged training state") as caught:
            quick(digits, checkpoint_path=path, resume=True)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_real_interrupt_leaves_a_valid_checkpoint_and_no_temporary_file(tmp_path):
    script = (
        "from rmp_lava.training.data import load\nfrom rmp_lava.training.train import train\n"
        "train('digits-cnn', load('digits'), epochs=100000, checkpoint_path='a.pt', progress=False)"
    )
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        # Shells start background jobs, this test among them, with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "a.pt").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert b"KeyboardInterrupt" in errors
    assert load_checkpoint(tmp_path / "a.pt").metadata["epochs_done"] >= 1
    assert os.listdir(tmp_path) == ["a.pt"]


def test_test_images_do_not_influence_training(digits):
    # Calibration and tuning would leak through a split that mixes the parts.
    other = Dataset(
        "digits", digits.train_images, digits.train_labels, digits.test_images[::-1] * 0.5, digits.test_labels,
        digits.class_names, "altered test part",
    )  # fmt: skip
    a, b = quick(digits, epochs=2), quick(other, epochs=2)
    assert same(a.model, b.model) and a.history == b.history and a.test_accuracy != b.test_accuracy


def test_validation_accuracy_is_that_of_the_public_split(digits):
    result = quick(digits)
    split = split_validation(digits)
    assert evaluate(result.model, split.validation_images, split.validation_labels) == result.validation_accuracy
    assert evaluate(result.model, split.train_images, split.train_labels) == result.train_accuracy


def test_divergence_is_reported_and_the_last_good_checkpoint_kept(digits, tmp_path):
    path = tmp_path / "a.pt"
    quick(digits, checkpoint_path=path, epochs=1)
    old = path.read_bytes()
    with pytest.raises(UsageError, match="diverged in epoch 1 with learning rate 1e\\+30"):
        quick(digits, checkpoint_path=path, learning_rate=1e30)
    assert path.read_bytes() == old


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"epochs": 0}, "epochs is 0; give an integer of at least 1"),
        ({"epochs": 2.5}, "epochs is 2.5"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": True}, "seed is True"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "high"}, "learning_rate is 'high'"),
        ({"validation_fraction": 1.0}, "validation fraction"),
        ({"optimizer": "lion"}, "optimizer is 'lion'; choose one of adam, sgd, muon"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001"),
        ({"augmentation": ["none"]}, "augmentation is .*; choose one of none, crop-flip, crop-flip-cutout"),
        ({"label_smoothing": 1}, "label_smoothing is 1; give a number from 0 to less than 1"),
        ({"warmup": float("nan")}, "warmup is nan"),
        ({"mixing": "mixup"}, "mixing is 'mixup'; choose one of none, cutmix"),
        ({"precision": "float16"}, "precision is 'float16'; choose one of float32, bfloat16"),
        ({"channels_last": 1}, "channels_last is 1; give True or False"),
        ({"epoch": 3}, "hyperparameter 'epoch' is unknown; choose from epochs, batch_size"),
        ({"options": {"width": 2}}, "model 'digits-cnn' has no option 'width'; it takes no options"),
        ({"device": "tpu9"}, "device 'tpu9' is unknown"),
        ({"device": "meta"}, "device 'meta' is not supported"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available"),
    ],
)
def test_invalid_argument_is_refused(digits, changed, words):
    with pytest.raises(UsageError, match=words):
        quick(digits, **changed)


def test_unwritable_checkpoint_is_noticed_before_training(digits, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    epochs = []
    with pytest.raises(CheckpointError, match="cannot be written"):
        quick(digits, checkpoint_path=tmp_path / "file" / "a.pt", on_epoch=epochs.append)
    assert epochs == []


def test_data_set_that_does_not_fit_is_refused(digits):
    with pytest.raises(DataError, match=r"\(1, 8, 8\), but model 'fashion-cnn' takes \(1, 28, 28\)"):
        train("fashion-cnn", digits)
    eleven = Dataset(
        "eleven", digits.train_images, digits.train_labels, digits.test_images, digits.test_labels,
        (*digits.class_names, "ten"), "digits",
    )  # fmt: skip
    with pytest.raises(DataError, match="has 11 classes, but model 'digits-cnn' has 10 outputs; use data set 'digits'"):
        train("digits-cnn", eleven)
    with pytest.raises(DataError, match="give its option classes=3, or use data set 'cifar10'"):
        train("vgg16-cifar", colours(), options={"width": 1 / 16})


# --- recipes


MODERN = dict(
    epochs=3, batch_size=64, learning_rate=0.05, optimizer="sgd", weight_decay=5e-4, augmentation="crop-flip",
    label_smoothing=0.05, warmup=0.2, precision="bfloat16", channels_last=True,
)  # fmt: skip


def colours(count: int = 260) -> Dataset:
    """Images as bytes whose class is their brightest channel: learnable in seconds."""
    random = np.random.RandomState(0)
    labels = np.arange(count) % 3
    images = random.randint(0, 128, (count, 3, 32, 32)).astype(np.uint8)
    images[np.arange(count), labels] += 100
    return Dataset("cifar10", images, labels, images[:30], labels[:30], ("red", "green", "blue"), "made here")


def colourful(dataset, **changed):
    options = {"width": 1 / 16, "batch_norm": True, "classes": 3}
    return train("vgg16-cifar", dataset, **{"options": options, "progress": False, **MODERN, **changed})


def everything(model) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "learning_rate"), [("adam", 1e-3), ("sgd", 0.05), ("muon", 0.03)])
def test_every_option_of_a_recipe_resumes_to_the_bit(tmp_path, optimizer, learning_rate):
    dataset, path = colours(), tmp_path / "a.pt"
    chosen = {"optimizer": optimizer, "learning_rate": learning_rate}
    whole = colourful(dataset, **chosen)
    with pytest.raises(KeyboardInterrupt):
        colourful(dataset, checkpoint_path=path, on_epoch=interrupt_after(1), **chosen)
    torch.rand(7)
    resumed = colourful(dataset, checkpoint_path=path, resume=True, **chosen)
    expected, found = everything(whole.model), everything(resumed.model)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert resumed.history == whole.history
    loaded, metadata = load_model(path)
    assert all(torch.equal(expected[name], tensor) for name, tensor in loaded.state_dict().items())
    assert metadata["optimizer"] == optimizer and metadata["options"]["width"] == 1 / 16
    with pytest.raises(UsageError, match="was made with options .*'width': 0.0625.*resume with the same"):
        options = {"width": 1 / 8, "batch_norm": True, "classes": 3}
        colourful(dataset, checkpoint_path=path, resume=True, **chosen, options=options)


@pytest.mark.slow
def test_modern_recipe_learns_colours_from_bytes():
    dataset = colours()
    result = colourful(dataset, epochs=15, batch_size=32)
    assert result.test_accuracy > 0.6  # 1.0 with most seeds; chance is 0.33
    values = dataset.test_images.astype(np.float32) / 255
    assert evaluate(result.model, values, dataset.test_labels) == result.test_accuracy


def test_images_as_bytes_and_as_values_train_the_same_weights():
    dataset = colours(120)
    images, tests = (as_float(part) for part in (dataset.train_images, dataset.test_images))
    values = Dataset(
        "cifar10", images, dataset.train_labels, tests, dataset.test_labels, dataset.class_names, "made here"
    )
    chosen = {"epochs": 1, "precision": "float32"}
    a, b = colourful(dataset, **chosen), colourful(values, **chosen)
    assert all(torch.equal(x, y) for x, y in zip(weights(a.model), weights(b.model), strict=True))


@pytest.fixture(scope="module")
def modern():
    return colourful(colours(120), epochs=1).model


@pytest.mark.slow
@pytest.mark.parametrize(
    "changed",
    [{"augmentation": "none"}, {"augmentation": "crop-flip-cutout"}, {"mixing": "cutmix"}, {"label_smoothing": 0.0},
     {"warmup": 0.0}, {"weight_decay": 0.0},
     {"precision": "float32"}, {"optimizer": "adam"}, {"optimizer": "muon"}],
)  # fmt: skip
def test_every_option_of_a_recipe_has_an_effect(modern, changed):
    assert not same(modern, colourful(colours(120), epochs=1, **changed).model)


def test_crop_flip_gives_every_crop_and_both_directions_and_nothing_else():
    images = torch.arange(1, 2 * 5 * 6 + 1).reshape(1, 2, 5, 6).repeat(800, 1, 1, 1)
    padded = functional.pad(images[0], (PADDING,) * 4)
    possible = {}
    for top, left, flip in np.ndindex(2 * PADDING + 1, 2 * PADDING + 1, 2):
        crop = padded[:, top : top + 5, left : left + 6]
        possible[(crop.flip(2) if flip else crop).numpy().tobytes()] = (top, left, flip)
    changed = crop_flip(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape and changed.dtype == images.dtype
    found = [possible[each.contiguous().numpy().tobytes()] for each in changed]
    assert len(set(found)) > 150  # of 162
    assert torch.equal(changed, crop_flip(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(changed, crop_flip(images, torch.Generator().manual_seed(1)))


def test_cutout_takes_a_square_out_of_each_image_wherever_it_is():
    generator = torch.Generator().manual_seed(0)
    holes = cut_out(torch.ones(400, 3, 32, 32), generator) == 0
    assert (holes == holes[:, :1]).all()
    rows, columns = holes[:, 0].any(dim=2), holes[:, 0].any(dim=1)
    # A square: everything between its rows and columns, and nothing else; 16 pixels where it is inside.
    assert (holes[:, 0] == rows[:, :, None] & columns[:, None, :]).all()
    sizes = torch.stack([rows.sum(dim=1), columns.sum(dim=1)])
    assert sizes.max() <= 16 and (sizes >= 15).float().mean() > 0.3 and sizes.min() >= 8
    assert rows.float().mean(dim=0).min() > 0.15  # no row is spared


def test_cutmix_puts_a_rectangle_of_another_image_into_every_second_one_and_returns_its_share():
    count, generator = 2000, torch.Generator().manual_seed(0)
    numbers = torch.arange(count).reshape(-1, 1, 1, 1).expand(count, 3, 16, 32)
    mixed, kept = cut_mix(numbers, generator)
    others = mixed != numbers
    assert (mixed == torch.where(others, count - 1 - numbers, numbers)).all() and (others == others[:, :1]).all()
    rows, columns = others[:, 0].any(dim=2), others[:, 0].any(dim=1)
    assert (others[:, 0] == rows[:, :, None] & columns[:, None, :]).all()
    assert torch.allclose(kept, 1 - others[:, 0].float().mean(dim=(1, 2)))
    assert 0.45 < (kept < 1).float().mean() < 0.52  # half of them; where the rectangle is tiny, nothing was taken
    assert rows.float().mean(dim=0).min() > 0.1 and columns.float().mean(dim=0).min() > 0.1
    # The drawn area is uniform, so half of one on average; what is outside is lost.
    assert 0.6 < kept[kept < 1].mean() < 0.8


def test_the_loss_of_mixed_images_is_that_of_both_labels():
    logits, labels = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 1, 2])
    kept = torch.tensor([1.0, 0.25, 0.5, 1.0, 0.0, 1.0])
    soft = torch.zeros(6, 4)
    for n in range(6):
        soft[n, labels[n]] += kept[n]
        soft[n, labels[5 - n]] += 1 - kept[n]
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, soft, label_smoothing=smoothing)
        assert torch.allclose(_loss(logits, labels, kept, smoothing), expected)
    whole = _loss(logits, labels, torch.ones(6), 0.1)
    assert torch.allclose(whole, _loss(logits, labels, None, 0.1))


def test_only_weights_decay():
    # With a learning rate too small to learn, SGD shrinks what decays by learning rate times decay and nothing else.
    recipe = Recipe(1, 64, 1e-9, "sgd", weight_decay=1.0)
    spec = MODELS["vgg16-cifar"]
    chosen = spec.settle({"width": 1 / 16, "batch_norm": True})
    settings = session.Settings("vgg16-cifar", chosen, recipe, "cifar10", 0, 0, 0.1, "cpu")
    state = session.start(spec, settings)
    decays = {weight: group["weight_decay"] for group in state.optimizer.param_groups for weight in group["params"]}
    for name, weight in state.model.named_parameters():
        assert decays[weight] == (1.0 if name.startswith(("conv", "dense")) and name.endswith("weight") else 0.0), name


def test_muon_turns_kernels_evenly_and_keeps_their_norm():
    torch.manual_seed(0)
    for shape in ((8, 4, 3, 3), (40, 2, 3, 3)):  # broad and tall, seen as matrices
        kernel = torch.nn.Parameter(torch.randn(shape))
        optimizer = Muon([{"params": [kernel], "orthogonal": True}], 0.03)
        kernel.grad = torch.randn(shape) * torch.logspace(-3, 0, len(kernel))[:, None, None, None]
        before = kernel.detach() * (len(kernel) ** 0.5 / kernel.detach().norm())
        optimizer.step()
        change = torch.linalg.svdvals((before - kernel).detach().flatten(1)) / 0.03
        # The steps of the iteration leave values around one, whatever the gradient's were.
        assert change.max() < 1.3 and change.median() > 0.6
        assert kernel.detach().norm().item() == pytest.approx(len(kernel) ** 0.5, rel=0.1)


def test_muon_gives_all_but_kernels_to_gradient_descent():
    recipe = Recipe(1, 64, 0.03, "muon", weight_decay=1.0)
    spec = MODELS["vgg16-cifar"]
    chosen = spec.settle({"width": 1 / 16, "batch_norm": True})
    state = session.start(spec, session.Settings("vgg16-cifar", chosen, recipe, "cifar10", 0, 0, 0.1, "cpu"))
    groups = {weight: group for group in state.optimizer.param_groups for weight in group["params"]}
    for name, weight in state.model.named_parameters():
        assert groups[weight]["orthogonal"] == name.startswith("conv"), name
        assert groups[weight]["weight_decay"] == float(name.startswith("dense") and name.endswith("weight")), name


def test_muon_is_refused_where_nothing_makes_up_for_a_kernel_of_fixed_norm():
    with pytest.raises(UsageError, match="optimizer 'muon' keeps .*; give batch_norm=True or .*, or optimizer 'adam'"):
        colourful(colours(), options={"width": 1 / 16, "classes": 3}, optimizer="muon")


def test_one_image_left_over_joins_the_batch_before():
    # 71 images of which 6 are held out leave 65, one more than a batch: alone it could not be normalised.
    dataset = colours(71)
    assert len(split_validation(dataset).train_images) == MODERN["batch_size"] + 1
    colourful(dataset, epochs=1)
    with pytest.raises(UsageError, match="batch normalisation needs at least 2; give a larger batch_size"):
        colourful(dataset, epochs=1, batch_size=1)


def test_learning_rate_rises_linearly_then_falls_along_half_a_cosine():
    rates = [learning_rate(0.4, step, 40, warmup=0.25) for step in range(40)]
    np.testing.assert_allclose(rates[:10], 0.04 * np.arange(1, 11))
    assert rates[10] == 0.4 and rates[25] == pytest.approx(0.2) and 0 < rates[39] < 0.002
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert [learning_rate(0.4, step, 40) for step in (0, 20)] == [0.4, pytest.approx(0.2)]


def test_checkpoint_of_format_version_1_resumes(digits, tmp_path):
    path = tmp_path / "a.pt"
    whole = quick(digits)
    with pytest.raises(KeyboardInterrupt):
        quick(digits, checkpoint_path=path, on_epoch=interrupt_after(2))
    content = torch.load(path, weights_only=True)
    del content["options"]
    settings = content["training"]["settings"]
    new = ("options", "optimizer", "weight_decay", "augmentation", "label_smoothing", "warmup", "precision")
    for name in (*new, "channels_last"):
        del settings[name]
    torch.save({**content, "format_version": 1}, path)
    assert same(whole.model, quick(digits, checkpoint_path=path, resume=True).model)


def test_checkpoint_from_before_an_option_resumes(tmp_path):
    path, dataset = tmp_path / "a.pt", colours(120)
    whole = colourful(dataset, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        colourful(dataset, epochs=2, checkpoint_path=path, on_epoch=interrupt_after(1))
    content = torch.load(path, weights_only=True)
    del content["options"]["scale_norm"], content["training"]["settings"]["options"]["scale_norm"]
    torch.save(content, path)
    assert same(whole.model, colourful(dataset, epochs=2, checkpoint_path=path, resume=True).model)


@pytest.mark.slow
def test_training_starts_from_another_ones_weights(tmp_path):
    first, path, dataset = tmp_path / "first.pt", tmp_path / "second.pt", colours(120)
    before = colourful(dataset, epochs=2, checkpoint_path=first)
    rounded = {"width": 1 / 16, "batch_norm": True, "classes": 3, "levels": 4}
    chosen = {"options": rounded, "start_from": first, "learning_rate": 1e-9}
    near = colourful(dataset, epochs=1, **chosen)
    for old, new in zip(weights(before.model), weights(near.model), strict=True):
        torch.testing.assert_close(old, new, atol=1e-5, rtol=1e-5)
    with pytest.raises(KeyboardInterrupt):
        colourful(dataset, checkpoint_path=path, on_epoch=interrupt_after(1), **chosen)
    with pytest.raises(UsageError, match="was made with start '.*', but None was given"):
        colourful(dataset, checkpoint_path=path, resume=True, **{**chosen, "start_from": None})
    colourful(dataset, checkpoint_path=path, resume=True, **chosen)
    with pytest.raises(
        UsageError, match=r"tensor 'conv1_1.weight' is \(4, 3, 3, 3\) in the checkpoint .* but \(8, 3, 3, 3\)"
    ):
        colourful(dataset, **{**chosen, "options": {**rounded, "width": 1 / 8}})
    with pytest.raises(CheckpointError, match="does not exist"):
        colourful(dataset, start_from=tmp_path / "missing.pt")


def test_evaluate_ignores_dropout_counts_the_last_batch_and_restores_the_mode():
    class Fixed(torch.nn.Module):
        def forward(self, images):
            assert not self.training
            return torch.nn.functional.one_hot(images.long().flatten(), 3).float()

    model = Fixed().train()
    labels = np.arange(1003) % 3
    images = labels.astype(np.float32).reshape(-1, 1, 1, 1)
    labels[-1] = (labels[-1] + 1) % 3
    assert evaluate(model, images, labels) == 1002 / 1003
    assert model.training
    with pytest.raises(DataError, match="3 images and 2 labels"):
        evaluate(model, images[:3], labels[:2])
    with pytest.raises(DataError, match="0 images"):
        evaluate(model, images[:0], labels[:0])


@pytest.mark.slow
def test_fashion_learns_in_two_small_epochs():
    try:
        fashion = load("fashion-mnist")
    except DataError as error:
        pytest.skip(str(error))
    assert len(fashion.train_images) == 60000 and len(fashion.test_images) == 10000
    assert np.bincount(fashion.train_labels).tolist() == [6000] * 10
    part = Dataset(
        "fashion-mnist", fashion.train_images[:3000], fashion.train_labels[:3000], fashion.test_images[:1000],
        fashion.test_labels[:1000], fashion.class_names, fashion.source,
    )  # fmt: skip
    result = train("fashion-cnn", part, epochs=2, batch_size=64, progress=False)
    assert result.history[1].loss < result.history[0].loss
    assert result.test_accuracy > 0.7
