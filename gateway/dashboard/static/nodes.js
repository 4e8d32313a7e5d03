// The node table, in the manner of HAProxy's page: state, since when, and why.
import { html, useMemo, useState } from "./vendor/htm-preact.js";
import { age, clock, count, ms, percent, seconds } from "./format.js";

const TONES = { healthy: "ok", degraded: "warn", unlisted: "warn", ejected: "bad", critical: "bad", draining: "rest" };
const MARKS = { ok: "●", warn: "▲", bad: "✕", rest: "◐" };
const TROUBLE = { bad: 0, warn: 1, rest: 2, ok: 3 };
export const toneOf = (node) => TONES[node.state] ?? "warn";

// column: title, what to sort by, whether it is a number, whether a narrower screen may hide it
const COLUMNS = [
  ["Node", (node) => node.id],
  ["State", (node) => TROUBLE[toneOf(node)]],
  ["Since", (node) => node.for_seconds, true],
  ["Why", (node) => node.why],
  ["Slots", (node) => -node.in_flight / node.slots],
  ["Work left", (node) => -node.work_ms, true],
  ["Speed", (node) => -node.speed, true],
  ["Service", (node) => -(node.service_ms ?? 0), true],
  ["Errors", (node) => -node.error_share, true],
  ["Share", (node) => -node.share],
  ["Last error", (node) => -(node.last_error?.at ?? 0)],
];

const FIRST_ROWS = 50; // of a large fleet: trouble first, the rest on demand

export function Nodes({ nodes, actions, act }) {
  const [sort, setSort] = useState({ column: -1, down: false });
  const [wanted, setWanted] = useState("");
  const [trouble, setTrouble] = useState(false);
  const [all, showAll] = useState(false);
  const found = useMemo(() => arrange(nodes, sort, wanted.trim().toLowerCase(), trouble), [nodes, sort, wanted, trouble]);
  const shown = all ? found : found.slice(0, FIRST_ROWS);
  return html`<section class="card row" aria-labelledby="nodes-title">
    <div class="head"><h2 id="nodes-title">Nodes <span class="aside">${summary(nodes, shown)}</span></h2><span class="grow"></span>
      <label class="muted"><input type="checkbox" checked=${trouble} onChange=${(event) => setTrouble(event.target.checked)} /> only trouble</label>
      <input type="search" placeholder="name, model, state…" aria-label="Filter nodes" value=${wanted} onInput=${(event) => setWanted(event.target.value)} />
    </div>
    <div class="scroll" tabindex="0" role="region" aria-label="Node table"><table class="nodes">
      <caption class="visually-hidden">Nodes with their state, load and reasons</caption>
      <thead><tr>${COLUMNS.map((column, index) => html`<${Head} key=${column[0]} column=${column} index=${index} sort=${sort} setSort=${setSort} />`)}
        <th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead>
      <tbody>${shown.map((node) => html`<${Row} key=${node.id} node=${node} actions=${actions} act=${act} />`)}</tbody>
    </table></div>
    ${found.length > FIRST_ROWS && html`<p class="empty"><button onClick=${() => showAll(!all)}>${all ? "Show fewer" : `Show all ${found.length}`}</button></p>`}
    ${!shown.length && html`<p class="empty">${nodes.length ? "No node matches." : "No node has announced itself."}</p>`}
  </section>`;
}

function summary(nodes, shown) {
  const usable = nodes.filter((node) => node.usable).length;
  return `${usable} of ${nodes.length} usable${shown.length < nodes.length ? `, ${shown.length} shown` : ""}`;
}

function arrange(nodes, sort, wanted, trouble) {
  const kept = nodes.filter(
    (node) =>
      (!trouble || toneOf(node) !== "ok") &&
      (!wanted || [node.id, node.address, node.pool, node.state, node.why, ...node.models].some((text) => text.toLowerCase().includes(wanted))),
  );
  if (sort.column < 0) return kept.length > FIRST_ROWS ? kept.sort((a, b) => TROUBLE[toneOf(a)] - TROUBLE[toneOf(b)]) : kept;
  const by = COLUMNS[sort.column][1];
  const order = sort.down ? -1 : 1;
  return kept.sort((a, b) => (by(a) < by(b) ? -order : by(a) > by(b) ? order : 0));
}

function Head({ column, index, sort, setSort }) {
  const active = sort.column === index;
  const next = () => setSort(active && sort.down ? { column: -1, down: false } : { column: index, down: active });
  const wide = column[0] === "Speed" || column[0] === "Work left";
  return html`<th scope="col" class=${`${column[2] ? "n" : ""} ${wide ? "wide" : ""}`} aria-sort=${active ? (sort.down ? "descending" : "ascending") : "none"}>
    <button onClick=${next}>${column[0]}${active ? (sort.down ? " ▴" : " ▾") : ""}</button></th>`;
}

function Row({ node, actions, act }) {
  const tone = toneOf(node);
  const errors = node.errors ? `${percent(node.error_share)} (${count(node.errors)})` : "0";
  return html`<tr class=${tone} data-node=${node.id}>
    <td class="name">${node.id}<small><span class=${`tag ${node.pool}`}>${node.pool}</span> ${node.models.join(", ")}</small></td>
    <td class=${`state ${tone}`}><span aria-hidden="true">${MARKS[tone]}</span> ${node.state}${node.weight !== 1 ? html`<small class="muted"> weight ${node.weight}</small>` : ""}</td>
    <td class="n" data-label="for">${age(node.for_seconds)}</td>
    <td class="why">${node.why}</td>
    <td class="number"><${Slots} node=${node} /></td>
    <td class="n wide" data-label="work left">${seconds(node.work_ms / 1000)}</td>
    <td class="n wide" data-label="speed">×${node.speed.toFixed(2)}</td>
    <td class="n" data-label="service">${ms(node.service_ms)}</td>
    <td class="n" data-label="errors">${errors}</td>
    <td class="number"><span class="share" aria-hidden="true"><i style=${{ width: `${node.share * 100}%` }}></i></span>${percent(node.share)}</td>
    <td class="error">${node.last_error ? html`${clock(node.last_error.at)} <code>${node.last_error.code}</code> ${node.last_error.detail}` : html`<span class="muted">none</span>`}</td>
    <td class="buttons">${actions && html`<${Buttons} node=${node} act=${act} />`}</td>
  </tr>`;
}

function Slots({ node }) {
  const busy = node.in_flight - node.sent_ahead;
  const text = html`${busy}/${node.slots}${node.sent_ahead ? html`<small class="muted" title="sent ahead of a free slot"> +${node.sent_ahead}</small>` : ""}`;
  if (node.slots <= 8) {
    const cells = Array.from({ length: node.slots }, (_, index) => html`<i class=${index < busy ? "on" : ""}></i>`);
    return html`<span class=${`slots ${node.pool}`} aria-hidden="true">${cells}</span>${text}`;
  }
  const width = `${Math.min(100, (busy / node.slots) * 100)}%`;
  return html`<span class=${`slots long ${node.pool}`} aria-hidden="true"><i class="on" style=${{ width }}></i></span>${text}`;
}

export function choices(node) {
  const back = { draining: ["undrain"], ejected: ["restore"] }[node.state] ?? [];
  return [...back, "drain", "eject", "weight"].filter((action) => !(action === "drain" && node.state === "draining"));
}

const VERBS = { drain: "Drain", undrain: "Undrain", eject: "Eject", restore: "Restore", weight: "Weight" };

function Buttons({ node, act }) {
  const first = choices(node)[0];
  return html`<button onClick=${() => act({ node, action: first })} aria-label=${`${VERBS[first]} ${node.id}`}>${VERBS[first]}</button>
    <button onClick=${() => act({ node, action: first, more: true })} aria-label=${`More actions for ${node.id}`}>…</button>`;
}
