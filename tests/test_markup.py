import re

from aplantida_jax.reporting import markup
from aplantida_jax.reporting.chart import Chart


def test_text_from_outside_is_escaped():
    assert markup.text('<b>"x"&') == "&lt;b&gt;&quot;x&quot;&amp;"
    assert markup.latin("Rosa <i>") == "<i>Rosa &lt;i&gt;</i>"


def test_shares():
    assert markup.percent(0.7312) == "73.1&thinsp;%"
    assert markup.percent(None) == "—"
    assert (
        markup.interval([0.71, 0.74]) == '<small class="interval">71.0 to 74.0</small>'
    )
    assert markup.interval(None) == ""


def test_a_table_heads_its_rows_and_sets_numbers_to_the_right():
    found = markup.table(("a", "<b>"), [["x", "1"]], numeric=(1,), caption="c")
    assert '<th scope="row">x</th>' in found
    assert '<td class="number" data-label="&lt;b&gt;">1</td>' in found
    assert '<th scope="col" class="number">&lt;b&gt;</th>' in found
    assert "<caption>c</caption>" in found
    assert 'aria-label="c"' in found


def test_a_picture_is_drawn_for_wide_and_for_narrow_pages():
    chart = Chart("t", "what it shows", 1, lambda figure, palette: None, 2)
    found = markup.picture("name", chart)
    assert re.findall(r'viewBox="([^"]+)"', found) == ["0 0 648 72", "0 0 280.8 144"]
    assert found.count('role="img" aria-label="what it shows"') == 2


def test_what_is_folded_needs_no_script():
    found = markup.folded("<more>", "text")
    assert found == "<details><summary>&lt;more&gt;</summary>text</details>"
