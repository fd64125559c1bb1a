"""Render docs/results.md; every number in its tables comes from stored measurements."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .store import Store
from .tables import (
    MANY_STEPS,
    latency_table,
    lossless_table,
    markdown,
    pairs_table,
    percent,
    resets_table,
    summary_table,
)

PUBLISHED = (
    # method, network, trained, then accuracy at T
    ("RMP-SNN (CVPR 2020)", "VGG-16", "93.63", None, None, None, "60.30", "90.35", "93.63 (T = 2048)"),
    ("RMP-SNN (CVPR 2020)", "ResNet-20", "91.47", None, None, None, None, None, "91.36"),
    ("RNL", "VGG-16", "92.82", None, None, "57.90", "85.40", "91.15", "92.95"),
    ("SNNC-AP", "VGG-16", "95.72", None, None, None, "93.71", "95.14", "95.79"),
    ("SNN calibration, advanced", "VGG-16", "95.76", None, None, "93.65", None, None, None),
    ("QCFS (ICLR 2022)", "VGG-16", "95.52", "93.96", "94.95", "95.40", "95.54", "95.55", "95.59"),
    ("QCFS (ICLR 2022)", "ResNet-20", "91.77", "83.75", "89.55", "91.62", "92.24", "92.35", "92.41"),
)
"""CIFAR-10, top-1 in per cent, full width, original images, floating point; as listed by Bu et al. (ICLR 2022) and
arXiv:2409.03368."""


def render(
    store: Store, results: dict[str, Any], command: str, figures: Iterable[Path], page: Path, notes: Path | None
) -> str:
    """The page as Markdown.

    Parameters
    ----------
    store : Store
        For machines and versions.
    results : dict
        "neuron", and "networks": name -> "trained", "resets", "lossless", "settled", "latency".
    command : str
        The command that regenerates the page.
    figures : iterable of Path
        PNG files; those that belong to a section are shown in it, by a path relative to the page.
    page : Path
        Path of the page.
    notes : Path or None
        Hand-written Markdown: main results, method and limitations.
    """
    shown = {
        path.stem.removeprefix("results-"): os.path.relpath(path, page.parent)
        for path in figures
        if path.suffix == ".png"
    }
    lines = [
        "# Results",
        "",
        "The experiments of the RMP-SNN paper in Loihi's integers, simulated on backend `fast`. **Never run on hardware.** "
        "This page is generated; do not edit it by hand. The [command](#command) is at its end.",
        "",
    ]
    if results["networks"]:
        lines += ["## Summary", "", *summary_table(results["networks"]), ""]
        lines += [
            "Accuracy in per cent of the test images, and in brackets the difference from the trained network on the same images "
            "(which may be fewer than all). Each cell shows the best method below, selected on these same images, hence slightly "
            "optimistic.",
            "",
        ]
    if notes is not None:
        lines += [notes.read_text().strip(), ""]
    if "neuron" in results:
        lines += [
            "## The neuron",
            "",
            "Output rate against input rate of one neuron in Loihi's integers, as in the paper's figure 2. With soft reset the "
            "output rate is the input rate times weight / threshold, for any threshold, up to one spike per step.",
            "",
            *_figure(shown, "neuron"),
        ]
    for name, result in results["networks"].items():
        lines += _network(name, result, shown)
    lines += ["## Published results", ""]
    lines += markdown(
        ("method", "network", "trained", "T = 4", "T = 8", "T = 16", "T = 32", "T = 64", "T >= 512"), PUBLISHED
    )
    lines += [
        "",
        "Not directly comparable with this page: these are floating-point simulations of full-width networks on the original "
        "CIFAR-10 images, without 8-bit weights or synaptic delays. Figures as listed by Bu et al. (ICLR 2022) and "
        "[arXiv:2409.03368](https://arxiv.org/abs/2409.03368).",
        "",
        "## Command",
        "",
        "    " + command.replace(" --", " \\\n        --"),
        "",
        *_machines(store, results),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _network(name: str, result: dict[str, Any], shown: dict[str, str]) -> list[str]:
    trained, identity = result["trained"], result["identity"]
    lines = [
        f"## {name}",
        "",
        _training(trained["training"]),
        "",
        f"{trained['source']}: {identity['images']:,} test images, {identity['calibration']} training images for calibration. "
        f"Trained network: **{percent(trained['accuracy'])} %**.",
        "",
    ]
    if "resets" in result:
        lines += [f"### Soft and hard reset (the paper's recipe, {result['resets']['encoding']} encoding)", ""]
        lines += [f"{result['resets']['images']:,} test images, drawn at random.", ""]
        lines += resets_table(result["resets"]) + [""]
        lines += [
            "Ratio: time steps that hard reset needs to reach an accuracy, divided by those of soft reset. The accuracy is hard "
            "reset's best or, in the last columns, a share of the trained network's.",
            "",
        ]
        lines += pairs_table(result["resets"]) + [""]
        lines += _figure(shown, f"{name}-resets") + _figure(shown, f"{name}-activity")
    for experiment, thresholds in MANY_STEPS.items():
        if experiment in result:
            lines += [f"### Many time steps ({thresholds}, soft reset, integers, current encoding)", ""]
            if result[experiment]["images"] < identity["images"]:
                some, accuracy = result[experiment]["images"], percent(result[experiment]["trained"])
                lines += [f"{some:,} test images, drawn at random; trained network {accuracy} %.", ""]
            lines += lossless_table(result[experiment]) + [""]
    if "latency" in result:
        lines += ["### Few time steps", ""]
        lines += latency_table(trained["accuracy"], result["latency"]) + [""]
        lines += _figure(shown, f"{name}-latency")
    return lines


def _training(training: dict[str, Any]) -> str:
    """Training settings and accuracies of a network from its checkpoint, or the file that it was restored from."""
    if training["restored_from"] is not None:
        return (
            "The trained network is not available. Its place is taken by the approximate float network that "
            f"`rmp_lava.conversion.restore` makes from the integers of `{training['restored_from']}`; differences are relative "
            "to it."
        )
    options = ", ".join(f"{key} {value}" for key, value in training["options"].items())
    mixing = "" if training["mixing"] in (None, "none") else f"{training['mixing']}, "
    if training["start"] is not None:
        mixing += f"starting from the weights of another training (SHA-256 {training['start'][:12]}...), "
    accuracies = f"validation {percent(training['validation_accuracy'])} %"
    if training["train_accuracy"] is not None:
        accuracies = f"training {percent(training['train_accuracy'])} %, {accuracies}"
    return (
        f"{training['model']} ({options}), trained for {training['epochs']} epochs ({training['optimizer']}, learning rate "
        f"{training['learning_rate']:g}, batches of {training['batch_size']}, {training['augmentation']}, "
        f"{mixing}{training['precision']}), seed {training['seed']}, in {training['seconds'] / 60:.0f} minutes with PyTorch "
        f"{training['torch_version']}: {accuracies}."
    )


def _machines(store: Store, results: dict[str, Any]) -> list[str]:
    """One line for each machine and set of versions among the measurements."""
    found = {}
    for name in ["neuron", *results["networks"]]:
        for content in store.everything(name).values():
            machine, versions = content["machine"], content["versions"]
            packages = ", ".join(f"{package} {versions[package]}" for package in versions)
            cores = "1 core" if machine["cores"] == 1 else f"{machine['cores']} cores"
            found[f"- {machine['cpu']}, {cores} ({', '.join(machine['instruction_sets'])}); {packages}"] = 0
    return list(found)


def _figure(shown: dict[str, str], name: str) -> list[str]:
    return [f"![{name}]({shown[name]})", ""] if name in shown else []
