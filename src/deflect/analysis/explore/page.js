// Unpack libraries and records, show figure and table, and follow addresses within the page:
// #run=so2sat/scale_mae/lora/seed0 opens a record, #runs=so2sat/*/lora filters the table of runs.

const find = (selector) => document.querySelector(selector);

async function unpack(id) {
  const bytes = Uint8Array.from(atob(find(`#${id}`).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function library(id) {
  return import(URL.createObjectURL(new Blob([await unpack(id)], { type: "text/javascript" })));
}

function element(tag, content = "", attributes = {}) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...[content].flat());
  return made;
}

// The figure

async function chart(spec) {
  await library("vega");
  await vegaEmbed("#chart", spec, { actions: false, renderer: "svg", loader: { target: "_self" } });
  // The first tap of a finger shows what a point is, the second follows it.
  let touched = false;
  let tapped = null;
  addEventListener("pointerdown", (event) => { touched = event.pointerType === "touch"; }, true);
  find("#chart").addEventListener("click", (event) => {
    const href = event.target.__data__?.href;
    if (href && href !== tapped && touched) {
      event.stopPropagation();
      const { clientX, clientY } = event;
      event.target.dispatchEvent(new PointerEvent("pointermove", { bubbles: true, clientX, clientY }));
    }
    tapped = href;
  }, true);
}

// The table of runs

async function runsTable({ columns, rows, records }) {
  const { default: DataTable } = await library("datatables");
  document.head.append(element("style", await unpack("datatables-style")));
  const names = Object.keys(records);
  const text = DataTable.render.text();
  const linked = columns.findIndex(([title]) => title === "Score (%)");
  return new DataTable("#runs table", {
    data: rows.map((row, i) => [...row, names[i]]),
    columns: columns.map(([title, decimals], i) => {
      if (decimals === null) return { title, render: text, columnControl: ["order", ["searchList"]] };
      const number = new Intl.NumberFormat("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
      const render = (value, type, row) => {
        if (value === null || type === "sort" || type === "type") return value;
        const shown = number.format(value);
        return i === linked && type === "display" ? element("a", shown, { href: `#run=${encodeURI(row.at(-1))}` }) : shown;
      };
      return { title, render, columnControl: ["order", "searchDropdown"] };
    }),
    order: [],
    ordering: { indicators: false },
    pageLength: 25,
    layout: { topStart: "info", topEnd: "search", bottomStart: "pageLength", bottomEnd: "paging" },
  });
}

// A record

function written(value) {
  if (Array.isArray(value)) return value.join(", ");
  return value === null ? "–" : String(value);
}

function list(entries) {
  const rows = entries.map(([key, value]) => [
    element("dt", key),
    element("dd", value !== null && value.constructor === Object ? list(Object.entries(value)) : written(value)),
  ]);
  return element("dl", rows.flat(), { className: "facts" });
}

function curve([epochs, values]) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((value, i) => [
    epochs.length > 1 ? 10 + (280 * (epochs[i] - epochs[0])) / (epochs.at(-1) - epochs[0]) : 150,
    high > low ? 90 - (80 * (value - low)) / (high - low) : 50,
  ]);
  const figure = element("figure");
  const marks = points.map(([x, y]) => `<circle cx="${x}" cy="${y}" r="2.5"/>`).join("");
  figure.innerHTML = `<svg viewBox="0 0 300 100" role="img" aria-label="validation score by epoch" fill="#0057a0">
    <polyline points="${points.join(" ")}" fill="none" stroke="#0057a0" stroke-width="1.5"/>${marks}</svg>`;
  const range = `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %, epochs ${epochs[0]} to ${epochs.at(-1)}`;
  figure.append(element("figcaption", `Validation score by epoch: ${range}`));
  return figure;
}

function recordView(run, { columns, rows, records }) {
  const record = records[run];
  if (!record) return [element("p", "This study has no such run.")];
  const row = rows[Object.keys(records).indexOf(run)];
  const { curve: validation, ...kept } = record;
  const groups = Object.entries(kept).filter(([, value]) => value !== null && value.constructor === Object);
  const single = Object.entries(kept).filter(([, value]) => value === null || value.constructor !== Object);
  const file = element("a", `runs/${run}/record.json`, { href: `runs/${encodeURI(run)}/record.json` });
  return [
    list(columns.map(([title], i) => [title, row[i]]).filter(([, value]) => value !== "")),
    element("p", ["The record, here without matrices and with numbers to six digits, is the file ", file, "."]),
    validation ? curve(validation) : "",
    ...[["run", Object.fromEntries(single)], ...groups].map(([key, value]) =>
      element("details", [element("summary", key), list(Object.entries(value))], { open: key !== "files" })),
  ];
}

// Addresses

const data = await unpack("data").then(JSON.parse).catch((error) => {
  find("#failed").hidden = false;
  throw error;
});
const dialog = find("dialog");
let table = null;
let visited = false;

function follow() {
  const [, kind, value] = /^#(runs?)=(.*)$/.exec(decodeURIComponent(location.hash)) ?? [];
  if (kind === "run") {
    find("#record-title").textContent = value;
    find("#record").replaceChildren(...recordView(value, data));
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
    return;
  }
  dialog.close();
  const wanted = (value ?? "*/*/*").split("/");
  const matches = (run) => wanted.every((name, i) => name === "*" || name === run.split("/")[i]);
  table.search.fixed("address", (_, row) => matches(row.at(-1))).draw();
  const example = data.rows[Object.keys(data.records).findIndex(matches)];
  const shown = wanted.map((name, i) => (name === "*" ? "" : example?.[i] ?? name)).filter(Boolean);
  find("#filter").hidden = !shown.length;
  find("#filter b").textContent = shown.join(", ");
  if (kind === "runs") find("#runs-heading").scrollIntoView();
}

dialog.addEventListener("close", () => {
  if (!location.hash.startsWith("#run=")) return;
  if (visited) history.back();
  else location.hash = "";
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog || event.target.closest("button")) dialog.close();
});
table = await runsTable(data);
follow();
addEventListener("hashchange", () => {
  visited = true;
  follow();
});
await chart(data.chart);
document.body.dataset.ready = "yes";
