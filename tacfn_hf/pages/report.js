"use strict";
// Filters and sorts the table of all rows. Values come in by textContent: none of them can be markup.
const rows = JSON.parse(document.getElementById("data").textContent);
const [ID, TEXT, TRUE, SAID, AGREE, SCORE, BETA] = [0, 1, 2, 3, 4, 5, 6];
const columns = [["id", ID], ["text", TEXT], ["true", TRUE], ["the model says", SAID], ["score", SCORE], ["beta", BETA]]
  .filter(([, key]) => rows.some((row) => row[key] !== null && row[key] !== ""));
const element = (id) => document.getElementById(id);
const PAGE = 100;
let shown = PAGE, order = ID, descending = false;

function make(name, text, kind) {
  const made = document.createElement(name);
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function found() {
  const words = element("search").value.toLowerCase();
  const [isTrue, said, wrong] = [element("true").value, element("said").value, element("wrong").checked];
  return rows.filter((row) => (!isTrue || row[TRUE] === isTrue) && (!said || row[SAID] === said) &&
    (!wrong || row[AGREE] === false) && (row[ID] + " " + row[TEXT]).toLowerCase().includes(words));
}

function draw() {
  const those = found().sort((a, b) => {
    const [x, y] = descending ? [b[order], a[order]] : [a[order], b[order]];
    return typeof x === "number" ? x - y : String(x).localeCompare(String(y));
  });
  const body = document.querySelector("#rows tbody");
  body.replaceChildren(...those.slice(0, shown).map((row) => {
    const line = make("tr", "", row[AGREE] === null ? "" : row[AGREE] ? "right" : "wrong");
    for (const [, key] of columns) {
      const number = key === SCORE || key === BETA;
      const text = number && row[key] !== null ? row[key].toFixed(2) : row[key] ?? "";
      line.append(make("td", text, number ? "number" : key === SAID ? "said" : key === TEXT ? "words" : ""));
    }
    return line;
  }));
  element("count").textContent = `${Math.min(shown, those.length)} of ${those.length} rows`;
  element("more").hidden = those.length <= shown;
}

for (const [name, key] of columns) {
  const head = make("th", "", key === SCORE || key === BETA ? "number" : "");
  head.scope = "col";
  const button = make("button", name);
  button.type = "button";
  button.addEventListener("click", () => {
    descending = order === key && !descending;
    order = key;
    document.querySelectorAll("#rows th").forEach((of) => of.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    draw();
  });
  head.append(button);
  document.querySelector("#rows thead tr").append(head);
}
for (const [id, key] of [["true", TRUE], ["said", SAID]]) {
  const names = [...new Set(rows.map((row) => row[key]))].sort();
  if (names.length > 100) element(id).parentElement.hidden = true;
  else element(id).append(...names.map((name) => { const made = make("option", name); made.value = name; return made; }));
}
if (rows.every((row) => row[AGREE] === null)) element("wrong").parentElement.parentElement.hidden = true;
for (const id of ["search", "true", "said", "wrong"]) element(id).addEventListener("input", () => { shown = PAGE; draw(); });
element("more").addEventListener("click", () => { shown += PAGE; draw(); });
draw();
