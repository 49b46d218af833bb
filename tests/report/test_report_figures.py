import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from fake_experiment import SER, FakeExperiment

from toolkit.report.evidence import Evidence
from toolkit.report.figures.figure import image_bytes, line_style, point_style, stamp, styled
from toolkit.report.figures.results import (
    curve_figure,
    draw_confusions,
    draw_curves,
    draw_differences,
    draw_embeddings,
    draw_reliability,
    project,
)
from toolkit.statistics.comparison import Comparison, Interval
from toolkit.statistics.confidence import reliability_curve

STAMP = "loso-as-published: the test speaker also validated, and the partner of the test speaker was in training"
LABELS = ("ang", "h$p", "<neu>", 'id="sad"')
CURVES = {"test speaker 1M": {"ser": {1: 0.3, 2: 0.5, 3: 0.6}, "m_f": {1: 0.2, 2: 0.6, 3: 0.7}}}


def confusions():
    return draw_confusions({"ser": np.eye(4) * 3 + 1, "m_f": np.eye(4)}, LABELS)


def embeddings():
    points = {name: np.random.default_rng(0).normal(size=(40, 2)) for name in ("ser", "m_f")}
    return draw_embeddings(points, np.array(LABELS * 10), LABELS)


def curves():
    return draw_curves(CURVES, metric="ua", systems=["ser", "m_f"])


def reliability():
    curve = reliability_curve(np.array([[0.75, 0.25], [0.25, 0.75], [0.1, 0.9]]), [0, 0, 1], labels=[0, 1])
    return draw_reliability({"ser": {"as computed": curve, "at temperature": curve}, "m_f": {"as computed": curve}})


def differences():
    found = Interval(0.01, 0.05)
    shown = [Comparison("m_f", "ser", metric, 0.03, found, 0.002, 0.004, 10) for metric in ("wa", "ua")]
    hidden = [Comparison("cr", "ser", metric, 0.03, found, 0.04, 0.08, 10) for metric in ("wa", "ua")]
    few = [Comparison("mtl", "ser", metric, 0.03, None, None, None, 4) for metric in ("wa", "ua")]
    return draw_differences([*shown, *hidden, *few])


ALL = (confusions, embeddings, curves, reliability, differences)


def svg_text(figure):
    return image_bytes(figure, "svg").decode()


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize("draw", ALL)
def test_a_figure_has_its_stamp_in_the_image_and_the_same_bytes_each_time(draw):
    files = []
    for _ in range(2):
        with styled():
            figure = draw()
            stamp(figure, [STAMP])
            files.append((svg_text(figure), image_bytes(figure, "png"), image_bytes(figure, "pdf")))
    assert files[0] == files[1]
    svg, png, pdf = files[0]
    said = " ".join(texts(svg))
    assert f"NOTE: {STAMP}" in re.sub(r"\s+", " ", said) and "m_f" in said
    assert png.startswith(b"\x89PNG") and b"Software" not in png[:200]
    assert "<dc:date>" not in svg
    assert pdf.startswith(b"%PDF") and not re.search(b"Creator|Producer|CreationDate", pdf)


def test_a_stamp_takes_room_of_its_own():
    with styled():
        figure = confusions()
        stamp(figure, [STAMP])
        svg_text(figure)
        drawn = figure._supxlabel.get_window_extent()
        assert all(panel.get_tightbbox().y0 >= drawn.y1 for panel in figure.axes)


def test_the_users_own_settings_change_nothing_and_are_left_alone():
    with styled():
        expected = svg_text(curves())
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": "mine"}):
        with styled():
            assert svg_text(curves()) == expected
        assert matplotlib.rcParams["font.size"] == 30


def test_confusions_are_written_in_percent_of_their_row():
    with styled():
        said = texts(svg_text(draw_confusions({"ser": np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])}, ["a", "b", "c"])))
    assert said.count("75.0") == 2 and said.count("25.0") == 2 and said.count("0.0") == 2
    assert said.count("\N{EN DASH}") == 3, "a class without utterances"


def test_series_differ_in_dash_and_marker_and_not_in_colour_alone():
    looks = [line_style(index) for index in range(13)]
    assert len({(look["marker"], str(look["linestyle"])) for look in looks}) == 13
    assert len({(look["color"], look["marker"]) for look in looks}) == 13
    assert len({point_style(index)["color"] for index in range(8)}) == 8


def test_points_are_filled_only_where_a_difference_is_shown():
    with styled():
        figure = differences()
    filled = {}
    for line in figure.axes[0].lines:
        if line.get_marker() != "None":
            filled[int(line.get_ydata()[0])] = line.get_markerfacecolor() != "white"
    assert filled == {0: True, 1: False, 2: False}


def test_curves_are_in_percent_and_each_panel_has_every_system():
    with styled():
        figure = curves()
    lines = figure.axes[0].lines
    assert [line.get_label() for line in lines] == ["ser", "m_f"]
    np.testing.assert_allclose(lines[0].get_xydata(), [[1, 30], [2, 50], [3, 60]])


def test_the_curve_of_a_fitted_system_begins_with_epoch_0(tmp_path):
    found = Evidence(FakeExperiment({"ser": SER}, folds={"1M": ("1M",)}, seeds=(1, 2)).write(tmp_path))
    for run, epochs in zip(found.runs, (3, 2), strict=True):
        rows = [f"{epoch},0.5,0.{run.cell.seed + epoch}" for epoch in range(epochs)]
        (run.folder / "epochs.csv").write_text("\n".join(["epoch,test_wa,test_ua", *rows]))
    with styled():
        (line,) = curve_figure(found, "loso", ["1M"], "ua").draw().axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 15], [1, 25]], err_msg="the means of 10 and 20, of 20 and 30")


def test_a_projection_is_the_same_each_time():
    noise = np.random.default_rng(1).normal(size=(120, 128))  # no direction stands out: any start would do
    np.testing.assert_array_equal(project(noise), project(noise))


def test_a_projection_keeps_neighbours():
    embeddings = np.repeat(10 * np.eye(3, 8), 20, axis=0) + np.random.default_rng(1).normal(size=(60, 8))
    points = project(embeddings)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.diag(np.full(60, np.inf))
    np.testing.assert_array_equal(distances.argmin(axis=1) // 20, np.arange(60) // 20)


@pytest.mark.parametrize("shape", [(1, 5), (3, 5), (10, 1)])
def test_too_little_to_project_is_drawn_as_it_is(shape):
    assert project(np.ones(shape)).shape == (shape[0], 2)
