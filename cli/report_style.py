"""How the demo's report looks and moves: its style sheet and its few lines of script."""

from __future__ import annotations

__all__ = ["SCRIPT", "STYLE"]

STYLE = """
:root { --page:#faf9f6; --card:#ffffff; --ink:#1d2521; --soft:#5d6862; --line:#e3e1da; --accent:#1f7a5a; --warm:#c26a2e;
  --red:#b8433f; --code:#f1efe9; color-scheme:light dark; }
@media (prefers-color-scheme: dark) { :root { --page:#121614; --card:#1a201d; --ink:#e8ece9; --soft:#9aa69f; --line:#2c3531;
  --accent:#5cc59b; --warm:#e39a63; --red:#e07a75; --code:#222a26; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--page); color:var(--ink); font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif; }
main { max-width:1080px; margin:0 auto; padding:0 24px 72px; }
header { padding:56px 0 40px; }
header.two { align-items:center; }
.two + .two { margin-top:30px; }
.kicker { color:var(--accent); font-weight:600; letter-spacing:.02em; margin:0 0 8px; }
h1 { font-size:clamp(30px,4.6vw,50px); line-height:1.08; letter-spacing:-.02em; margin:0 0 14px; text-wrap:balance; }
h2 { font-size:25px; letter-spacing:-.01em; margin:0 0 8px; }
h3 { font-size:16px; margin:22px 0 6px; }
p { margin:0 0 12px; max-width:66ch; }
.lead { font-size:19px; color:var(--soft); }
.stats { display:grid; grid-template-columns:1fr 1fr; gap:12px; margin:26px 0 0; }
.stat { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:14px 16px; line-height:1.35; }
.stat b { display:block; font-size:28px; line-height:1.15; letter-spacing:-.02em; font-variant-numeric:tabular-nums; }
.stat span { color:var(--soft); font-size:14px; }
section { border-top:1px solid var(--line); padding:40px 0 34px; }
.two { display:grid; grid-template-columns:minmax(0,1fr) minmax(0,1fr); gap:36px; align-items:start; }
.two > * { min-width:0; }
@media (max-width:800px) { .two { grid-template-columns:minmax(0,1fr); } }
figure { margin:0; }
figure + figure { margin-top:20px; }
.map { position:relative; border-radius:12px; overflow:hidden; border:1px solid var(--line); background:var(--code);
  line-height:0; }
.map img, .map svg { width:100%; display:block; }
.map img { image-rendering:pixelated; }
.map svg { position:absolute; inset:0; height:100%; }
figcaption { color:var(--soft); font-size:14px; margin-top:8px; }
.compare { touch-action:pan-y; --x:50%; }
.compare img.top { position:absolute; inset:0; clip-path:inset(0 calc(100% - var(--x)) 0 0); }
.compare .edge { position:absolute; top:0; bottom:0; left:var(--x); width:2px; margin-left:-1px; background:#fff;
  box-shadow:0 0 5px #0008; pointer-events:none; }
.compare .edge::after { content:"\\2194"; position:absolute; top:50%; left:50%; width:36px; height:36px; margin:-18px;
  border-radius:50%; background:#fff; color:#222; font:20px/36px system-ui; text-align:center; box-shadow:0 1px 6px #0006; }
.compare input { position:absolute; inset:0; width:100%; height:100%; margin:0; opacity:0; cursor:ew-resize; }
.compare input:focus-visible ~ .edge { outline:3px solid var(--accent); }
.tag { position:absolute; top:12px; padding:4px 10px; border-radius:6px; background:#000a; color:#fff; font-size:13px;
  line-height:1.4; pointer-events:none; }
.tag.left { left:12px; } .tag.right { right:12px; }
.player { display:flex; gap:12px; align-items:center; margin-top:12px; font-variant-numeric:tabular-nums; }
.player input { flex:1; accent-color:var(--accent); }
.player button { border:1px solid var(--line); background:var(--card); color:var(--ink); border-radius:8px; padding:5px 14px;
  font:inherit; cursor:pointer; min-width:76px; }
.player output { min-width:104px; text-align:right; }
pre { background:var(--code); border-radius:10px; padding:12px 14px; margin:10px 0 0; overflow-x:auto; white-space:pre-wrap;
  overflow-wrap:anywhere; font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; }
pre .prompt { color:var(--accent); user-select:none; }
table { border-collapse:collapse; width:100%; font-size:14px; font-variant-numeric:tabular-nums; margin-top:10px; }
th { text-align:left; font-weight:600; color:var(--soft); border-bottom:1px solid var(--line); padding:5px 10px 5px 0; }
td { border-bottom:1px solid var(--line); padding:5px 10px 5px 0; }
th.n, td.n { text-align:right; }
.swatch { display:inline-block; width:12px; height:12px; border-radius:3px; margin-right:9px; vertical-align:-1px; }
.ramp { display:grid; grid-template-columns:auto 1fr auto; gap:10px; align-items:center; font-size:13px; color:var(--soft);
  margin-top:8px; font-variant-numeric:tabular-nums; }
.ramp i { height:10px; border-radius:5px; }
.bars { display:grid; grid-template-columns:minmax(110px,auto) 1fr auto; gap:9px 14px; align-items:center; font-size:15px;
  font-variant-numeric:tabular-nums; }
.bars .bar { height:16px; background:var(--accent); border-radius:4px; min-width:3px; }
.bars .bar.raw { background:var(--warm); }
.bars .soft { color:var(--soft); text-align:right; }
.chart { width:100%; height:auto; display:block; margin-top:6px; }
.chart text { fill:var(--soft); font:12px system-ui,sans-serif; }
.chart .axis { stroke:var(--line); }
.chart .truth { fill:none; stroke:var(--soft); stroke-width:1.6; stroke-dasharray:5 4; }
.chart .decoded { fill:none; stroke:var(--accent); stroke-width:2.4; stroke-linejoin:round; }
.chart .seen { fill:var(--ink); stroke:var(--page); stroke-width:1; }
.chart .event { stroke:var(--red); stroke-width:1.6; }
.chart .eventname { fill:var(--red); font-weight:600; }
.key { display:flex; flex-wrap:wrap; gap:6px 22px; font-size:14px; color:var(--soft); }
.key svg { display:inline-block; width:30px; height:12px; vertical-align:-1px; margin:0 7px 0 0; }
.note { border-left:3px solid var(--warm); padding:2px 0 2px 16px; color:var(--soft); }
footer { color:var(--soft); font-size:14px; border-top:1px solid var(--line); padding-top:20px; }
code { font:.92em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; }
@media print { .player, .compare input { display:none; } section { break-inside:avoid; } }
"""

SCRIPT = """
for (const box of document.querySelectorAll('.compare')) {
  const slider = box.querySelector('input');
  slider.addEventListener('input', () => box.style.setProperty('--x', slider.value + '%'));
}
const frames = JSON.parse(document.getElementById('frames').textContent);
const view = document.getElementById('year'), slide = document.getElementById('dekad');
const when = document.getElementById('when'), play = document.getElementById('play');
const show = index => { view.src = frames[index].src; when.textContent = frames[index].date; slide.value = index; };
let timer = null;
const stop = () => { clearInterval(timer); timer = null; play.textContent = 'Play'; };
slide.addEventListener('input', () => { stop(); show(+slide.value); });
play.addEventListener('click', () => {
  if (timer) { stop(); return; }
  play.textContent = 'Pause';
  timer = setInterval(() => show((+slide.value + 1) % frames.length), 220);
});
"""
