"""report.html: one page that holds everything, with nothing fetched from anywhere and no script."""

from functools import cache

from jinja2 import Environment, StrictUndefined, Template

from pipeline.report.summary import Summary
from pipeline.run import Ended

_STYLE = """
:root { --ink: #1c2128; --soft: #59636e; --line: #d1d9e0; --page: #f6f8fa; --card: #fff; --code: #f6f8fa;
  --PASS: #1a7f37; --FAIL: #cf222e; --BROKEN: #8250df; --SKIP: #9a6700; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9198a1; --line: #3d444d; --page: #0d1117;
  --card: #151b23; --code: #0d1117; --PASS: #238636; --FAIL: #da3633; --BROKEN: #8957e5; --SKIP: #9e6a03; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header { color: #fff; padding: 1.6rem 1rem; }
header div, main { max-width: 68rem; margin: 0 auto; padding: 0 1rem; }
header h1 { margin: 0; font-size: 2.2rem; letter-spacing: .04em; }
header p { margin: .2rem 0 0; font-size: 1.05rem; overflow-wrap: anywhere; }
.PASS > header, .b-PASS { background: var(--PASS); } .FAIL > header, .b-FAIL { background: var(--FAIL); }
.BROKEN > header, .b-BROKEN { background: var(--BROKEN); } .SKIP > header, .b-SKIP { background: var(--SKIP); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0;
  padding: 1rem 1.2rem; }
h2 { margin: 0 0 .7rem; font-size: 1.05rem; } h3 { margin: 0; font-size: 1rem; overflow-wrap: anywhere; }
.badge { color: #fff; border-radius: 1rem; padding: .1rem .6rem; font-size: .75rem; font-weight: 600;
  margin-right: .5rem; }
article + article { border-top: 1px solid var(--line); margin-top: 1rem; padding-top: 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; margin: .6rem 0 0;
  overflow: auto; max-height: 32rem; font: 12.5px/1.45 ui-monospace, monospace; }
summary { cursor: pointer; color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; color: var(--soft); font-weight: 600; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bad { color: var(--FAIL); font-weight: 600; } .soft { color: var(--soft); }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere; }
ul, ol { margin: 0; padding-left: 1.2rem; }
"""

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{ outcome }}: {{ s.series }}</title>
<style>{{ style }}</style>
</head>
<body class="{{ outcome }}">
<header><div><h1>{{ outcome }}</h1><p>{{ s.series }} on {{ s.base }}</p><p>{{ s.headline }}</p></div></header>
<main>
{% if s.partial %}<section><h2>Not complete</h2>{{ s.partial }}</section>{% endif %}
{% if s.verdict.reasons %}
<section><h2>Why</h2>
{% for r in s.verdict.reasons %}
<article>
<h3><span class="badge b-{{ r.outcome.value }}">{{ r.outcome.value }}</span>{{ r.text }}</h3>
<dl>
<dt>what</dt><dd>{{ r.why.value }}{% if r.times > 1 %}, seen {{ r.times }} times{% endif %}</dd>
{% if r.patch %}<dt>patch</dt><dd>{{ r.patch }}</dd>{% endif %}
{% if r.function %}<dt>function</dt><dd><code>{{ r.function }}</code></dd>{% endif %}
{% if r.file %}<dt>file</dt><dd><code>{{ r.file }}</code></dd>{% endif %}
{% if r.leak %}<dt>leak</dt>
<dd>{{ r.leak.size }} {{ r.leak.unit }} in {{ r.leak.cycles }} cycles, {{ "%.3g"|format(r.leak.slope) }} a cycle
(<code>{{ r.leak.ledger }}</code>)</dd>
{% if r.leak.pin %}<dt>held by</dt><dd>{{ r.leak.pin }}</dd>{% endif %}{% endif %}

{% if r.program %}<dt>program</dt>
<dd><code>{{ r.program }}</code>{% if r.seed is not none %}, seed {{ r.seed }}{% endif %}</dd>{% endif %}
{% if r.log %}<dt>console</dt><dd><code>{{ r.log }}{% if r.line is not none %}:{{ r.line + 1 }}{% endif %}</code></dd>
{% endif %}
</dl>
{% if r.report %}<pre>{{ r.report }}</pre>{% endif %}
</article>
{% endfor %}
</section>
{% endif %}
{% if s.worth %}
<section><h2>What was tried</h2><ul>{% for line in s.worth %}<li>{{ line }}</li>{% endfor %}</ul></section>
{% endif %}
{% if s.verdict.known %}
<section><h2>Known: on the base too, not counted</h2>
{% for r in s.verdict.known %}
<article><h3>{{ r.text }}</h3>
{% if r.report %}<details><summary>what the kernel said</summary><pre>{{ r.report }}</pre></details>{% endif %}
</article>
{% endfor %}
</section>
{% endif %}
{% if s.trials %}
<section><h2>Trials</h2><div class="wide"><table>
<tr><th>kernel</th><th>program</th><th class="n">seed</th><th>ended</th><th class="n">tests ok</th>
<th class="n">seconds</th><th class="n">cycles</th><th>reports</th></tr>
{% for t in s.trials %}
<tr><td>{{ "base" if t.cut == 0 else "patched" }}</td><td><code>{{ t.program }}</code></td>
<td class="n">{{ t.seed }}</td>
<td{% if t.ended is not sameas done %} class="bad"{% endif %}>{{ t.ended.value }}</td>
<td class="n{% if t.passed < t.tests %} bad{% endif %}">{{ t.passed }}/{{ t.tests }}</td>
<td class="n">{{ "%.1f"|format(t.seconds) }}</td><td class="n">{{ "" if t.cycles is none else t.cycles }}</td>
<td>{% for title in t.findings %}<div>{{ title }}</div>{% else %}<span class="soft">none</span>{% endfor %}</td></tr>
{% endfor %}
</table></div></section>
{% endif %}
{% if s.verdict.canaries %}
<section><h2>Canaries: {{ s.canaries }}</h2><div class="wide"><table>
<tr><th>fault on purpose</th><th>reported as</th></tr>
{% for c in s.verdict.canaries %}
<tr><td>{{ c.name }}</td><td{% if not c.title %} class="bad"{% endif %}>{{ c.title or c.why }}</td></tr>
{% endfor %}
</table></div></section>
{% endif %}
{% if s.stages %}
<section><h2>Stages</h2><div class="wide"><table>
{% for stage in s.stages %}
<tr><td>{{ stage.name }}</td><td class="n">{{ "%.1f"|format(stage.seconds) }} s</td>
<td class="soft">{{ stage.outcome }}</td></tr>
{% endfor %}
</table></div></section>
{% endif %}
<section><h2>What was judged</h2><dl>
<dt>series</dt><dd>{{ s.series }}{% if s.patches %}<ol>
{% for patch in s.patches %}<li>{{ patch }}</li>{% endfor %}</ol>{% endif %}</dd>
<dt>base</dt><dd>{{ s.base }}{% if s.release %}, boots as {{ s.release }}{% endif %}</dd>
<dt>profile</dt><dd>{{ s.profile }}</dd><dt>machine</dt><dd>{{ s.machine }} on {{ s.accel }}</dd>
{% for what, key in s.keys %}<dt>{{ what }}</dt><dd><code>{{ key }}</code></dd>{% endfor %}
{% for what, path in s.files %}<dt>{{ what }}</dt><dd><code>{{ path }}</code></dd>{% endfor %}
{% if s.reproduce %}<dt>again</dt><dd><code>{{ s.reproduce }}</code></dd>{% endif %}
<dt>when</dt><dd>{{ s.started }}, {{ "%.0f"|format(s.seconds) }} s, kpv {{ s.version }}</dd>
</dl></section>
</main>
</body>
</html>
"""


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    # The style sheet is ours and has nothing to escape.
    return environment.from_string(_PAGE.replace("{{ style }}", _STYLE))


def render(summary: Summary) -> str:
    """Return the page; every text is escaped as it enters."""
    summary = summary.cleaned()
    return _template().render(s=summary, outcome=summary.verdict.outcome.value, done=Ended.DONE)
