// Can we serve? The verdict, and the numbers it stands on.
import { html } from "./vendor/htm-preact.js";
import { age, clock, count, ms, percent, rate, seconds } from "./format.js";

const MARKS = { ok: "✓", degraded: "!", down: "✕", unknown: "?" };

export function Top({ document: doc, lost, lastMessage, theme, setTheme, token, forget }) {
  const { gateway } = doc;
  return html`<header class="top">
    <h1>fleetgate</h1>
    <span class="muted">${gateway.name} · version ${gateway.version} · up ${age(gateway.up_seconds)}</span>
    <span class="grow"></span>
    <span class=${`link-state ${lost ? "lost" : ""}`}>${lost ? `lost ${clock(lastMessage / 1000)}` : "live"}</span>
    ${token && html`<button onClick=${forget}>Lock actions</button>`}
    <label class="muted">Theme${" "}
      <select value=${theme} onChange=${(event) => setTheme(event.target.value)}>
        <option value="auto">auto</option><option value="light">light</option><option value="dark">dark</option>
      </select>
    </label>
  </header>`;
}

export function Verdict({ verdict, lost, lastMessage }) {
  const level = lost ? "unknown" : verdict.level;
  const text = lost
    ? `No word from the gateway for ${age((Date.now() - lastMessage) / 1000)}. Last known: ${verdict.text}`
    : verdict.text;
  return html`<section class=${`verdict ${level}`} role="status" aria-label="Verdict" id="verdict">
    <span class="mark" aria-hidden="true">${MARKS[level]}</span><strong>${text}</strong>
  </section>`;
}

function Tile({ name, value, sub, tone = "" }) {
  return html`<div class=${`card tile ${tone}`}><dt>${name}</dt><dd>${value}<div class="sub">${sub}</div></dd></div>`;
}

function Latency({ name, of }) {
  const sub = of.count ? `p50 ${ms(of.p50)} · p95 ${ms(of.p95)}` : "nothing in 60 s";
  return html`<${Tile} name=${html`<span class=${name}>${name}</span> p99, 60 s`} value=${ms(of.p99)} sub=${sub} />`;
}

export function Numbers({ document: doc }) {
  const { last_10s: now, last_60s: minute, registry, pools, workers } = doc;
  const queued = pools.reduce((sum, pool) => sum + pool.queued, 0);
  const oldest = Math.max(0, ...pools.map((pool) => pool.oldest_wait_seconds));
  const span = now.seconds || 1;
  return html`<dl class="row numbers" aria-label="Numbers">
    <${Tile} name="Requests/s, 10 s" value=${rate(now.per_second)}
      sub=${`light ${rate(now.light.count / span)} · heavy ${rate(now.heavy.count / span)}`} />
    <${Latency} name="light" of=${minute.light} />
    <${Latency} name="heavy" of=${minute.heavy} />
    <${Tile} name="Errors, 10 s" value=${count(now.errors)} tone=${now.errors ? "bad" : ""}
      sub=${`${count(minute.errors)} in 60 s · ${percent(minute.requests ? minute.errors / minute.requests : 0)}`} />
    <${Tile} name="Refused, 10 s" value=${count(now.refused)} tone=${now.refused ? "warn" : ""}
      sub=${`${count(minute.refused)} in 60 s · client errors ${count(minute.client)}`} />
    <${Tile} name="Waiting in the queue" value=${count(queued)} sub=${queued ? `oldest ${seconds(oldest)}` : "nobody waits"} />
    <${Tile} name="Registry" value=${registry.stale ? "stale" : registry.answered ? "good" : "silent"}
      tone=${registry.stale || !registry.answered ? "warn" : ""} sub=${`for ${age(registry.for_seconds)} · ${count(registry.updates)} updates`} />
    ${workers.length > 0 && html`<${Workers} workers=${workers} />`}
  </dl>`;
}

function Workers({ workers }) {
  const serving = workers.filter((worker) => worker.state === "serving");
  const others = workers.filter((worker) => worker.state !== "serving").map((worker) => `${worker.number} ${worker.state}`);
  const rates = `${serving.map((worker) => rate(worker.per_second)).join(" · ")} requests/s`;
  return html`<${Tile} name="Worker processes" value=${`${serving.length} serving`} sub=${others.join(", ") || rates}
    tone=${workers.some((worker) => worker.state === "silent") ? "warn" : ""} />`;
}

export function Pools({ document: doc }) {
  return html`<div class="row pools">${doc.pools.map((pool) => html`<${Pool} key=${pool.name} pool=${pool} minute=${doc.last_60s} />`)}</div>`;
}

// Where work of this class went that its own pool did not answer: what happened says more than what may happen.
function Spill({ pool, minute }) {
  const spilled = minute[`${pool.name}_spilled`];
  if (!spilled) return html`<span class="muted">${pool.spill}</span>`;
  const heavy = pool.name === "heavy";
  return html`<span><b class=${heavy ? "light" : "heavy"}>→ ${percent(spilled / minute[pool.name].count)}</b> of ${heavy ? "oversized" : "ordinary"}${" "}
    images went to ${heavy ? "light" : "heavy"} nodes in the last minute</span>`;
}

function Pool({ pool, minute }) {
  const share = pool.capacity ? Math.min(1, pool.busy / pool.capacity) : 0;
  const ahead = pool.in_flight - pool.busy;
  const states = Object.entries(pool.states).map(([state, n]) => `${n} ${state}`).join(", ");
  return html`<section class=${`card pool ${pool.name}-pool`} aria-label=${`${pool.name} pool`}>
    <div class="head"><h2 class=${pool.name}>${pool.name === "heavy" ? "Heavy pool" : "Light pool"}</h2>
      <span class="muted">${pool.nodes ? `${pool.usable} of ${pool.nodes} nodes usable: ${states}` : "no nodes"}</span></div>
    <div class=${`bar ${pool.name}`} role="img" aria-label=${`${pool.busy} of ${pool.capacity} slots busy`}>
      <i style=${{ width: `${share * 100}%` }}></i></div>
    <div class="facts">
      <span><b>${pool.busy}</b> of <b>${pool.capacity}</b> slots busy${ahead ? `, ${ahead} sent ahead` : ""}</span>
      <span><b>${count(pool.queued)}</b> queued${pool.queued ? ` (${seconds(pool.queued_seconds)} of work)` : ""}</span>
      ${pool.queued > 0 && html`<span>oldest waits <b>${seconds(pool.oldest_wait_seconds)}</b></span>`}
      <span><b>${seconds(pool.work_seconds)}</b> of work per slot</span>
      <${Spill} pool=${pool} minute=${minute} />
    </div>
  </section>`;
}
