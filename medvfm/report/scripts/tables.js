// Tables that sort by a click on a header and are filtered by text, choices and ready-made buttons.
// The page is whole without this script: controls stand in it hidden, and are shown here.

function cellValue(row, column) {
  // What a cell sorts by: its data-value, else its text; numbers as numbers.
  const cell = row.cells[column];
  const said = cell?.dataset.value ?? cell?.textContent.trim() ?? "";
  const number = said === "" ? NaN : Number(said.replace("\u2212", "-"));
  return Number.isNaN(number) ? said : number;
}

function inOrder(a, b) {
  // Numbers before words; what is empty comes last, whichever way a table is sorted.
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return typeof a === "number" ? -1 : 1;
}

function sortBy(table, column, descending) {
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row, place) => ({ row, place, value: cellValue(row, column) }));
  const isEmpty = (entry) => entry.value === "" || entry.value === "–";
  keyed.sort((a, b) =>
    isEmpty(a) - isEmpty(b) || (descending ? -1 : 1) * inOrder(a.value, b.value) || a.place - b.place);
  body.append(...keyed.map((entry) => entry.row));
  [...table.tHead.rows[0].cells].forEach((head, n) => {
    if (n === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sorts";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () =>
      sortBy(table, column, head.getAttribute("aria-sort") === "ascending"));
  });
}

function makeFilterable(filters) {
  const table = document.getElementById(filters.dataset.of);
  const words = filters.querySelector("input[type=search]");
  const choices = [...filters.querySelectorAll("select")];
  const presets = [...filters.querySelectorAll("button[data-tag]")];
  const counted = filters.querySelector("output");
  let tag = presets.find((button) => button.getAttribute("aria-pressed") === "true")?.dataset.tag ?? "";

  function show() {
    const wanted = (words?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const text = wanted.length ? row.textContent.toLowerCase() : "";
      row.hidden = !(
        wanted.every((word) => text.includes(word)) &&
        choices.every((choice) => choice.value === "" || row.cells[choice.dataset.column].textContent.trim() === choice.value) &&
        (tag === "" || (row.dataset.tags ?? "").split(" ").includes(tag)));
      shown += !row.hidden;
    }
    counted.textContent = `${shown} of ${table.tBodies[0].rows.length} shown`;
  }

  words?.addEventListener("input", show);
  choices.forEach((choice) => choice.addEventListener("change", show));
  presets.forEach((button) => button.addEventListener("click", () => {
    tag = button.dataset.tag;
    presets.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
    show();
  }));
  filters.hidden = false;
  show();
}

document.querySelectorAll("table.sortable").forEach(makeSortable);
document.querySelectorAll(".filters").forEach(makeFilterable);
