"""The look of a page: two palettes, one type scale, no fonts or files from elsewhere."""

from __future__ import annotations

LIGHT = {
    "paper": "#fcfbf8", "raised": "#f4f2ec", "ink": "#1d1f21", "muted": "#5c6166", "rule": "#cfccc3",
    "band": "#e9e6dc", "pays": "#0b63a5", "costs": "#a8480a",
}  # fmt: skip
DARK = {
    "paper": "#15171a", "raised": "#1e2125", "ink": "#e6e4de", "muted": "#a2a7ad", "rule": "#41464c",
    "band": "#272c31", "pays": "#6fb7ee", "costs": "#f0995a",
}  # fmt: skip

_RULES = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 var(--serif);overflow-wrap:break-word}
main{max-width:76rem;margin:0 auto;padding:3.5rem 1.5rem 5rem}
main>*,section>*{max-width:46rem}
main>.wide,section,section>figure,section>details,section>.scroll{max-width:none}
h1,h2,h3{font-weight:600;line-height:1.2;text-wrap:balance}
h1{font-size:clamp(1.9rem,1.3rem + 2.4vw,2.9rem);letter-spacing:-.015em;margin:.2rem 0 1rem}
h2{font-size:1.5rem;letter-spacing:-.01em;margin:0 0 1rem}
h3{font-size:1.1rem;margin:1.6rem 0 .4rem}
p{margin:0 0 1rem}
ul{margin:0 0 1rem;padding-left:1.2rem}
li{margin-bottom:.4rem}
a{color:inherit;text-decoration-color:var(--muted);text-underline-offset:.18em}
a:hover{text-decoration-color:currentColor}
:focus-visible{outline:2px solid var(--pays);outline-offset:2px}
code,pre{font-family:var(--mono);font-size:.86em}
pre{background:var(--raised);border-radius:4px;padding:.8rem 1rem;overflow-x:auto;line-height:1.5;margin:0 0 1rem}
pre code{font-size:.82rem}
small{display:block;color:var(--muted);font-size:.8125rem;line-height:1.4;font-weight:400;white-space:normal}
.kicker{font:600 .78rem/1 var(--sans);letter-spacing:.09em;text-transform:uppercase;color:var(--muted);margin:0}
.answer{font-size:1.25rem;line-height:1.5;margin-bottom:1.6rem}
.answer b{font-weight:600}
.pays b,.key.pays,.verdict.pays{color:var(--pays)}
.costs b,.key.costs,.verdict.costs{color:var(--costs)}
.key{white-space:nowrap}
.keys{display:block;margin:.2rem 0}.keys .key{margin-right:.9rem}
.once{white-space:nowrap}
.verdict{font-weight:600;font-family:var(--sans)}
.verdict.small,.key.small{color:var(--muted)}
.effect{font-weight:600}
nav{font:.875rem/1.9 var(--sans);border-block:1px solid var(--rule);padding:.5rem 0;margin:2.5rem 0 0}
nav a{margin-right:1.1rem;white-space:nowrap;text-decoration:none;color:var(--muted)}
nav a:hover{color:var(--ink)}
section{margin-top:3.5rem}
.recommended{border-left:3px solid var(--ink);padding-left:1.25rem;margin:2rem 0 0}
.recommended pre{max-width:100%}
.scroll{overflow-x:auto;margin:0 0 1rem;max-width:none}
table{border-collapse:collapse;font:.875rem/1.45 var(--sans);font-variant-numeric:tabular-nums;
min-width:min(100%,46rem)}
caption{text-align:left;color:var(--muted);padding:0 0 .7rem;max-width:46rem;line-height:1.5}
.numbers caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{text-align:left;vertical-align:top;padding:.5rem 1rem .5rem 0;white-space:nowrap;
border-bottom:1px solid var(--rule)}
thead th{font-weight:500;color:var(--muted);vertical-align:bottom;white-space:normal;border-bottom-color:var(--muted)}
tbody th{font-weight:600}
.n{text-align:right}
.verdicts{min-width:100%}
.verdicts td:nth-child(2){min-width:10.5rem}
.verdicts td:nth-child(n+6){white-space:normal;min-width:8rem}
details{margin:0 0 1rem}
summary{cursor:pointer;font:.9rem/1.5 var(--sans);color:var(--muted);padding:.35rem 0}
summary:hover{color:var(--ink)}
details[open]>summary{margin-bottom:.5rem;color:var(--ink)}
.csv{font:.875rem/1.5 var(--sans);color:var(--muted)}
.csv::before{content:"\\2193\\00a0"}
figure{margin:0;display:grid;grid-template-columns:minmax(0,33rem) minmax(14rem,1fr);column-gap:2.5rem;
align-items:start}
figcaption{font:.9rem/1.55 var(--sans);color:var(--muted);padding-top:.6rem}
figcaption b{color:var(--ink)}
figure>details{grid-column:1/-1;margin-top:.8rem;min-width:0}
svg{display:block;width:100%;height:auto;overflow:visible}
svg *{stroke-linejoin:round;stroke-linecap:butt}
svg text{font-family:var(--sans)!important;font-variant-numeric:tabular-nums}
dl{margin:0 0 1.2rem;font:.9rem/1.5 var(--sans)}
dl div{display:grid;grid-template-columns:15rem minmax(0,1fr);gap:.2rem 1rem;padding:.38rem 0;
border-bottom:1px solid var(--rule)}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
.code p{margin:1.2rem 0 .3rem;font:.9rem/1.5 var(--sans);color:var(--muted)}
footer{margin-top:4rem;font:.82rem/1.5 var(--sans);color:var(--muted)}
@media(max-width:60rem){figure{grid-template-columns:minmax(0,33rem)}}
@media(max-width:44rem){
body{font-size:1rem}
main{padding:2rem 1rem 4rem}
.answer{font-size:1.1rem}
dl div{grid-template-columns:1fr}
.verdicts,.verdicts tbody,.verdicts tr,.verdicts caption{display:block}
.verdicts thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.verdicts tr{padding:1rem 0;border-top:1px solid var(--rule)}
.verdicts th[scope=row]{display:block;border:0;padding:0 0 .3rem;font-size:1.05rem}
.verdicts td{display:grid;grid-template-columns:8.5rem minmax(0,1fr);gap:.75rem;border:0;padding:.2rem 0;
white-space:normal}
.verdicts td::before{content:attr(data-label);color:var(--muted)}
}
@media print{nav{display:none}body{font-size:10pt}section{break-inside:auto}figure,tr{break-inside:avoid}}
"""


def style() -> str:
    """The page's style sheet: light, and dark where the reader's system is."""
    fonts = (
        '--serif:"Iowan Old Style","Palatino Linotype",Palatino,"Book Antiqua",Georgia,serif;'
        '--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;'
        '--mono:ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;'
    )
    return (
        f":root{{color-scheme:light dark;{fonts}{_variables(LIGHT)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}{_RULES}"
    )


def _variables(palette: dict[str, str]) -> str:
    return "".join(f"--{name}:{value};" for name, value in palette.items())
