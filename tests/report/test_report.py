"""The report: one file without links to the outside; every section is there or says why not; the numbers are the run's."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from commands import run_main
from residual import small

import rmp_lava
from rmp_lava import load, run, save
from rmp_lava.encoding import make_input
from rmp_lava.errors import CheckpointError, UsageError
from rmp_lava.network import SpikingNetwork
from rmp_lava.sources.models import load_kept

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from rmp_lava import plot
from rmp_lava.hardware import map_network
from rmp_lava.network.populations import spread
from rmp_lava.plot import core_map, spikes
from rmp_lava.report.page import measure, page, parts, svg

SECTIONS = [
    "network",
    "accuracy",
    "stages",
    "raster",
    "rates",
    "activity",
    "quantisation",
    "cores",
    "energy",
    "provenance",
]
FIGURES = ["accuracy", "activity", "cores", "energy", "network", "raster", "rates"]
EVIL = "<img src=x onerror=alert(1)>"
EVIL_NAME = '"></style></svg><script>alert(2)</script>{{ 7 * 7 }}\ud800\x07'


class Reader(HTMLParser):
    """What a browser would make of a page, as far as these tests ask."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.ids, self.links, self.styles, self.text = [], [], [], [], []
        self.missing: dict[str, str] = {}
        self.captions: dict[str, list[str]] = {}
        self.section, self.figures, self._in, self._says_missing = "", {}, [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self._in.append(tag)
        if tag == "section":
            self.section = given["id"]
        if tag == "figure":
            self.figures.setdefault(self.section, []).append(given.get("class", "picture"))
        if tag == "figcaption":
            self.captions.setdefault(self.section, []).append("")
        self._says_missing = given.get("class") == "missing"
        if "id" in given:
            self.ids.append(given["id"])
        self.links += [value for key, value in attributes if key in ("href", "src", "xlink:href", "action", "data")]
        self.styles += [value for key, value in attributes if key in ("style", "clip-path", "fill", "stroke", "filter")]

    def handle_data(self, data):
        if self._in and self._in[-1] == "style":
            self.styles.append(data)
        else:
            self.text.append(data)
        if "figcaption" in self._in:
            self.captions[self.section][-1] += data
        if self._says_missing:
            self.missing[self.section] = self.missing.get(self.section, "") + data

    def handle_endtag(self, tag):
        while self._in and self._in.pop() != tag:
            pass
        self._says_missing = False

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(1).random((7, 1, 5, 5), dtype=np.float32)


def make(network: SpikingNetwork, folder: Path, images: np.ndarray, labels=None, **options) -> page.Page:
    save(network, folder / "n.net")
    return page.make_page(load(folder / "n.net"), images, labels, steps=6, nets=[folder / "n.net"], **options)


@pytest.fixture(scope="module")
def converted_digits(tmp_path_factory) -> Path:
    """A folder with a converted network, its trained network, its page and its figures."""
    folder = tmp_path_factory.mktemp("digits")
    assert run_main("train", "digits-cnn", "--epochs", 2, "--output", folder / "d.pt") == 0
    assert run_main("convert", folder / "d.pt", "--steps", 8, "--calibration", 50, "--validation", 50) == 0
    options = ("--samples", 40, "--figures", folder / "figures", "--json", folder / "d.json")
    assert run_main("report", folder / "d.net", *options) == 0
    return folder


@pytest.fixture(scope="module")
def digits_page(converted_digits) -> Reader:
    return Reader((converted_digits / "d.html").read_text(encoding="utf-8"))


# One file


def assert_no_outside_links(reader: Reader) -> None:
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "use-external", "foreignobject"}
    assert not forbidden & {tag for tag, _ in reader.tags}
    assert not [key for _, given in reader.tags for key in given if key.startswith("on")]
    for link in reader.links:
        assert link.startswith(("#", "data:image/png;base64,", "data:text/csv;base64,", "data:text/x-tex;base64,")), (
            link
        )
        assert not link.startswith("#") or link[1:] in reader.ids, link
    style = " ".join(reader.styles)
    assert "@import" not in style and "expression(" not in style
    for target in re.findall(r"url\(([^)]*)\)", style):
        assert target.strip("\"'")[1:] in reader.ids, target
    assert len(reader.ids) == len(set(reader.ids))
    (policy,) = [given["content"] for tag, given in reader.tags if tag == "meta" and "http-equiv" in given]
    assert policy.startswith("default-src 'none'")


def test_the_page_is_one_file_without_outside_links(digits_page):
    assert_no_outside_links(digits_page)
    assert any(link.startswith("data:") for link in digits_page.links), "the images of the samples are missing"


@pytest.mark.slow
def test_equal_images_do_not_share_an_id(tmp_path):
    assert_no_outside_links(Reader(make(small(), tmp_path, np.full((3, 1, 5, 5), 0.5, np.float32)).html))


@pytest.mark.slow
def test_hostile_names_and_provenance_are_text(tmp_path, images):
    provenance = {
        EVIL: {"deep": EVIL_NAME},
        "stages": [{"name": EVIL, "images": 3, "accuracy": 0.5, "note": EVIL_NAME}],
    }
    network = small(layer=EVIL, class_names=(EVIL, "$\\frac", "b", "c"), provenance=provenance)
    # A file could hold any name of a network, though not of a layer.
    network = network.replace(name=EVIL_NAME)
    save(network.replace(name="n"), tmp_path / "n.net")
    options = {"nets": [tmp_path / "n.net"], "arguments": ("x", EVIL)}
    html = page.make_page(network, images, np.zeros(7, int), steps=6, what=EVIL, **options).html
    reader = Reader(html.encode("utf-8").decode("utf-8"))
    assert_no_outside_links(reader)
    assert not [tag for tag, _ in reader.tags if tag == "img"]
    (heading,) = re.findall("<h1>(.*?)</h1>", html)
    assert "&lt;script&gt;alert(2)" in heading and "{{ 7 * 7 }}" in heading
    assert EVIL in reader.words and "alert(2)</script>" in reader.words


@pytest.mark.slow
def test_names_with_dollars_and_foreign_scripts_are_drawn_as_they_are(tmp_path, images):
    made = make(small(layer="$x^{2$ 漢字"), tmp_path, images)
    assert "$x^{2$ 漢字" in Reader(made.html).words
    (drawn,) = [each for each in made.pictures if each.key == "network"]
    drawn_text = [
        element.text
        for element in ElementTree.fromstring(svg.to_svg(drawn.wide)).iter()
        if element.tag.endswith("}text")
    ]
    assert "$x^{2$ 漢字" in drawn_text


# Everything, or why not


def test_every_section_of_a_converted_network_shows_something(digits_page):
    assert [given["id"] for tag, given in digits_page.tags if tag == "section"] == SECTIONS
    assert set(digits_page.figures) == set(SECTIONS) and not digits_page.missing
    for section in ("accuracy", "raster", "rates", "cores", "energy", "network", "activity"):
        assert "picture" in digits_page.figures[section], section


@pytest.mark.slow
def test_what_is_missing_is_explained(tmp_path, images):
    reader = Reader(make(small(), tmp_path, images).html)
    assert [given["id"] for tag, given in reader.tags if tag == "section"] == SECTIONS
    assert set(reader.missing) == {"stages", "rates", "provenance"}
    assert "does not record what each stage of its conversion reaches" in reader.missing["stages"]
    assert "no trained network was passed" in reader.missing["rates"]
    assert "The images have no labels; pass --labels" in reader.words
    assert "Accuracy 1" not in reader.words


@pytest.mark.slow
def test_float_networks_have_no_quantisation(tmp_path, images):
    network = small()
    as_float = network.replace(
        stage="balanced",
        input=make_input("current", (1, 5, 5)),
        layers=tuple(
            layer.replace(
                synapses=tuple(s.replace(weight=s.weight / 64.0) for s in layer.synapses),
                neurons=layer.neurons.replace(threshold=1.5, v_init=0.0),
            )
            for layer in network
        ),
    )
    reader = Reader(make(as_float, tmp_path, images).html)
    assert "not quantised" in reader.missing["quantisation"]


def test_every_estimate_is_marked_as_one(digits_page):
    text = digits_page.words
    assert text.count("never run on hardware") > 2
    for number in ("Cores 3 estimated", "per inference, estimated, dynamic"):
        assert number in text
    for section in ("cores", "energy"):
        assert len(digits_page.captions[section]) == len(digits_page.figures[section]) >= 2
        for caption in digits_page.captions[section]:
            assert "stimated" in caption or "Published energies" in caption, caption


@pytest.mark.slow
def test_epochs_of_tuning_are_a_table(tmp_path, images):
    tuning = {"steps": 4, "history": [[1, 0.5, 0.8, None], [2, 0.25, 0.9, 0.875]]}
    reader = Reader(make(small(provenance={"tune": [tuning]}), tmp_path, images).html)
    assert reader.figures["provenance"] == ["table"] * 3
    assert "epoch loss training validation 1 0.5000 80.00 % – 2 0.2500 90.00 % 87.50 %" in reader.words
    assert "tune.1.steps 4" in reader.words and "history" not in reader.words


def test_on_paper_only_captions_above_tables_are_tied_to_what_follows(digits_page):
    # A break-after of the last element of a section holds for the section, and would tie it to the next one.
    print_rules = "".join(digits_page.styles).split("@media print")[1]
    tied = re.findall(r"([^{};]*)\{ break-after: avoid", re.sub(r"/\*.*?\*/", "", print_rules))
    assert [rule.strip() for rule in tied] == ["tbody tr:nth-child(-n+3)", "h2, .table figcaption"]


@pytest.mark.slow
def test_gates_of_the_conversion_are_shown_where_the_trained_network_is_gone(tmp_path, images):
    gate = {
        "layer": "a",
        "correlation": 0.987654,
        "image_correlation": None,
        "error": 0.1,
        "silent": 0.2,
        "saturated": 0.3,
    }
    broken = [gate | {"layer": 7}, gate | {"error": "x"}, "gate", gate | {"error": float("1e309")}]
    found = json.loads(json.dumps([gate, *broken[:3]]))
    reader = Reader(make(small(provenance={"gates": found}), tmp_path, images).html)
    assert reader.figures["rates"] == ["table"] and "0.9877" in reader.words and "measured when" in reader.words


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages", [None, "x", 3, [1, {}], [{"name": 1, "accuracy": 0.5}], [{"name": "a", "accuracy": "b"}]]
)
def test_malformed_stages_are_not_shown(tmp_path, images, stages):
    reader = Reader(make(small(provenance={"stages": stages}), tmp_path, images).html)
    assert "stages" in reader.missing


@pytest.mark.slow
@pytest.mark.parametrize(("latency", "drawn"), [(5, True), (1e300, False)])
def test_points_of_the_frontier_are_drawn_if_a_conversion_can_reach_them(tmp_path, images, latency, drawn):
    point = {"steps": 4, "wait": 0, "spikes": 9, "synaptic_operations": 99, "period": 4}
    points = [point | {"latency": n, "score": {"kind": "classification", "accuracy": 0.5}} for n in (latency, 6)]
    stages = [{"name": "integer", "images": 3, "accuracy": 0.5}]
    made = make(small(provenance={"stages": stages, "frontier": points}), tmp_path, images)
    assert ("frontier" in made.figures) == drawn and Reader(made.html).figures["stages"].count("table") == 2


# What is shown is what was run


def test_the_headline_is_that_of_the_run(converted_digits, digits_page):
    from rmp_lava.sources.images import images_for

    network = load(converted_digits / "d.net")
    images, labels, _ = images_for(network, None, None, None, None, 40)
    result = run(network, images, 8)
    right = int((result.predictions == labels).sum())
    spikes = sum(result.spike_counts[layer.name] for layer in network) / 40
    text = digits_page.words
    assert f"Accuracy {100 * right / 40:.1f} % {right} of 40" in text
    assert f"Spikes {spikes:,.0f} per inference" in text
    assert f"Synaptic operations {sum(result.operations_per_sample.values()):,.0f} per inference" in text
    for stage in network.provenance["stages"]:
        assert f"{stage['name']} {stage['note'] or 'none'} {stage['images']} {100 * stage['accuracy']:.2f} %" in text


def test_rates_are_those_of_the_run_and_activations_those_of_the_trained_network(converted_digits):
    import torch

    from rmp_lava.training.checkpoint import load_model
    from rmp_lava.training.data import load as load_data

    network, images = load(converted_digits / "d.net"), load_data("digits").test_images[:40]
    found = rmp_lava.compare_rates(network, load_kept(converted_digits / "d.net", network).model, images, steps=8)
    assert not found.missing and found.images == 40
    result = run(network, images, 8, record=("counts",))
    first, last = found.layers[0], found.layers[-1]
    which = spread(first.layer.size, 1000)
    counts = result.neuron_counts[first.layer.name].reshape(40, -1)[:, which]
    np.testing.assert_allclose(first.rates, counts / 8, rtol=1e-6)
    model, _ = load_model(converted_digits / "d.pt")
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(last.activations, logits, rtol=1e-3, atol=1e-3)
    together = np.corrcoef(last.rates.ravel(), last.activations.ravel())[0, 1]
    assert last.fidelity.correlation == pytest.approx(together, abs=1e-4) and together > 0.9


def test_the_trained_network_must_be_the_one_that_was_kept(converted_digits, tmp_path):
    network = load(converted_digits / "d.net")

    def refused(network: SpikingNetwork) -> str:
        with pytest.raises(CheckpointError) as error:
            load_kept(tmp_path / "d.net", network)
        return str(error.value)

    assert "next to the file, is not there" in refused(network)
    (tmp_path / "d.ann.pt").write_bytes(b"another")
    assert "is another file than" in refused(network)
    (tmp_path / "d.pt").write_bytes(b"next to it, but not named so")
    (companion,) = [each for each in network.companions if each.kind == "ann"]
    for name in ("../d.pt", "a\0b", "", ".."):
        elsewhere = replace(companion, file=name, sha256="")
        assert "next to the file, is not there" in refused(network.replace(companions=(elsewhere,)))
    (tmp_path / "d.ann.pt").write_bytes((converted_digits / "d.ann.pt").read_bytes())
    foreign = replace(companion, builder="os:abort")
    assert "code that a file names is not run" in refused(network.replace(companions=(foreign,)))
    assert "names no trained network" in refused(small())


@pytest.mark.parametrize("encoding", ["poisson", "current", "rate"])
def test_a_raster_is_the_beginning_of_the_run(images, monkeypatch, encoding):
    network = small(encoding=encoding)
    monkeypatch.setattr(measure, "RASTER_STEPS", 5)
    found = measure._raster(network, images, np.array([1, 1, 2, 1, 2, 0, 3]), 9, 3)
    whole = run(network, images, 9, seed=3, record=("spikes",))
    assert found.samples == (0, 2, 5) and found.result.schedule.steps == 5
    for name, its in found.result.spikes.items():
        np.testing.assert_array_equal(its, whole.spikes[name][:6, :5], err_msg=name)


def test_samples_of_few_classes_are_completed_by_others():
    assert measure._different(np.array([4, 4, 4, 2]), 4) == (0, 1, 3)
    assert measure._different(None, 4) == (0, 1, 2) and measure._different(np.array([4]), 1) == (0,)


def test_a_raster_takes_bounded_memory(images, monkeypatch):
    network = small()
    per_step = network.neuron_count + 4 * 25
    monkeypatch.setattr(measure, "_RASTER_BYTES", 2 * per_step)
    found = measure._raster(network, images, None, 9, 0)
    assert (found.samples, found.result.schedule.steps) == ((0,), 2)


def test_a_raster_draws_few_spikes_of_a_busy_network():
    network = small(encoding="poisson")
    busy = {
        name: np.ones((3, 256, *shape), np.uint8)
        for name, shape in (("input", (1, 5, 5)), ("a", (3, 5, 5)), ("b", (3, 5, 5)))
    }
    found = spikes.neurons_shown(network, busy | {"c": np.zeros((3, 256, 4))})
    assert list(found) == ["input", "a", "b"]  # the read-out never spikes
    assert sum(3 * 256 * len(which) for which in found.values()) <= spikes._MOST_SPIKES
    assert all(len(which) >= spikes._FEWEST for which in found.values())


# Pictures


def test_figures_are_written_as_svg_with_text_and_as_png(converted_digits):
    folder = converted_digits / "figures"
    pictures = {f"{name}.{suffix}" for name in FIGURES for suffix in ("svg", "pdf", "png", "csv")}
    found = {path.name for path in folder.iterdir()}
    assert pictures <= found and all("-table" in name and name.endswith((".csv", ".tex")) for name in found - pictures)
    for name in FIGURES:
        root = ElementTree.parse(folder / f"{name}.svg").getroot()
        assert any(element.tag.endswith("}text") for element in root.iter()), name
        assert "var(" not in (folder / f"{name}.svg").read_text(encoding="utf-8")
        assert (folder / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert (folder / f"{name}.pdf").read_bytes()[:5] == b"%PDF-"
        assert any(element.tag.endswith("}title") for element in root.iter()), name  # under the pointer


def test_data_of_a_figure_are_those_of_the_run(converted_digits):
    from rmp_lava.sources.images import images_for

    network = load(converted_digits / "d.net")
    images, labels, _ = images_for(network, None, None, None, None, 40)
    result = run(network, images, 8, record=("spikes",))
    folder = converted_digits / "figures"
    read = [(folder / f"{name}.csv").read_text(encoding="utf-8").splitlines() for name in ("accuracy", "raster")]
    (_, *accuracy), (_, *raster) = map(list, map(csv.reader, read))
    assert [float(row[1]) for row in accuracy] == result.accuracy_at(labels).tolist()
    classes = [int(labels[int(row[0]) - 1]) for row in raster]
    assert len(set(classes)) == 3
    for sample, layer, neuron, steps in raster:
        fired = result.spikes[layer][int(sample) - 1].reshape(8, -1)[:, int(neuron)]
        assert steps.split() == [str(step) for step in np.flatnonzero(fired) + 1]
    read = json.loads((converted_digits / "d.json").read_text())
    shown = {figure["key"]: figure for section in read["sections"] for figure in section["figures"]}
    assert (
        sorted(shown) == FIGURES
        and [row[1] for row in shown["accuracy"]["rows"]] == result.accuracy_at(labels).tolist()
    )
    assert {"Accuracy", "Energy"} <= {fact["name"] for fact in read["facts"]}


def test_every_colour_is_defined_for_light_and_dark_backgrounds(converted_digits):
    html = (converted_digits / "d.html").read_text(encoding="utf-8")
    pictures = "".join(re.findall(r"<svg.*?</svg>", html, re.DOTALL))
    used = set(re.findall(r"var\((--[a-z0-9]+)\)", html))
    light, dark = (
        dict(re.findall(r"(--[a-z0-9]+): (#[0-9a-f]{6});", part)) for part in re.findall(r":root \{(.*?)\}", html)
    )
    assert used <= set(light) == set(dark)
    assert {"--layer0", "--layer1", "--layer2", "--ink", "--term0"} <= used
    assert not re.findall(r"(?:fill|stroke): #(?!fff)", pictures), "a colour that is not one of the palette's"
    assert len({light[f"--layer{i}"] for i in range(3)}) == 3


def test_settings_of_the_users_matplotlib_change_nothing():
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "path", "text.usetex": False, "font.size": 30}):
        before = dict(matplotlib.rcParams)
        drawn = parts.picture("k", "t", "c", lambda width: plot.network(small(), width=width), parts.Data((), ()))
        assert b">stored<" not in svg.to_svg(drawn.wide) and b"weights" in svg.to_svg(drawn.wide)
        assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_cores_of_a_network_that_does_not_fit_are_those_of_the_layers_that_do(tmp_path, images):
    board = tmp_path / "narrow.toml"
    board.write_text(
        'name = "narrow"\ndescription = "few words"\nchip = "loihi2"\n'
        '[board.chips]\nvalue = 1\nunit = "chip"\nkind = "documented"\nsource = "x"\n'
        '[cores.synapse_words]\nvalue = 60\nunit = "word"\nkind = "documented"\nsource = "x"\n'
    )
    mapping = map_network(small(), str(board))
    assert [layer.name for layer in mapping.layers if not layer.fits] == ["c"]
    assert len(core_map.squares(mapping).layers) == mapping.cores_of_others
    text = Reader(make(small(), tmp_path, images, profile=str(board)).html).words
    others = mapping.cores_of_others
    assert f"Cores > {others} estimated; does not fit" in text
    assert f"the others take {others} cores." in text and "layer 'c' needs" in text
    assert "c: none, as no core holds a part." in text
    assert "assumes that one core holds all of c;" in text and f"all > {others}" in text


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("all 450 test images of digits", "On all 450 test images of digits."),
        ("200 of 450 test images of digits, drawn at random", "On 200 of 450 test images"),
        ("the first 7 images of x.npy", "On the first 7 images of x.npy."),
    ],
)
def test_the_headline_names_the_images(what, sentence):
    assert sentence in Reader(page.Page("n", "", what, (), ()).html).words


# From Python


def test_figures_and_tables_are_there_by_name(converted_digits):
    from rmp_lava.training.checkpoint import load_model

    network, (model, _) = load(converted_digits / "d.net"), load_model(converted_digits / "d.pt")
    images = np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)
    made = rmp_lava.make_page(network, images, steps=8, trained=model)
    assert sorted(made.figures) == FIGURES
    tables = {section.key: [sheet.table for sheet in section.sheets] for section in made.sections}
    assert [row[0] for row in tables["activity"][0].rows] == [*network.depths, "all"]
    assert not next(section for section in made.sections if section.key == "rates").missing
    (written,) = rmp_lava.write_page(made, converted_digits / "python.html")
    assert_no_outside_links(Reader(written.read_text(encoding="utf-8")))


# Errors


def test_errors_are_one_sentence(converted_digits, tmp_path, error):
    net = converted_digits / "d.net"
    assert "name a file that ends in .html" in error("report", net, "--output", tmp_path / "d.net")
    assert "pass one of them" in error("report", net, "--data", "digits", "--images", net)
    assert "profile" in error("report", net, "--samples", 2, "--profile", "loihi9")
    assert "at least 1" in error("report", net, "--samples", 0)
    (tmp_path / "folder.html").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "measure", lambda *_, **__: pytest.fail("ran before what cannot work was named"))
        assert "cannot be written" in error("report", net, "--samples", 2, "--output", tmp_path / "folder.html")
        assert "is a file, not a folder" in error("report", net, "--samples", 2, "--figures", net)
        board = (Path(__file__).parents[2] / "hw_profiles" / "vpx.toml").read_text()
        unknown = board.replace("[board.chips]\nvalue = 16\n", "[board.chips]\n").replace("documented", "unknown", 1)
        (tmp_path / "vpx.toml").write_text(unknown)
        assert "board.chips is unknown" in error("report", net, "--samples", 2, "--profile", tmp_path / "vpx.toml")


def test_missing_packages_are_named_before_anything_runs(converted_digits, tmp_path, error, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "jinja2" else find(name, *more))
    text = error("report", converted_digits / "d.net")
    assert "needs jinja2" in text and ".[report]" in text


def test_a_page_that_cannot_be_written_leaves_the_older_one(converted_digits, tmp_path, monkeypatch):
    made = page.Page("new", "", "", (), ())
    (tmp_path / "p.html").write_text("old")
    monkeypatch.setattr(
        "rmp_lava.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(UsageError, match="No space left"):
        page.write_page(made, tmp_path / "p.html")
    assert [path.name for path in tmp_path.iterdir()] == ["p.html"] and (tmp_path / "p.html").read_text() == "old"
