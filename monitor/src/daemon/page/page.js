"use strict";
// Everything that is shown is set as text, never as markup: names and comments come from elsewhere.

const byId = (id) => document.getElementById(id);
const samples = [];
const KEPT = 600;

function element(name, content, className) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (content !== undefined && content !== null) made.append(...[].concat(content));
  return made;
}

function drawing(name, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function rate(value) {
  for (const [scale, prefix] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (value >= 0.9995 * scale) return (value / scale).toPrecision(3) + prefix;
  }
  return value === Math.round(value) ? String(value) : value >= 1 ? value.toPrecision(3) : value.toFixed(2);
}

const moment = (text) => new Date(text).toISOString().replace("T", " ").replace(/\.\d+Z/, "Z");

function span(seconds) {
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

// Headings: ">" aligns to the right, "~" is left out on a phone, "*" may wrap.
function table(place, headings, rows, nothing) {
  const classes = headings.map((heading) => [
    heading.includes(">") && "number", heading.includes("~") && "optional", heading.includes("*") && "prose",
  ].filter(Boolean).join(" "));
  const cell = (name) => (content, at) => {
    const made = element(name, content, classes[at]);
    if (name === "th") made.scope = "col";
    return made;
  };
  if (rows.length === 0) return place.replaceChildren(element("p", nothing, "faint"));
  const left = place.scrollLeft;
  place.replaceChildren(element("table", [
    element("thead", element("tr", headings.map((heading) => heading.replace(/[~>*]/g, "")).map(cell("th")))),
    element("tbody", rows.map((row) => element("tr", row.map(cell("td"))))),
  ]));
  place.scrollLeft = left;
}

function plot() {
  const width = 1000, height = 100;
  const highest = Math.max(1, ...samples.map((sample) => Math.max(sample.offered, sample.would_drop)));
  const line = (key, className) => drawing("polyline", {
    class: className,
    points: samples.map((sample, at) => {
      const x = width - (samples.length - 1 - at) * width / (KEPT - 1);
      return `${x.toFixed(1)},${(height - sample[key] / highest * (height - 4) - 2).toFixed(1)}`;
    }).join(" "),
  });
  const picture = drawing("svg", {
    viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `offered, passed and dropped packets per second, at most ${rate(highest)}`,
  });
  picture.append(drawing("line", { x1: 0, x2: width, y1: height - 2, y2: height - 2 }));
  picture.append(line("offered", "offered"), line("passed", "passed"), line("would_drop", "would"), line("dropped", "dropped"));
  byId("plot").replaceChildren(
    element("div", [element("span", `${rate(highest)}/s`)], "scale"), picture,
    element("div", [element("span", "10 min ago"), element("span", "now")], "scale"));
  const last = samples[samples.length - 1];
  const legend = [["offered", "offered", "faint"], ["passed", "passed", "passed"], ["dropped", "dropped", "dropped"],
    ["would_drop", "would be dropped", "would"]];
  byId("now").replaceChildren(...legend.map(([key, name, className]) =>
    element("li", [element("span", `${name} `, className), element("b", `${rate(last[key])}/s`)])));
}

function findings(all, opened) {
  const place = byId("findings");
  if (all.length === 0) return place.replaceChildren(element("p", "Nothing is open.", "faint"));
  place.replaceChildren(...all.map((finding) => {
    const details = element("details");
    details.dataset.id = finding.id;
    details.open = opened.has(String(finding.id));
    const target = finding.target ? ` → ${finding.target}` : "";
    details.append(element("summary", [
      element("span", finding.severity, finding.severity), ` ${finding.detector}: ${finding.subject}${target}`,
      element("span", ` ${finding.measured} ${finding.unit} in ${span(finding.window_s)} (threshold ${finding.threshold})`, "faint"),
    ]));
    const facts = [["number", finding.id], ["first seen", moment(finding.first_seen)], ["last seen", moment(finding.last_seen)],
      ["confidence", `${Math.round(finding.confidence * 100)} %`],
      ...Object.entries(finding.evidence).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]),
      ["to contain it", finding.containment]];
    details.append(element("dl", facts.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))])));
    return details;
  }));
}

function show(now) {
  byId("host").textContent = now.host;
  byId("about").textContent = `${now.version}, guarding for ${span(now.up_seconds)}; configuration ${now.configuration}; ` +
    `${rate(now.tracked)} sources tracked, ${rate(now.exceeding)} over a limit, ${now.banned} banned`;
  document.title = `sluice ${now.host}: ${rate(now.rates.dropped)}/s dropped`;
  byId("alarms").replaceChildren(...now.alarms.map((alarm) => element("li", alarm)));
  samples.push(now.rates);
  while (samples.length > KEPT) samples.shift();
  plot();
  table(byId("interfaces"), ["Interface", "Mode", "~Flood", ">Passed/s", ">Dropped/s", "~*Note"], now.interfaces.map((one) => [
    one.name, element("span", one.mode, one.mode), one.flood ? element("span", "flood", "critical") : "calm",
    rate(one.passed), rate(one.dropped), one.note]), "No interface is guarded.");
  table(byId("services"), ["Service", "Mode", ">Passed/s", ">Dropped/s", "~>Would drop/s", "~*Dropped for"], now.services.map((one) => [
    one.name, one.modes, rate(one.passed), rate(one.dropped), rate(one.would_drop), one.reasons]), "No service is known.");
  table(byId("limits"), ["Service", "Class", "~Limit", "Mode", "Dimension", ">In force", ">Proposed"], now.limits.map((one) => [
    one.service, one.class, one.kind, one.mode, one.dimension, one.in_force, one.proposed]), "No limit is set.");
  const opened = new Set([...document.querySelectorAll("details[open]")].map((one) => one.dataset.id));
  for (const section of document.querySelectorAll(".addresses")) section.hidden = !now.addresses;
  if (now.addresses) {
    table(byId("sources"), ["Source", "Service", ">Packets/s", ">Dropped/s", "~>Bits/s", "~*State"], now.sources.map((one) => [
      one.source, one.service, rate(one.packets), rate(one.dropped), rate(one.bytes * 8), one.state]), "No source sends.");
    findings(now.findings, opened);
    table(byId("edges"), ["From", "To", "Protocol", ">Port", ">Bytes", "~>Flows"], now.edges.map((one) => [
      one.from, one.to, one.protocol, String(one.port), rate(one.bytes), String(one.conversations)]),
      "No conversation of insiders within the last hour.");
  } else {
    byId("findings").replaceChildren(element("p", `${now.open} open. Addresses are not shown on this listener (metrics.page).`));
  }
}

const events = new EventSource("/events");
events.addEventListener("history", (event) => {
  samples.splice(0, samples.length, ...JSON.parse(event.data));
});
events.addEventListener("now", (event) => show(JSON.parse(event.data)));
events.addEventListener("error", () => {
  byId("alarms").replaceChildren(element("li", "The daemon does not answer; this page tries again. What is shown is of the past."));
});
