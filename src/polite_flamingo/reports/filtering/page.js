"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const PER_PAGE = 10;
  let page = 0;

  // Text of the dataset enters the page here alone, as text.
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) { element.textContent = text; element.dir = "auto"; }
    return element;
  };
  const show = (value) => {
    if (value === null || value === undefined) return "–";
    if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toFixed(4);
    return Array.isArray(value) ? value.map(show).join(", ") : String(value);
  };
  const bound = (value) => Array.isArray(value) ? value.map(bound).join(typeof value[0] === "number" ? " to " : ", ")
    : typeof value === "number" ? String(+value.toFixed(4)) : show(value);
  const title = (name) => data.titles[name] || name;
  const options = (select, values, label) => values.forEach((value) => {
    const option = make("option", "", label ? label(value) : value);
    option.value = value;
    select.append(option);
  });

  data.examples.forEach((record) => {
    record.text = [record.id, record.instruction, record.raw, record.rewritten, ...record.cut.map((cut) => cut[1])]
      .join("\n").toLowerCase();
  });
  options(get("source"), [...new Set(data.examples.map((record) => record.source))].sort());
  const seen = new Set(data.examples.flatMap((record) => [...record.failed, ...record.near, ...(record.cut.length ? ["paragraphs"] : [])]));
  options(get("filter"), Object.keys(data.titles).filter((name) => seen.has(name)), title);

  const chosen = () => {
    const [source, verdict, filter, near] = ["source", "verdict", "filter", "near"].map((id) => get(id).value);
    const words = get("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    return data.examples.filter((record) =>
      (!source || record.source === source) &&
      (!verdict || (verdict === "cut" ? record.cut.length > 0 : (record.failed.length ? "rejected" : "kept") === verdict)) &&
      (!near || (filter ? record.near.includes(filter) : record.near.length > 0)) &&
      (!filter || near || record.failed.includes(filter) || (filter === "paragraphs" && record.cut.length > 0)) &&
      words.every((word) => record.text.includes(word)));
  };

  const images = (record) => {
    const box = make("div", "images");
    record.images.forEach((number) => {
      const image = data.images[number];
      if (image.url) {
        const element = document.createElement("img");
        element.src = image.url;
        element.alt = image.alt;
        element.title = image.alt;
        box.append(element);
      } else {
        box.append(make("div", "missing", image.alt + ": " + image.note));
      }
    });
    return box;
  };

  const texts = (record) => {
    const box = make("div", "texts");
    const part = (name, text) => box.append(make("h4", "", name), make("p", "", text));
    part("Asked", record.instruction);
    part("Raw answer", record.raw);
    box.append(make("h4", "", "Rewritten"));
    const left = record.cut.map(([logit, text]) => ({logit, text}));
    const removed = ({logit, text}) => {
      const element = make("del", "", text);
      element.append(make("span", "logit", "cut, CLIP " + show(logit)));
      return element;
    };
    record.rewritten.split(/\n\n+/).forEach((paragraph) => {
      const place = left.findIndex((cut) => cut.text === paragraph.trim());
      box.append(place < 0 ? make("p", "", paragraph) : removed(left.splice(place, 1)[0]));
    });
    left.forEach((cut) => box.append(removed(cut)));
    return box;
  };

  const idle = ([name, score, threshold, passed]) =>
    passed && (threshold === null || (score === null && name !== "unfinished"));
  const verdicts = (record, rows) => {
    const table = document.createElement("table");
    const head = document.createElement("tr");
    ["Filter", "Score", "Threshold", "Verdict"].forEach((name) => head.append(make("th", "", name)));
    table.append(document.createElement("thead"), document.createElement("tbody"));
    table.tHead.append(head);
    rows.forEach(([name, score, threshold, passed]) => {
      const cuts = name === "paragraphs" && record.cut.length;
      const verdict = !passed ? "rejects" : cuts ? "cuts " + cuts : threshold === null ? "off"
        : idle([name, score, threshold, passed]) ? "n/a" : "passes";
      const row = document.createElement("tr");
      row.append(make("th", "", title(name)), make("td", "", show(score)), make("td", "", bound(threshold)),
        make("td", passed ? "" : "no", verdict));
      table.tBodies[0].append(row);
    });
    const box = make("div", "verdicts scroll");
    box.append(table);
    return box;
  };

  const card = (record) => {
    const box = make("article", "card");
    const head = document.createElement("header");
    head.append(make("span", "id", record.id));
    head.append(record.failed.length ? make("span", "badge rejected", "rejected: " + record.reason)
      : make("span", "badge kept", "kept"));
    if (record.cut.length) head.append(make("span", "badge cut", "paragraphs cut: " + record.cut.length));
    if (record.near.length) head.append(make("span", "badge near", "near the threshold of " + record.near.map(title).join(", ")));
    head.append(make("span", "about", record.source + ", " + record.task));
    const columns = make("div", record.images.length ? "columns" : "columns plain");
    if (record.images.length) columns.append(images(record));
    columns.append(texts(record), verdicts(record, record.verdicts.filter((row) => !idle(row))));
    const more = document.createElement("details");
    more.append(make("summary", "", "Filters that are off or do not apply, and all scores"),
      verdicts(record, record.verdicts.filter(idle)),
      make("pre", "", Object.entries(record.scores).map(([name, value]) => name + ": " + show(value)).join("\n")));
    box.append(head, columns, more);
    return box;
  };

  const draw = () => {
    const found = chosen();
    const pages = Math.max(1, Math.ceil(found.length / PER_PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    get("list").replaceChildren(...found.slice(page * PER_PAGE, (page + 1) * PER_PAGE).map(card));
    get("count").textContent = found.length + " of " + data.examples.length + " examples";
    get("page").textContent = "page " + (page + 1) + " of " + pages;
    get("prev").disabled = page === 0;
    get("next").disabled = page === pages - 1;
  };
  const restart = () => { page = 0; draw(); };
  const turn = (step) => { page += step; draw(); get("count").scrollIntoView(); };
  ["source", "verdict", "filter", "near"].forEach((id) => get(id).addEventListener("change", restart));
  get("search").addEventListener("input", restart);
  get("prev").addEventListener("click", () => turn(-1));
  get("next").addEventListener("click", () => turn(1));

  // Histograms of one source: the same bars, other heights.
  const select = get("hist-source");
  options(select, [...new Set(Object.values(data.histograms).flatMap((of) => Object.keys(of)))].filter(Boolean).sort());
  select.addEventListener("change", () => document.querySelectorAll("svg.hist").forEach((svg) => {
    const sources = data.histograms[svg.dataset.key];
    const rects = [...svg.querySelectorAll(".bars rect")];
    const bins = rects.length / 2;
    const empty = Array(bins).fill(0);
    const [passed, failed] = Object.hasOwn(sources, select.value) ? sources[select.value] : [empty, empty];
    const peak = Math.max(...passed.map((value, i) => value + failed[i]));
    const scale = (data.base - data.top) / Math.max(1, peak);
    svg.parentElement.querySelector(".peak").textContent = peak.toLocaleString("en");
    rects.forEach((rect, i) => {
      const count = i < bins ? passed[i] : failed[i - bins];
      const top = i < bins ? count : passed[i - bins] + count;
      rect.setAttribute("y", data.base - top * scale);
      rect.setAttribute("height", count * scale);
    });
  }));

  draw();
})();
