"""The style and the script of the report's page: light and dark, sorting tables, the trials behind a number."""

from study import figures

STYLE = (
    ":root{color-scheme:light dark;--page:#ffffff;--card:#f7f8fa;--good:#00704f;--bad:#b3261e;--link:#0060a0;"
    + figures.LIGHT
    + "}@media (prefers-color-scheme:dark){:root{--page:#0d1117;--card:#141a21;--good:#35cf9f;--bad:#ff8f87;"
    + "--link:#79c0ff;"
    + figures.DARK
    + "}}"
    + """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 72rem; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Helvetica Neue", Arial, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.12rem; margin: 2.25rem 0 .5rem; }
a { color: var(--link); }
td span { white-space: nowrap; }
.scroll + section.study { margin-top: 3rem; }
section.study + section.study { border-top: 2px solid var(--line); margin-top: 3.5rem; padding-top: 2rem; }
.facts, ul.notes, footer { color: var(--soft); font-size: .87rem; }
ul.notes { padding-left: 1.1rem; margin: .5rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .87rem; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
thead th { vertical-align: bottom; border-bottom-color: var(--soft); }
tfoot td { font-weight: 600; }
td.number, th.number { text-align: right; }
td.long { min-width: 15rem; max-width: 40rem; }
th button, td button { all: unset; cursor: pointer; font-weight: inherit; }
th button { font-weight: 600; }
th button::after { content: "\\2195"; color: var(--soft); opacity: .45; padding-left: .25em; font-weight: 400; }
th[aria-sort=ascending] button::after { content: "\\2191"; opacity: 1; }
th[aria-sort=descending] button::after { content: "\\2193"; opacity: 1; }
td button:hover { text-decoration: underline dotted; text-underline-offset: .2em; }
th button:focus-visible, td button:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
td.supported { color: var(--good); font-weight: 600; }
td.contradicted { color: var(--bad); font-weight: 600; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, monospace; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr));
  gap: 1rem; margin: .75rem 0; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .75rem; min-width: 0; }
figure > svg { display: block; width: 100%; height: auto; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: .5rem 0 0;
  font-size: .82rem; }
.legend li { display: flex; align-items: center; gap: .4rem; }
.legend svg { width: 26px; height: 12px; flex: none; }
dialog { color: inherit; background: var(--page); border: 1px solid var(--soft); border-radius: 8px;
  padding: 1rem 1.25rem; max-width: min(60rem, 94vw); max-height: 82vh; }
dialog::backdrop { background: rgb(0 0 0 / .45); }
dialog h3 { margin: 0 0 .5rem; font-size: 1rem; }
dialog form { float: right; margin: -.25rem -.5rem 0 1rem; }
dialog form button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: .15rem .6rem; cursor: pointer; }
@media print { body { max-width: none; padding: 0; } dialog, th button::after { display: none; } }
"""
    + figures.STYLE
)

SCRIPT = """
'use strict';
const page = JSON.parse(document.getElementById('numbers').textContent);
const studies = Object.fromEntries(page.studies.map(s => [s.study, s]));
const number = text => parseFloat(text.replace(/[^0-9.eE+-].*$/, ''));
function sort(button) {
  const head = button.closest('th'), table = head.closest('table'), body = table.tBodies[0];
  const way = head.ariaSort === 'ascending' ? -1 : 1, at = head.cellIndex;
  const rows = [...body.rows].map(row => ({row, text: row.cells[at].textContent.trim()}));
  const blank = r => r.text === '\\u2013' || r.text === '';
  const numbers = rows.every(r => blank(r) || /^[+-]?[0-9.]/.test(r.text));
  rows.sort((a, b) => {
    if (blank(a) || blank(b)) return blank(a) - blank(b);
    return way * (numbers ? number(a.text) - number(b.text)
      : a.text.localeCompare(b.text, 'en', {numeric: true}));
  });
  for (const other of head.parentElement.cells) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', way > 0 ? 'ascending' : 'descending');
  body.append(...rows.map(r => r.row));
}
function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}
function behind(button) {
  const cell = button.closest('td'), row = cell.parentElement, table = row.closest('table');
  const study = studies[table.closest('[data-study]').dataset.study];
  const answer = study.answers[table.dataset.answer], column = answer.columns[cell.cellIndex];
  const sources = answer.trials[+row.dataset.row], ids = sources[column] || sources[''] || [];
  const box = document.getElementById('behind'), old = box.querySelector('div');
  const content = element('div');
  element('h3', `${column} = ${cell.textContent} (${row.cells[0].textContent})`, content);
  const many = ids.length === 1 ? '1 trial' : `${ids.length} trials`;
  element('p', `From ${many} of tables/trials/${study.study}:`, content).className = 'facts';
  const scroll = element('div', undefined, content);
  scroll.className = 'scroll';
  const list = element('table', undefined, scroll), names = ['id', 'arm', 'seed', 'status', 'seconds'];
  const heads = element('tr', undefined, element('thead', undefined, list));
  for (const name of [...names, ...study.metrics]) element('th', name, heads);
  const body = element('tbody', undefined, list);
  for (const i of ids.slice(0, 500)) {
    const line = element('tr', undefined, body);
    for (const value of study.trials[i])
      element('td', value === null ? '\\u2013' : typeof value === 'number' ? +value.toPrecision(6) : value, line);
  }
  if (ids.length > 500) element('p', `and ${ids.length - 500} more`, content).className = 'facts';
  old.replaceWith(content);
  box.showModal();
}
document.addEventListener('click', event => {
  const head = event.target.closest('th button'), cell = event.target.closest('td button');
  if (head) sort(head);
  else if (cell) behind(cell);
  else if (event.target.id === 'behind') event.target.close();
});
"""
