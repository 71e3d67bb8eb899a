"use strict";
for (const link of document.querySelectorAll('[data-toggle="collapse"]'))
  link.addEventListener("click", event => {
    event.preventDefault();
    document.getElementById(link.getAttribute("href").slice(1)).classList.toggle("show");
  });
for (const link of document.querySelectorAll('[data-toggle="tab"]'))
  link.addEventListener("click", event => {
    event.preventDefault();
    for (const other of document.querySelectorAll('[data-toggle="tab"], .tab-pane')) other.classList.remove("active");
    link.classList.add("active");
    document.getElementById(link.getAttribute("href").slice(1)).classList.add("active");
  });
for (const table of document.querySelectorAll("table.sortable")) {
  const rows = () => Array.from(table.tBodies[0].rows);
  Array.from(table.tHead.rows[0].cells).forEach((head, column) =>
    head.addEventListener("click", () => {
      const up = head.dataset.up !== "yes";
      head.dataset.up = up ? "yes" : "no";
      const key = row => row.cells[column].dataset.sort.trim();
      const compare = (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true });
      table.tBodies[0].append(...rows().sort((a, b) => (up ? compare(a, b) : compare(b, a))));
    }));
  const search = table.previousElementSibling;
  search.addEventListener("input", () => {
    const wanted = search.value.toLowerCase();
    for (const row of rows()) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
const failedOnly = document.getElementById("failed-only");
failedOnly?.addEventListener("change", () => {
  for (const row of document.querySelectorAll("main td .fa-check-circle"))
    row.closest("tr").hidden = failedOnly.checked;
  for (const section of Array.from(document.querySelectorAll(".ge-section")).slice(1))
    section.hidden = failedOnly.checked && !section.querySelector("tbody tr:not([hidden]) .fas");
});
