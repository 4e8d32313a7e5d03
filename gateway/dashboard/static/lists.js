// What went wrong lately, what was decided and why, what happened.
import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { clock, megapixels, ms } from "./format.js";

const newest = (list) => list.slice().reverse();

function Table({ label, head, rows, empty, shape = "" }) {
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  return html`<div class=${`list ${shape}`} tabindex="0" role="region" aria-label=${label}><table>
    <thead><tr>${head.map((title) => html`<th scope="col" key=${title}>${title}</th>`)}</tr></thead>
    <tbody>${rows}</tbody></table></div>`;
}

// ---- errors

const KINDS = [["errors", "Errors"], ["refusals", "Refusals"], ["mistakes", "Client's mistakes"]];

export function Errors({ news, explain }) {
  const [chosen, setKind] = useState(null);
  const kind = chosen ?? KINDS.find(([name]) => news[name].length)?.[0] ?? "errors";
  const rows = newest(news[kind]).map((bad) => html`<tr key=${bad.request_id + bad.at}>
    <td class="time">${clock(bad.at)}</td><td class="number">${bad.status}</td><td><code>${bad.error || "from the node"}</code></td><td>${bad.detail}</td>
    <td>${bad.node || "–"}</td><td>${bad.attempts || "–"}</td><td class="number">${megapixels(bad.pixels)}</td><td class="number">${ms(bad.total_ms)}</td>
    <td class="id"><button class="link" title=${bad.request_id} onClick=${() => explain(bad.request_id)}><code>${bad.request_id}</code></button></td></tr>`);
  return html`<section class="card row" aria-labelledby="errors-title">
    <div class="head"><h2 id="errors-title">Went wrong lately <span class="aside">the last 50 of each kind</span></h2><span class="grow"></span>
      <span class="chips">${KINDS.map(([name, label]) => html`<button key=${name} aria-pressed=${kind === name} onClick=${() => setKind(name)}>${label} ${news[name].length}</button>`)}</span></div>
    <${Table} label="Errors" shape="wide" head=${["Time", "Status", "Error", "What", "Node", "Attempts", "Size", "Took", "Request"]} rows=${rows} empty=${`No ${kind} since this page remembers.`} />
  </section>`;
}

// ---- decisions

export function Decisions({ news, wanted, setWanted }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState(null);
  const [held, hold] = useState(null);
  useEffect(() => { if (wanted) { setText(wanted); search(wanted, setFound); } }, [wanted]);
  const list = held ?? news.decisions;
  const submit = (event) => { event.preventDefault(); setWanted(""); search(text.trim(), setFound); };
  const rows = newest(list).map((one) => html`<tr key=${one.request_id + one.at}>
    <td class="time">${clock(one.at)}</td><td class="id"><button class="link" title=${one.request_id} onClick=${() => { setText(one.request_id); search(one.request_id, setFound); }}><code>${one.request_id}</code></button></td>
    <td class="number">${megapixels(one.pixels)}</td><td class=${one.size_class}>${one.size_class}</td><td class="node">${one.node || "–"}${one.pool && one.pool !== one.size_class ? html` <span class=${`tag ${one.pool}`}>${one.pool}</span>` : ""}</td>
    <td class="number">${ms(one.queue_ms)}</td><td class="number">${ms(one.cost_ms)}</td><td class="number">${ms(one.total_ms)}</td></tr>`);
  return html`<section class="card" aria-labelledby="decisions-title">
    <div class="head"><h2 id="decisions-title">Decisions <span class="aside">${held ? "held" : "the last 200, a sample when it is busy"}</span></h2><span class="grow"></span>
      <button aria-pressed=${Boolean(held)} onClick=${() => hold(held ? null : news.decisions)}>${held ? "Go on" : "Hold"}</button>
      <form onSubmit=${submit}><input type="search" placeholder="request id" aria-label="Find a request by its id" value=${text} onInput=${(event) => setText(event.target.value)} /> <button>Explain</button></form></div>
    ${found && html`<${Explanation} found=${found} close=${() => { setFound(null); setWanted(""); }} />`}
    <${Table} label="Decisions" shape="rows" head=${["Time", "Request", "Size", "Class", "Node", "Waited", "Cost", "Took"]} rows=${rows} empty="No request was routed yet." />
  </section>`;
}

async function search(id, tell) {
  if (!id) return tell(null);
  try {
    const answer = await fetch(`api/decisions?request_id=${encodeURIComponent(id)}`);
    tell(answer.ok ? { id, ...(await answer.json()) } : { id, problem: (await answer.json()).detail });
  } catch {
    tell({ id, problem: "The gateway does not answer." });
  }
}

function Explanation({ found, close }) {
  return html`<div class="explanation" role="status"><div class="head"><h3><code>${found.id}</code></h3><span class="grow"></span><button onClick=${close}>Close</button></div>
    ${found.problem ? html`<p>${found.problem}</p>` : html`<ol>${found.explanation.map((sentence) => html`<li>${sentence}</li>`)}</ol>`}</div>`;
}

// ---- events

export function Events({ news }) {
  const rows = newest(news.events).slice(0, 200).map((event) => html`<tr key=${event.at + event.kind + event.subject}>
    <td class="time">${clock(event.at)}</td><td><b>${event.subject}</b> ${event.text}
      ${event.reason && html`<span class="muted"> — ${event.reason}</span>`}${event.by && html`<span class="muted"> (${event.by})</span>`}</td></tr>`);
  return html`<section class="card" aria-labelledby="events-title">
    <div class="head"><h2 id="events-title">Events <span class="aside">fleet, registry and operators</span></h2></div>
    <${Table} label="Events" head=${["Time", "What"]} rows=${rows} empty="Nothing happened yet." />
  </section>`;
}
