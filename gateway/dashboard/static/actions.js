// Changes: each asks for a reason and the operator token, and is sent to this gateway only.
import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { choices } from "./nodes.js";

const KEY = "fleetgate-operator-token"; // of this tab only: sessionStorage
export const savedToken = () => sessionStorage.getItem(KEY) ?? "";
export const saveToken = (token) => (token ? sessionStorage.setItem(KEY, token) : sessionStorage.removeItem(KEY));

const WORDS = {
  drain: "Drain: no new requests, what runs is finished",
  undrain: "Undrain: back into rotation",
  eject: "Eject: out as if it had failed",
  restore: "Restore: back at once, with a clean record",
  weight: "Set weight: a factor on its speed; 0 takes it out",
};

export async function send(path, body, token) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Fleetgate-Action": "1", Authorization: `Bearer ${token}` },
    body: JSON.stringify(body),
  });
  if (answer.ok) return "";
  const problem = await answer.json().catch(() => ({}));
  if (answer.status === 401) saveToken("");
  return problem.detail ?? `The gateway answered ${answer.status}.`;
}

export function Dialog({ wanted, rules, token, setToken, close, done }) {
  const box = useRef(null);
  const [action, setAction] = useState(wanted.action);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => { box.current.showModal(); }, []);

  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    const form = new FormData(event.target);
    const secret = form.get("token") || token;
    const body = { reason: form.get("reason").trim() };
    if (form.get("by")) body.by = form.get("by").trim();
    const path = wanted.routing ? "api/routing" : `api/nodes/${encodeURIComponent(wanted.node.id)}/${action}`;
    if (wanted.routing) Object.assign(body, { oversize_pixels: Math.round(Number(form.get("megapixels")) * 1e6), policy: form.get("policy") });
    if (action === "weight") body.weight = Number(form.get("weight"));
    const failure = await send(path, body, secret).catch(() => "The gateway does not answer.");
    setBusy(false);
    setProblem(failure);
    if (failure) { if (!savedToken()) setToken(""); return; }
    saveToken(secret);
    setToken(secret);
    done(wanted.routing ? "Routing changed." : `${action} ${wanted.node.id}: done.`);
  }

  return html`<dialog ref=${box} onClose=${close} aria-labelledby="dialog-title">
    <form onSubmit=${submit}>
      <h2 id="dialog-title">${wanted.routing ? "Change the routing" : `${wanted.node.id}`}</h2>
      ${wanted.routing ? html`<${Rules} rules=${rules} />` : html`<${Choice} wanted=${wanted} action=${action} setAction=${setAction} />`}
      <label>Reason <small>(stands in the events and in the audit log)</small>
        <textarea name="reason" rows="2" required maxlength="300" autofocus></textarea></label>
      <label>Your name <small>(optional)</small><input name="by" maxlength="60" autocomplete="username" /></label>
      ${!token && html`<label>Operator token <small>(kept in this tab only)</small><input name="token" type="password" required autocomplete="current-password" /></label>`}
      ${problem && html`<p class="problem" role="alert">${problem}</p>`}
      <div class="end"><button type="button" onClick=${() => box.current.close()}>Cancel</button><button class="primary" disabled=${busy}>Do it</button></div>
    </form></dialog>`;
}

function Choice({ wanted, action, setAction }) {
  const offered = wanted.more ? choices(wanted.node) : [wanted.action];
  return html`<fieldset><legend class="visually-hidden">Action</legend>${offered.map((name) => html`<label key=${name}>
      <input type="radio" name="action" checked=${action === name} onChange=${() => setAction(name)} /> ${WORDS[name]}</label>`)}</fieldset>
    ${action === "weight" && html`<label>Weight <small>(0 to 100; 1 is normal)</small><input name="weight" type="number" min="0" max="100" step="any" required defaultValue=${wanted.node.weight} /></label>`}`;
}

function Rules({ rules }) {
  return html`<label>Oversized from <small>(megapixels)</small><input name="megapixels" type="number" min="0.000001" step="any" required defaultValue=${rules.oversize_pixels / 1e6} /></label>
    <label>Policy<select name="policy">${rules.policies.map((name) => html`<option key=${name} value=${name} selected=${name === rules.policy}>${name}</option>`)}</select></label>`;
}
