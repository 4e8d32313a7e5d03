// Puts the page together. The server has drawn the verdict already; from the first message on it is drawn here.
import { html, render, useEffect, useLayoutEffect, useState } from "./vendor/htm-preact.js";
import { Dialog, saveToken, savedToken } from "./actions.js";
import { History, SizeMap } from "./charts.js";
import { Decisions, Errors, Events } from "./lists.js";
import { Nodes } from "./nodes.js";
import { connect } from "./stream.js";
import { Numbers, Pools, Top, Verdict } from "./top.js";

const THEME = "fleetgate-theme";
const TITLES = { ok: "✓", degraded: "! degraded", down: "✕ DOWN" };

// Before anything is drawn: a dark page must not flash white.
document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "auto";

function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme);
  const [dark, setDark] = useState(matchMedia("(prefers-color-scheme: dark)").matches);
  useLayoutEffect(() => {
    document.documentElement.dataset.theme = theme;
    localStorage.setItem(THEME, theme);
    const query = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => setDark(query.matches);
    query.addEventListener("change", follow);
    return () => query.removeEventListener("change", follow);
  }, [theme]);
  return [theme, setTheme, `${theme}${dark}`];
}

function Page({ state }) {
  const { document: doc, news, lost, lastMessage } = state;
  const [theme, setTheme, drawn] = useTheme();
  const [token, setToken] = useState(savedToken());
  const [wanted, act] = useState(null);
  const [request, explain] = useState("");
  const [toast, say] = useState("");
  const actions = doc.gateway.actions;
  useEffect(() => { const timer = toast && setTimeout(() => say(""), 4000); return () => clearTimeout(timer); }, [toast]);
  const forget = () => { saveToken(""); setToken(""); };
  const ask = (id) => { explain(id); document.getElementById("decisions-title")?.scrollIntoView(); };
  return html`<${Top} document=${doc} lost=${lost} lastMessage=${lastMessage} theme=${theme} setTheme=${setTheme} token=${token} forget=${forget} />
    <main>
      <${Verdict} verdict=${doc.verdict} lost=${lost} lastMessage=${lastMessage} />
      <${Numbers} document=${doc} />
      <${Pools} document=${doc} />
      <${Nodes} nodes=${doc.nodes} actions=${actions} act=${act} />
      <div class="row views">
        <${SizeMap} light=${news.light_dots} heavy=${news.heavy_dots} rules=${doc.rules} theme=${drawn} actions=${actions} act=${act} />
        <${History} rows=${news.history} theme=${drawn} />
      </div>
      <${Errors} news=${news} explain=${ask} />
      <div class="row pair"><${Decisions} news=${news} wanted=${request} setWanted=${explain} /><${Events} news=${news} /></div>
      ${!actions && html`<p class="note muted">Actions are off: set <code>operator.token</code> to allow them.</p>`}
    </main>
    ${wanted && html`<${Dialog} key=${wanted} wanted=${wanted} rules=${doc.rules} token=${token} setToken=${setToken} close=${() => act(null)} done=${(text) => { say(text); act(null); }} />`}
    ${toast && html`<div class="toast" role="status">${toast}</div>`}`;
}

const root = document.getElementById("app");
let drawnOnce = false;

connect((state) => {
  if (document.hidden && drawnOnce) return; // nobody looks; the next message after waking draws everything
  const { verdict } = state.document;
  document.title = `${state.lost ? "? lost" : TITLES[verdict.level]} · fleetgate`;
  if (!drawnOnce) root.replaceChildren();
  drawnOnce = true;
  render(html`<${Page} state=${{ ...state }} />`, root);
});
