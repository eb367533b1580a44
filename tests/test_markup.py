from aplantida_jax.reporting import markup
from aplantida_jax.reporting.charts import Chart


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


def test_a_table_sets_numbers_to_the_right():
    found = markup.table(("a", "<b>"), [["x", "1"]], numeric=(1,), caption="c")
    assert '<td class="number">1</td>' in found
    assert "&lt;b&gt;</th>" in found
    assert "<caption>c</caption>" in found


def test_a_picture_is_inside_the_page_twice():
    chart = Chart("t", "what it shows", (2, 1), lambda figure, palette: None)
    found = markup.picture(chart)
    assert found.count("data:image/png;base64,") == 2
    assert "prefers-color-scheme: dark" in found
    assert 'alt="what it shows"' in found
