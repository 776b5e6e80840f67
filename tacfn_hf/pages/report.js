"use strict";
// Filters and sorts the table of all rows. Values come in by textContent: none of them can be markup.
const rows = JSON.parse(document.getElementById("data").textContent);
const [ID, SEED, TEXT, TRUE, PREDICTED, RIGHT, SCORE, BETA] = [0, 1, 2, 3, 4, 5, 6, 7];
const columns = [["id", ID], ["seed", SEED], ["text", TEXT], ["true", TRUE], ["predicted", PREDICTED],
  ["score", SCORE], ["beta", BETA]].filter(([, key]) => rows.some((row) => row[key] !== null && row[key] !== ""));
const element = (id) => document.getElementById(id);
const isNumber = (key) => key === SCORE || key === BETA;
const words = new Intl.Collator(undefined, { numeric: true });
const PAGE = 100;
let shown = PAGE, order = ID, descending = false, sorted = rows;

function make(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function sort() {
  const sign = descending ? -1 : 1;
  const compare = isNumber(order) ? (a, b) => (a[order] ?? -1) - (b[order] ?? -1) : (a, b) => words.compare(a[order], b[order]);
  sorted = [...rows].sort((a, b) => sign * compare(a, b));
  document.querySelectorAll("#rows thead th").forEach((head, i) => {
    if (columns[i][1] !== order) head.removeAttribute("aria-sort");
    else head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  });
}

function draw() {
  const [part, isTrue, predicted] = ["search", "true", "predicted"].map((id) => element(id).value);
  const [lower, wrong] = [part.toLowerCase(), element("wrong").checked];
  const found = sorted.filter((row) => (!isTrue || row[TRUE] === isTrue) && (!predicted || row[PREDICTED] === predicted) &&
    (!wrong || row[RIGHT] === false) && `${row[ID]} ${row[TEXT]}`.toLowerCase().includes(lower));
  document.querySelector("#rows tbody").replaceChildren(...found.slice(0, shown).map((row) => {
    const line = make("tr", "", row[RIGHT] === null ? "" : row[RIGHT] ? "right" : "wrong");
    for (const [, key] of columns) {
      const text = isNumber(key) && row[key] !== null ? row[key].toFixed(2) : row[key] ?? "";
      const kind = isNumber(key) ? "number" : key === PREDICTED ? "predicted" : key === TEXT ? "words" : "";
      const cell = make(key === ID ? "th" : "td", text, kind);
      if (key === ID) cell.scope = "row";
      if (key === TEXT) cell.dir = "auto";
      line.append(cell);
    }
    return line;
  }));
  element("count").textContent = `${Math.min(shown, found.length)} of ${found.length} rows${found.length < rows.length ? ` that match, of ${rows.length}` : ""}`;
  element("more").hidden = found.length <= shown;
}

for (const [name, key] of columns) {
  const head = make("th", "", isNumber(key) ? "number" : "");
  head.scope = "col";
  const button = make("button", name);
  button.type = "button";
  button.addEventListener("click", () => {
    [descending, order] = [order === key && !descending, key];
    sort();
    draw();
  });
  head.append(button);
  document.querySelector("#rows thead tr").append(head);
}
for (const [id, key] of [["true", TRUE], ["predicted", PREDICTED]]) {
  const names = [...new Set(rows.map((row) => row[key]))].sort(words.compare);
  if (names.length > 100) element(id).parentElement.hidden = true; // of values, which are all different
  else element(id).append(...names.map((name) => Object.assign(make("option", name), { value: name })));
}
if (rows.every((row) => row[RIGHT] === null)) element("wrong").parentElement.parentElement.hidden = true;
for (const id of ["search", "true", "predicted", "wrong"]) {
  element(id).addEventListener("input", () => { shown = PAGE; draw(); });
}
element("more").addEventListener("click", () => { shown += PAGE; draw(); });
sort();
draw();
