import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.sources.forms import markup
from polite_flamingo.sources.forms.markup import MAX_DEPTH, is_html, to_markdown

ELEMENTS = {
    "<p>One &amp; two.</p><p>Three&nbsp;&lt; four</p>": "One & two.\n\nThree < four",
    "<p>A <b>bold </b>and <em>slanted</em> word, <del>gone</del></p>": "A **bold** and *slanted* word, ~~gone~~",
    "<p>Use <code>a &lt; b</code> or <code>x`y</code>.</p>": "Use `a < b` or `` x`y ``.",
    "<h2>Title</h2><p>Text<br>next</p><hr>": "## Title\n\nText\nnext\n\n---",
    "<ul><li>one</li><li>two<ul><li>inner</li></ul></li></ul>": "- one\n- two\n  - inner",
    '<ol start="3"><li><p>a</p></li><li><p>b</p><p>more</p></li></ol>': "3. a\n4. b\n\n   more",
    "<blockquote><p>Said.</p><p>Twice.</p></blockquote>": "> Said.\n>\n> Twice.",
    '<p>See <a href="http://a.b/c">here</a> and <a>there</a>.</p>': "See [here](http://a.b/c) and there.",
    "<p>unclosed<p>next<ul><li>x<li>y</ul>": "unclosed\n\nnext\n\n- x\n- y",
    "</div><p>stray</b></p>": "stray",
    '<p><img src="a.png" alt="a map"> and <svg><text>no</text></svg></p>': "a map and",
    "<div><style>p {}</style><script>run()</script><p>Seen</p></div>": "Seen",
}


def test_elements_become_markdown() -> None:
    assert {html: to_markdown(html) for html in ELEMENTS} == ELEMENTS


def test_a_code_block_keeps_its_lines_and_language_and_loses_the_copy_bar() -> None:
    html = (
        '<pre><div class="bar"><span>python</span><button>Copy code</button></div><div><code class="hljs '
        'language-python"><span>if</span> a &lt; b:\n\n\n    run()\n</code></div></pre>'
    )
    assert to_markdown(html) == "```python\nif a < b:\n\n\n    run()\n```"


def test_code_that_holds_a_fence_gets_a_longer_one() -> None:
    assert to_markdown("<pre><code>```\nx\n```</code></pre>") == "````\n```\nx\n```\n````"


def test_a_table_keeps_its_cells() -> None:
    html = "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>x|y</td></tr><tr><td>2</td></tr></table>"
    assert to_markdown(html) == "| A | B |\n| --- | --- |\n| 1 | x\\|y |\n| 2 |  |"


def test_a_long_list_keeps_its_numbers_and_a_long_table_its_rows() -> None:
    items = to_markdown("<ol>" + "<li>x" * 400 + "</ol>").split("\n")
    assert (len(items), items[-1]) == (400, "400. x")
    rows = to_markdown("<table><thead>" + "<tr><th>x</th></tr>" * 400 + "</table>").split("\n")
    assert rows[:3] == ["| x |", "| --- |", "| x |"]
    assert len(rows) == 401


def test_a_formula_is_written_once_as_tex() -> None:
    inner = (
        '<span class="katex-mathml"><math><mrow>x2</mrow><annotation encoding="application/x-tex">x^2</annotation>'
        '</math></span><span class="katex-html">x2</span>'
    )
    assert to_markdown(f'<p>Be <span class="katex">{inner}</span> so.</p>') == "Be $x^2$ so."
    display = f'<p>Be <span class="katex-display"><span class="katex">{inner}</span></span> so.</p>'
    assert to_markdown(display) == "Be\n$$x^2$$\nso."


def test_a_line_break_has_no_blanks_around_it_and_a_comment_beside_it_stays_out() -> None:
    assert to_markdown("<p>one &nbsp; <br> two<br><!-- not shown --> three</p>") == "one\ntwo\n three"


def test_only_a_text_that_is_html_throughout_counts_as_html() -> None:
    assert is_html('<div class="markdown prose"><p>Hello</p></div>')
    assert not is_html("<div> is an element of HTML")
    assert not is_html("Write `<p>Hello</p>`")


def test_what_would_take_forever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "MAX_ELEMENTS", 1000)
    refused = {
        "<div>" * (MAX_DEPTH + 1): "nested too deeply",
        "<b>x</b>" * 1001: "too many elements",
        f"<table><tr>{'<td>x</td>' * 400}</tr>{'<tr></tr>' * 400}</table>": "too many cells",
        "<!--" * 10_000: "without an end",
        "<a " * 100_000: "without an end",
        "<![>": "cannot be parsed",
    }
    for html, reason in refused.items():
        with pytest.raises(DataError, match=reason):
            to_markdown(html)
