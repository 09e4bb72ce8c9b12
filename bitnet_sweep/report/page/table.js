"use strict";
// Tables sort by the button in each column's head and filter by the words typed above them.

(function () {
  /** What a cell sorts by: the number that it has, by its own word or as its text, else its words. */
  function valueOf(cell) {
    const text = cell.textContent.trim();
    const number = Number(cell.dataset.value ?? (text || NaN));
    return Number.isNaN(number) ? text.toLowerCase() : number;
  }

  /** Numbers before words, empty cells last, whichever way round. */
  function compare(a, b, sign) {
    if (a === "" || b === "") return (a === "") - (b === "");
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true }));
  }

  function sortBy(table, rows, column, head) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    const order = next[head.getAttribute("aria-sort") || "none"];
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    let sorted = rows;
    if (order !== "none") {
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keyed = rows.map((row) => [valueOf(row.cells[column]), row]);
      sorted = keyed.sort((a, b) => compare(a[0], b[0], sign)).map((pair) => pair[1]);
    }
    table.tBodies[0].append(...sorted);
  }

  function filterBox(table, rows) {
    const box = document.createElement("input");
    box.type = "search";
    box.placeholder = "Filter rows";
    const label = document.createElement("label");
    label.className = "filter";
    const count = document.createElement("output");
    box.setAttribute("aria-label", "Filter the rows of this table");
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = [...row.cells].map((cell) => cell.textContent).join("\n").toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      count.textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
    label.append(box, count);
    table.parentElement.before(label);
  }

  for (const table of document.querySelectorAll("table.data")) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sortBy(table, rows, column, head));
      head.append(button);
    });
    if (rows.length > 3) filterBox(table, rows);
  }
})();
